//! The repositories that an index names as its submodules. `git status` runs itself in each of them, and so by their
//! config and hooks, whether or not anything else says that they are submodules.
//!
//! An index is read as git reads it, but as a stream: a command may have made one of any size. What git could not read
//! either needs no answer: it stops there.

use std::io::{self, BufRead, Read};

/// The mode of a submodule's entry.
const GITLINK: u32 = 0o160_000;

/// Of an entry's flags: how long its name is, or that it is longer than can be said there.
const NAME_LENGTH: u16 = 0xfff;
/// Of an entry's flags: there are more of them.
const EXTENDED: u16 = 0x4000;

/// How long the numbers of objects are, in the two formats; the entries do not tell which it is.
pub(super) const HASHES: [usize; 2] = [20, 32];

/// Longer than any path that can be opened. A longer name could hide what comes after it, so it is an error.
const MOST_NAME: u64 = 1 << 20;

/// Tells the path of each submodule, as if numbers of objects had this length; and the name of the index it shares
/// entries with, if there is one. What cannot be read ends it; only a name that is too long is an error.
pub(super) fn submodules(
    index: &mut impl BufRead,
    hash: usize,
    each: &mut dyn FnMut(&[u8]),
) -> io::Result<Option<String>> {
    match read(index, hash, each) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read,
    }
}

fn read(index: &mut impl BufRead, hash: usize, each: &mut dyn FnMut(&[u8])) -> io::Result<Option<String>> {
    let [signature, version, count] = [number(index)?, number(index)?, number(index)?];
    if signature != u32::from_be_bytes(*b"DIRC") || !(2..=4).contains(&version) {
        return Ok(None);
    }
    let mut name = Vec::new();
    for _ in 0..count {
        let mut fixed = [0; 40 + 32 + 2];
        let fixed = &mut fixed[..40 + hash + 2];
        index.read_exact(fixed)?;
        let mode = u32::from_be_bytes([fixed[24], fixed[25], fixed[26], fixed[27]]);
        let flags = u16::from_be_bytes([fixed[40 + hash], fixed[41 + hash]]);
        let mut size = fixed.len();
        if version > 2 && flags & EXTENDED != 0 {
            skip(index, 2)?;
            size += 2;
        }
        let kept = if version == 4 { usize::checked_sub(name.len(), varint(index)?) } else { Some(0) };
        // It takes back more than there was.
        let Some(kept) = kept else { return Ok(None) };
        name.truncate(kept);
        read_name(index, flags & NAME_LENGTH, &mut name)?;
        if version < 4 {
            size += name.len();
            // A NUL ends it and has been read; the entry is filled up to a multiple of eight.
            skip(index, ((size + 8) & !7) - size - 1)?;
        }
        if mode & 0o170_000 == GITLINK {
            each(name.split(|byte| *byte == 0).next().unwrap_or_default());
        }
    }
    shared(index, hash)
}

/// The rest of a name, and the NUL behind it.
fn read_name(index: &mut impl BufRead, length: u16, name: &mut Vec<u8>) -> io::Result<()> {
    if length == NAME_LENGTH {
        let read = index.take(MOST_NAME).read_until(0, name)?;
        if name.pop_if(|byte| *byte == 0).is_some() {
            return Ok(());
        }
        let long = read as u64 == MOST_NAME;
        let kind = if long { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
        return Err(io::Error::new(kind, "a name in the index is too long"));
    }
    let from = name.len();
    if usize::from(length) < from {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    name.resize(usize::from(length), 0);
    index.read_exact(&mut name[from..])?;
    skip(index, 1)
}

/// Of what comes after the entries, the extension that names another index.
fn shared(index: &mut impl BufRead, hash: usize) -> io::Result<Option<String>> {
    loop {
        let signature = number(index)?;
        let length = u64::from(number(index)?);
        if signature == u32::from_be_bytes(*b"link") {
            let mut base = [0; 32];
            let base = &mut base[..hash];
            index.read_exact(base)?;
            let hex = |name: String, byte: &u8| name + &format!("{byte:02x}");
            return Ok(Some(base.iter().fold(String::new(), hex)));
        }
        if io::copy(&mut index.take(length), &mut io::sink())? < length {
            return Ok(None);
        }
    }
}

/// A number of git's own form, for how much of the name before is taken back.
fn varint(index: &mut impl BufRead) -> io::Result<usize> {
    let mut value = 0usize;
    loop {
        let [byte] = array(index)?;
        value = (value << 7) | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
        if value > usize::MAX >> 8 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        value += 1;
    }
}

fn number(index: &mut impl BufRead) -> io::Result<u32> {
    Ok(u32::from_be_bytes(array(index)?))
}

fn array<const N: usize>(index: &mut impl BufRead) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    index.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn skip(index: &mut impl BufRead, count: usize) -> io::Result<()> {
    let mut bytes = [0; 8];
    index.read_exact(&mut bytes[..count])
}
