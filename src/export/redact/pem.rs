//! Private keys in blocks: `-----BEGIN … PRIVATE KEY-----` to `-----END … PRIVATE KEY-----`.
//!
//! A block may stand in a string of code, with `\n` for its line ends, and it may have lost one of its ends, since long
//! output is cut in the middle. Then what looks like a line of base64 next to the end that is left goes.

use super::rules::Kind;
use super::span::Span;

/// Between both ends of a block there is at most so much: an RSA key of 16384 bits has 13 KB.
const BLOCK: usize = 16 * 1024;

/// A word of base64 of so many characters is a line of a key; a shorter one may be a word of prose.
const LINE: usize = 16;

/// The headers that may stand in a block before the base64.
const HEADERS: [&[u8]; 4] = [b"Proc-Type:", b"DEK-Info:", b"Comment:", b"Version:"];

/// What has been seen of blocks in one text.
#[derive(Debug, Default)]
pub(super) struct Pem {
    /// A beginning whose end has not been seen: where it starts, and where what follows starts.
    open: Option<(usize, usize)>,
    /// Before here all has been dealt with.
    done: usize,
}

impl Pem {
    /// `PRIVATE KEY` stands from `start` to `end`.
    pub(super) fn seen(&mut self, bytes: &[u8], start: usize, end: usize, out: &mut Vec<Span>) -> Option<Span> {
        if &bytes[start..end] != b"PRIVATE KEY" {
            return None;
        }
        let (first, begins) = label(bytes, start)?;
        let mut first = first;
        while first > self.done && bytes[first - 1] == b'-' || first > self.done + 1 && bytes[..first].ends_with(b"- ")
        {
            first -= 1;
        }
        let mut last = end + if bytes[end..].starts_with(b" BLOCK") { 6 } else { 0 };
        last += usize::from(bytes[last..].starts_with(b" -"));
        last += bytes[last..].iter().take_while(|byte| **byte == b'-').count();
        if begins {
            self.ended(bytes, out);
            self.open = Some((first, last));
            self.done = last;
            return None;
        }
        let from = self.done;
        self.done = last;
        let Some((opened, body)) = self.open.take() else {
            if bytes[first] != b'-' {
                return None; // words of prose
            }
            let back = backward(bytes, from, first);
            return Some(Span::new(back, last, Kind::Pem));
        };
        let (forth, back) = (forward(bytes, body), backward(bytes, body, first));
        if forth >= back || first - body <= BLOCK && !bytes[body..first].contains(&b'"') {
            return Some(Span::new(opened, last, Kind::Pem));
        }
        out.push(Span::new(opened, forth, Kind::Pem));
        Some(Span::new(back, last, Kind::Pem))
    }

    /// No end follows any more for what is open.
    pub(super) fn ended(&mut self, bytes: &[u8], out: &mut Vec<Span>) {
        if let Some((start, body)) = self.open.take() {
            out.push(Span::new(start, forward(bytes, body), Kind::Pem));
        }
    }

    /// A key file of `PuTTY` from `start`: to the line that closes it, or else as far as it looks like one.
    pub(super) fn putty(text: &str, start: usize) -> Option<Span> {
        let rest = &text[start..];
        let version = rest.as_bytes().get("PuTTY-User-Key-File-".len()..)?;
        if !(version.first().is_some_and(u8::is_ascii_digit) && version.get(1) == Some(&b':')) {
            return None;
        }
        let mut window = rest.len().min(BLOCK);
        while !rest.is_char_boundary(window) {
            window -= 1;
        }
        let end = match rest[..window].find("Private-MAC: ") {
            Some(at) => {
                let mac = at + "Private-MAC: ".len();
                mac + rest.as_bytes()[mac..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count()
            }
            None => rest[..window].bytes().take_while(|byte| byte.is_ascii() && *byte != b'"').count(),
        };
        Some(Span::new(start, start + end, Kind::Pem))
    }
}

/// Where the label `BEGIN … ` or `END … ` that ends before `at` starts, and whether it is a beginning.
fn label(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let words = bytes[..at].iter().rev().take(32);
    let length = words.take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || **byte == b' ').count();
    let words = &bytes[at - length..at];
    let place =
        |word: &[u8]| words.windows(word.len()).rposition(|found| found == word).map(|place| at - length + place);
    match (place(b"BEGIN "), place(b"END ")) {
        (Some(begin), _) => Some((begin, true)),
        (None, Some(end)) => Some((end, false)),
        (None, None) => None,
    }
}

/// What stands between the words of a block: white space, also in its escaped form, and the quotes of a string per line.
fn between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b',' | b'\\')
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Where the key that goes on from `at` ends.
fn forward(bytes: &[u8], at: usize) -> usize {
    let (mut end, mut at) = (at, at);
    loop {
        at += bytes[at..].iter().take_while(|byte| between(**byte)).count();
        if bytes[..at].ends_with(b"\\") && matches!(bytes.get(at), Some(b'n' | b'r' | b't')) {
            at += 1;
            continue;
        }
        if HEADERS.iter().any(|header| bytes[at..].starts_with(header)) {
            at += bytes[at..].iter().take_while(|byte| !matches!(byte, b'\n' | b'\\')).count();
            end = at;
            continue;
        }
        let length = bytes[at..].iter().take_while(|byte| is_base64(**byte)).count();
        let rest = &bytes[at + length..];
        let ends = rest.is_empty() || rest.starts_with(b"\n[") || rest.starts_with(b"\\n[");
        let whole = rest.first().is_none_or(|byte| between(*byte) || *byte == b'-');
        if length == 0 || !(whole && length >= LINE || ends) {
            return end;
        }
        at += length;
        end = at;
    }
}

/// Where the key that ends before `at` begins, not before `floor`.
fn backward(bytes: &[u8], floor: usize, at: usize) -> usize {
    let (mut start, mut at, mut first) = (at, at, true);
    loop {
        at -= bytes[floor..at].iter().rev().take_while(|byte| between(**byte)).count();
        let mut length = bytes[floor..at].iter().rev().take_while(|byte| is_base64(**byte)).count();
        // The n of `\n` is no part of the word behind it.
        let escaped = bytes[floor..at - length].ends_with(b"\\") && length > 0;
        length -= usize::from(escaped);
        let cut = bytes[floor..at - length].ends_with(b"]\n");
        if length == 0 && escaped {
            at -= 1;
            continue;
        }
        if length == 0 || !(length >= LINE || first || cut) {
            return start;
        }
        at -= length;
        start = at;
        first = false;
        at -= usize::from(escaped);
    }
}
