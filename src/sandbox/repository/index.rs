//! The repositories that an index names as its submodules. `git status` runs itself in each of them, and so by their
//! config and hooks, whether or not anything else says that they are submodules.
//!
//! An index is read as git reads it, also where git is more generous than its own description of the format: in version 2
//! an entry may have more flags, the first name of version 4 takes nothing back, and a number that is too large is none.
//! Git does not look at the sum at the end, so neither is it here. What git never writes is not understood.

/// The mode of a submodule's entry.
const GITLINK: u32 = 0o160_000;

/// Of an entry's flags: how long its name is, or that it is longer than can be said there.
const NAME_LENGTH: u16 = 0xfff;
/// Of an entry's flags: there are more of them.
const EXTENDED: u16 = 0x4000;
/// Of these, those that git knows.
const KNOWN: u16 = 0x6000;

/// How long the numbers of objects are, in the two formats; the entries do not tell which it is.
pub(super) const HASHES: [usize; 2] = [20, 32];

/// Longer than any path that can be opened.
const MOST_NAME: usize = 4096;

/// What else an index says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The other index that it shares entries with.
    pub(super) shared: Option<String>,
    /// Whether something in the other one becomes a submodule: the name stands there only.
    pub(super) nameless: bool,
    /// Whether it was read to its end. If not, git may see more in it than was told.
    pub(super) understood: bool,
}

/// Tells the path of each submodule, or of all entries, as if numbers of objects had this length.
pub(super) fn submodules(index: &[u8], hash: usize, all: bool, each: &mut dyn FnMut(&[u8])) -> Told {
    let mut told = Told::default();
    told.understood = read(index, hash, all, each, &mut told).is_some();
    told
}

fn read(index: &[u8], hash: usize, all: bool, each: &mut dyn FnMut(&[u8]), told: &mut Told) -> Option<()> {
    let end = index.len().checked_sub(hash)?;
    let (version, count) = (number(index, 4)?, number(index, 8)?);
    if index.get(..4)? != b"DIRC" || !(2..=4).contains(&version) {
        return None;
    }
    let (mut at, mut name, mut starts) = (12, Vec::new(), Vec::new());
    for _ in 0..count {
        let entry = at;
        let mode = number(index, at + 24)?;
        at += 40 + hash;
        let flags = short(index, at)?;
        at += 2;
        if flags & EXTENDED != 0 {
            if short(index, at)? & !KNOWN != 0 {
                return None;
            }
            at += 2;
        }
        let kept = if version == 4 {
            let taken_back = varint(index, &mut at)?;
            // The first takes back nothing, whatever it says.
            if starts.is_empty() { 0 } else { name.len().checked_sub(taken_back)? }
        } else {
            0
        };
        name.truncate(kept);
        let rest = match usize::from(flags & NAME_LENGTH) {
            length if length < usize::from(NAME_LENGTH) => length.checked_sub(kept)?,
            _ => index.get(at..end)?.iter().position(|byte| *byte == 0)?,
        };
        let new = index.get(at..at.checked_add(rest)?)?;
        if new.contains(&0) || *index.get(at + rest)? != 0 {
            return None;
        }
        name.extend_from_slice(new);
        // A NUL ends it; before version 4 the entry is filled up to a multiple of eight.
        at = if version == 4 { at + rest + 1 } else { entry + ((at - entry + rest + 8) & !7) };
        if at > end {
            return None;
        }
        starts.push(if kept == 0 { entry } else { usize::MAX });
        if mode & 0o170_000 == GITLINK && name.is_empty() {
            told.nameless = true;
        } else if (all || mode & 0o170_000 == GITLINK) && name.len() < MOST_NAME {
            each(&name);
        }
    }
    extensions(index, hash, at, &starts, told)
}

/// What comes after the entries, if all of it agrees with them: git may read several parts at a time, from where a table
/// says that they begin.
fn extensions(index: &[u8], hash: usize, entries_end: usize, starts: &[usize], told: &mut Told) -> Option<()> {
    let (mut at, end) = (entries_end, index.len() - hash);
    while at + 8 <= end {
        let length = usize::try_from(number(index, at + 4)?).ok()?;
        let content = index.get(at + 8..end)?.get(..length)?;
        match index.get(at..at + 4)? {
            b"link" => {
                let hex = |name: String, byte: &u8| name + &format!("{byte:02x}");
                let base = content.get(..hash)?.iter().fold(String::new(), hex);
                if told.shared.replace(base).is_some() {
                    return None;
                }
            }
            b"IEOT" => blocks(content, starts)?,
            [b'A'..=b'Z', ..] | b"sdir" => {}
            _ => return None,
        }
        at += 8 + length;
    }
    // Where git looks for the end of the entries, whatever else may stand there.
    let tail = end.checked_sub(12 + hash).filter(|tail| index.get(*tail..tail + 4) == Some(b"EOIE"));
    let agrees = tail.is_none_or(|tail| number(index, tail + 8).map(|said| said as usize) == Some(entries_end));
    agrees.then_some(())
}

fn blocks(table: &[u8], starts: &[usize]) -> Option<()> {
    let (mut at, mut entry) = (4, 0);
    while at < table.len() {
        let (offset, count) = (number(table, at)?, number(table, at + 4)?);
        if *starts.get(entry)? != offset as usize {
            return None;
        }
        entry += count as usize;
        at += 8;
    }
    (entry == starts.len()).then_some(())
}

/// A number of git's own form, for how much of the name before is taken back. One that is too large is 0 to git, and the
/// name begins where it does.
fn varint(index: &[u8], at: &mut usize) -> Option<usize> {
    let (mut value, mut here) = (0u64, *at);
    loop {
        let byte = *index.get(here)?;
        here += 1;
        value = (value << 7) + u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            *at = here;
            return usize::try_from(value).ok();
        }
        value += 1;
        if value >> 57 != 0 {
            return Some(0);
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const FILE: u32 = 0o100_644;

    /// An entry up to its name.
    pub(in super::super) fn fixed(mode: u32, flags: u16) -> Vec<u8> {
        let mut bytes = vec![0; 40];
        bytes[24..28].copy_from_slice(&mode.to_be_bytes());
        bytes.extend([0x11; 20]);
        bytes.extend(flags.to_be_bytes());
        bytes
    }

    fn padded(mut entry: Vec<u8>, name: &str) -> Vec<u8> {
        entry.extend(name.bytes());
        entry.resize((entry.len() + 8) & !7, 0);
        entry
    }

    pub(in super::super) fn gitlink(name: &str) -> Vec<u8> {
        padded(fixed(GITLINK, u16::try_from(name.len()).unwrap()), name)
    }

    pub(in super::super) fn index(version: u8, entries: &[Vec<u8>], extensions: &[u8]) -> Vec<u8> {
        let count = u32::try_from(entries.len()).unwrap().to_be_bytes();
        [b"DIRC\0\0\0", &[version][..], &count, &entries.concat(), extensions, &[0; 20]].concat()
    }

    fn told(index: &[u8]) -> (Vec<String>, bool) {
        let mut names = Vec::new();
        let told = submodules(index, 20, false, &mut |name| names.push(String::from_utf8(name.to_vec()).unwrap()));
        (names, told.understood)
    }

    fn v4(mode: u32, flags: u16, number: &[u8], rest: &str) -> Vec<u8> {
        [&fixed(mode, flags), number, rest.as_bytes(), b"\0"].concat()
    }

    #[test]
    fn what_git_reads_more_generously_is_read_so() {
        let mut sha = fixed(GITLINK, 3);
        sha[52..54].copy_from_slice(&NAME_LENGTH.to_be_bytes());
        let mut extended = fixed(FILE, EXTENDED | 1);
        extended.extend([0, 0]);
        let first = index(4, &[v4(GITLINK, 3, b"\x05", "sub")], b"");
        let large = [0xff; 10];
        let over = index(
            4,
            &[
                v4(FILE, 1, b"\0", "a"),
                v4(FILE, NAME_LENGTH, &[&large[..], b"\x7f"].concat(), "b"),
                v4(GITLINK, 3, b"\x0d", "sub"),
            ],
            b"",
        );
        for bytes in [index(2, &[padded(extended, "a"), padded(sha, "sub")], b""), first, over] {
            assert_eq!(told(&bytes), (vec!["sub".to_owned()], true), "{bytes:?}");
        }
    }

    #[test]
    fn what_git_does_not_write_is_not_understood() {
        let sub = || gitlink("sub");
        let table = |at: u32| [&b"IEOT\0\0\0\x0c\0\0\0\x01"[..], &at.to_be_bytes(), &[0, 0, 0, 1]].concat();
        let ending = |at: u32| [&b"EOIE\0\0\0\x18"[..], &at.to_be_bytes(), &[0; 20]].concat();
        let link = [&b"link\0\0\0\x14"[..], &[7; 20]].concat();
        for (extensions, fine) in [
            (table(12), true),
            (table(20), false),
            (ending(84), true),
            (ending(12), false),
            ([&b"TREE\0\0\0\x20"[..], &ending(12)].concat(), false),
            (link.clone(), true),
            ([&link[..], &link].concat(), false),
            (b"abcd\0\0\0\0".to_vec(), false),
            (b"TREE\0\0\0\x09".to_vec(), false),
        ] {
            assert_eq!(told(&index(2, &[sub()], &extensions)), (vec!["sub".to_owned()], fine), "{extensions:?}");
        }
        let mut short = index(2, &[sub()], b"");
        short.pop();
        assert!(!told(&short).1 && !told(b"").1 && !told(&index(5, &[], b"")).1 && told(&index(2, &[], b"")).1);
        let replaced = submodules(&index(2, &[gitlink("")], &link), 20, false, &mut |_| {});
        assert_eq!((replaced.nameless, replaced.shared), (true, Some("07".repeat(20))));
    }
}
