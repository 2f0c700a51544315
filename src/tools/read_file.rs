//! `read_file`: a stretch of a text file.

use std::fs::File;
use std::io::{self, Cursor, IoSliceMut, Read};

use rustix::io::ReadWriteFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::workspace::Workspace;
use crate::domain::hex;

pub(super) const NAME: &str = "read_file";

pub(super) const DESCRIPTION: &str = "Read a text file in the workspace: the characters from start (counted from 0) \
up to, not including, end. next_start is where to go on, or null at the end of the file.";

/// Where a reading ends when the brain does not say: what the notes' program chose, about a thousand tokens.
const DEFAULT_END: u64 = 4000;

/// The most characters in one result, whatever was asked for; the rest is for the next call.
const MAX_CHARACTERS: u64 = 1024 * 1024;

/// Files up to this size are hashed, in bytes; about half a millisecond. Hashing all of a larger one would cost
/// more than reading the part that was asked for.
const MAX_HASHED: u64 = 1024 * 1024;

/// Files up to this size are read where the call is, in bytes, if they are in memory: some ten microseconds with the hash.
const MAX_AT_ONCE: u64 = 64 * 1024;

/// How far into a file a reading may begin, in bytes: what comes before has to be decoded to be counted, about a
/// gigabyte a second.
const MAX_SKIPPED: u64 = 256 * 1024 * 1024;

/// What the brain gives.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// The file, relative to the workspace.
    file_path: String,
    /// The first character, counted from 0.
    #[serde(default)]
    start: Option<u64>,
    /// The character to stop before; 4000 if not given, or 4000 further if `start` is there already.
    #[serde(default)]
    end: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Output {
    status: &'static str,
    content: String,
    next_start: Option<u64>,
    size_bytes: u64,
    /// Of the whole file; null for one that is too large to be hashed for a reading.
    sha256: Option<String>,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<Output, String> {
    let (start, end) = arguments.stretch()?;
    let file = workspace.open_file(&arguments.file_path).map_err(|error| error.to_string())?;
    tell(arguments, start, read(&file, start, end))
}

/// The same, if nobody has to wait for it: a short file that is in memory. To hand it to another thread would cost more
/// than to read it. `None`: for any reason it is not to be had so.
pub(super) fn at_once(workspace: &Workspace, arguments: &Arguments) -> Option<Output> {
    let (start, end) = arguments.stretch().ok()?;
    if !workspace.is_at_hand(&arguments.file_path) {
        return None;
    }
    let bytes = short(&workspace.open_file(&arguments.file_path).ok()?)?;
    tell(arguments, start, hashed(&bytes, start, end)).ok()
}

impl Arguments {
    /// From where to where, in characters.
    fn stretch(&self) -> Result<(u64, u64), String> {
        let start = self.start.unwrap_or(0);
        let end = match self.end {
            Some(end) if end < start => return Err("end must not be before start".to_owned()),
            Some(end) => end,
            // A reading that begins behind the default end goes on for the default length.
            None if start >= DEFAULT_END => start.saturating_add(DEFAULT_END),
            None => DEFAULT_END,
        };
        Ok((start, end.min(start.saturating_add(MAX_CHARACTERS))))
    }
}

fn tell(arguments: &Arguments, start: u64, read: io::Result<Reading>) -> Result<Output, String> {
    let path = &arguments.file_path;
    let (stretch, size_bytes, sha256) = read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => format!("{path}: is not UTF-8 text"),
        io::ErrorKind::FileTooLarge => format!("start is more than {MAX_SKIPPED} bytes into {path}"),
        _ => format!("{path}: {error}"),
    })?;
    let next_start = stretch.more.then(|| start + stretch.characters);
    Ok(Output { status: "success", content: stretch.text, next_start, size_bytes, sha256 })
}

/// The SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// All of a file that is short and in memory.
fn short(file: &File) -> Option<Vec<u8>> {
    let size = file.metadata().ok().map(|metadata| metadata.len()).filter(|size| *size <= MAX_AT_ONCE)?;
    // One byte more would tell that the file has grown.
    let mut bytes = vec![0; usize::try_from(size).ok()? + 1];
    let mut whole = [IoSliceMut::new(&mut bytes)];
    let count = rustix::io::preadv2(file, &mut whole, 0, ReadWriteFlags::NOWAIT).ok()?;
    bytes.truncate(count);
    // Less than all of it: the rest is on the disk.
    (count as u64 == size).then_some(bytes)
}

/// A stretch of the text, the file's size, and its hash where it is known.
type Reading = (Stretch, u64, Option<String>);

fn hashed(bytes: &[u8], start: u64, end: u64) -> io::Result<Reading> {
    let found = match std::str::from_utf8(bytes) {
        Ok(text) => Stretch::of(text, start, end),
        // Bytes that are no text matter only where they are read.
        Err(_) => stretch(bytes, start, end)?,
    };
    Ok((found, bytes.len() as u64, Some(sha256(bytes))))
}

fn read(file: &File, start: u64, end: u64) -> io::Result<Reading> {
    let size = file.metadata()?.len();
    // A character has a byte at least: this far in there is no need to begin.
    if start.min(size) > MAX_SKIPPED {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if size > MAX_HASHED {
        return Ok((stretch(file, start, end)?, size, None));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(MAX_HASHED + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_HASHED {
        // It grows while it is read.
        return Ok((stretch(Cursor::new(bytes).chain(file), start, end)?, file.metadata()?.len(), None));
    }
    hashed(&bytes, start, end)
}

/// What was found between two characters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stretch {
    text: String,
    characters: u64,
    /// Whether the file goes on.
    more: bool,
}

impl Stretch {
    /// Of a text that is there as a whole.
    fn of(text: &str, start: u64, end: u64) -> Self {
        let from = byte(text, start);
        let text = &text[from..];
        let to = byte(text, end - start);
        let (text, rest) = text.split_at(to);
        Self { text: text.to_owned(), characters: text.chars().count() as u64, more: !rest.is_empty() }
    }
}

/// Where the character of that number begins, or the end if there are not so many.
fn byte(text: &str, character: u64) -> usize {
    let number = usize::try_from(character).unwrap_or(usize::MAX);
    if text.is_ascii() {
        return number.min(text.len());
    }
    text.char_indices().nth(number).map_or(text.len(), |(at, _)| at)
}

/// Reads no further than it has to; what comes before `start` is checked and dropped piece by piece.
fn stretch(mut from: impl Read, start: u64, end: u64) -> io::Result<Stretch> {
    let mut found = Stretch::default();
    let (mut position, mut buffer, mut filled, mut passed) = (0u64, vec![0u8; 32 * 1024], 0, 0);
    loop {
        if position < start && passed > MAX_SKIPPED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let count = from.read(&mut buffer[filled..])?;
        filled += count;
        passed += count as u64;
        let valid = match std::str::from_utf8(&buffer[..filled]) {
            Ok(_) => filled,
            // A character that the end of the buffer cut in two is whole with the next reading.
            Err(error) if error.error_len().is_none() && count > 0 => error.valid_up_to(),
            Err(error) if position + characters(&buffer[..error.valid_up_to()]) > end => error.valid_up_to(),
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let text = std::str::from_utf8(&buffer[..valid]).map_err(|_| io::ErrorKind::InvalidData)?;
        let here = text.chars().count() as u64;
        let wanted = text.chars().skip(index(start, position)).take(index(end, position.max(start)));
        let before = found.text.len();
        found.text.extend(wanted);
        found.characters += found.text[before..].chars().count() as u64;
        position += here;
        if position > end {
            found.more = true;
            return Ok(found);
        }
        if count == 0 {
            return Ok(found);
        }
        buffer.copy_within(valid..filled, 0);
        filled -= valid;
    }
}

fn characters(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).map_or(0, |text| text.chars().count() as u64)
}

fn index(target: u64, position: u64) -> usize {
    usize::try_from(target.saturating_sub(position)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bytes: &[u8], start: u64, end: u64) -> io::Result<(String, bool)> {
        stretch(bytes, start, end).map(|found| (found.text, found.more))
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let text = "aé😀\r\nz";
        assert_eq!(of(text.as_bytes(), 1, 3).unwrap(), ("é😀".into(), true));
        assert_eq!(of(text.as_bytes(), 5, 6).unwrap(), ("z".into(), false));
        assert_eq!(of(text.as_bytes(), 0, 100).unwrap(), (text.into(), false));
        assert_eq!(of(text.as_bytes(), 100, 200).unwrap(), (String::new(), false));
        assert_eq!(of(b"", 0, 4).unwrap(), (String::new(), false));
        assert_eq!(of(text.as_bytes(), 2, 2).unwrap(), (String::new(), true));
    }

    #[test]
    fn bytes_that_are_no_text_matter_only_where_they_are_read() {
        assert_eq!(of(b"ab\xff", 0, 3).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(of(b"ab\xc3", 0, 9).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(of(b"abc\xff", 0, 2).unwrap(), ("ab".into(), true));
    }

    /// Gives the bytes in pieces of odd sizes, as pipes and file systems may.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn every_stretch_is_that_of_the_characters(
            text in "[a-cé😀\n]{0,60}", start in 0u32..70, length in 0u32..70, piece in 1usize..9
        ) {
            let expected: String = text.chars().skip(start as usize).take(length as usize).collect();
            let (start, length) = (u64::from(start), u64::from(length));
            let found = stretch(Pieces(text.as_bytes(), piece), start, start + length).unwrap();
            prop_assert_eq!(&Stretch::of(&text, start, start + length), &found);
            prop_assert_eq!(found.characters, expected.chars().count() as u64);
            prop_assert_eq!(found.text, expected);
            prop_assert_eq!(found.more, text.chars().count() as u64 > start + length);
        }
    }

    #[test]
    fn a_file_that_grows_is_read_as_whole_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "").unwrap();
        let piece = "é".repeat(10_000);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut file = File::options().append(true).open(&path).unwrap();
                (0..100).for_each(|_| std::io::Write::write_all(&mut file, piece.as_bytes()).unwrap());
            });
            while !writer.is_finished() {
                let (found, size, hash) = read(&File::open(&path).unwrap(), 1000, 600_000).unwrap();
                assert!(found.text.chars().all(|c| c == 'é'));
                assert!(hash.is_none() || size <= MAX_HASHED, "{size}");
            }
        });
    }

    #[test]
    fn a_reading_far_into_a_large_file_is_refused_at_once() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 30).unwrap();
        let started = std::time::Instant::now();
        assert_eq!(read(&file, 5 << 30, u64::MAX).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let (found, size, hash) = read(&file, 1000, 5000).unwrap();
        assert_eq!((found.text, found.more, size, hash), ("\0".repeat(4000), true, 10 << 30, None));
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    }
}
