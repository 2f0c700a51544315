//! The password of a netrc entry, which has neither a sign before it nor quotes around it: `machine h login x password y`.

use super::judge::Form;
use super::value::quoted;

/// So far back an entry is looked for: longer ones are none that a person or a program writes.
const ENTRY: usize = 512;

/// The words that a value stands behind in an entry. The last two are from the kin of the format that mail readers have.
const WORDS: [&[u8]; 7] = [b"login", b"account", b"password", b"passwd", b"machine", b"user", b"port"];

/// The value behind the name from `first` to `last`, if that is the word for the password of an entry.
pub(super) fn password(bytes: &[u8], first: usize, last: usize) -> Option<(usize, usize, Form)> {
    if !matches!(&bytes[first..last], b"password" | b"passwd") || separator(bytes, last).is_none() {
        return None;
    }
    let at = past_separators(bytes, last);
    let entry = entry(bytes, first)?;
    let opens = matches!(bytes.get(at), Some(b'"' | b'\'' | b'\\'));
    let (start, end) = match opens.then(|| quoted(bytes, at)).flatten() {
        // An entry may have quotes of its own, within those around it.
        Some((start, end, _)) if entry.quote != Some(bytes[start - 1]) || bytes[at] == b'\\' => (start, end),
        Some(_) => return None,
        None => (at, word(bytes, at, entry.quote)),
    };
    let value = &bytes[start..end];
    if value.is_empty() || WORDS.contains(&value) || value == b"default" || value.starts_with(b"$(") {
        return None;
    }
    let next = past_separators(bytes, end);
    let login = entry.login || [b"login ".as_slice(), b"user "].iter().any(|word| bytes[next..].starts_with(word));
    (login || entry.address).then_some((start, end, Form::Quoted))
}

/// What stands before the password.
struct Entry {
    /// The quote that the whole of it is in.
    quote: Option<u8>,
    /// Whether it says who logs in: without that, "the machine whose password" would be one.
    login: bool,
    /// Whether its machine is an address, and no word of prose.
    address: bool,
}

/// The entry whose next word is at `at`.
fn entry(bytes: &[u8], at: usize) -> Option<Entry> {
    let stop = at.saturating_sub(ENTRY);
    let (mut at, mut login) = (at, false);
    loop {
        let (start, end) = word_before(bytes, at, stop)?;
        if begins(&bytes[start..end], b"default") {
            return Some(Entry { quote: quote(bytes, end - b"default".len()), login, address: false });
        }
        let value = &bytes[start..end];
        let (start, end) = word_before(bytes, start, stop)?;
        if begins(&bytes[start..end], b"machine") {
            let address = value[..value.len() - 1].contains(&b'.');
            return Some(Entry { quote: quote(bytes, end - b"machine".len()), login, address });
        }
        match &bytes[start..end] {
            b"login" | b"user" => login = true,
            b"account" | b"port" => {}
            _ => return None,
        }
        at = start;
    }
}

/// Whether `word` is `first`, the first one of an entry, which quotes and brackets may stand before.
fn begins(word: &[u8], first: &[u8]) -> bool {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    word.strip_suffix(first).is_some_and(|before| !before.last().is_some_and(part))
}

/// The quote before `at`.
fn quote(bytes: &[u8], at: usize) -> Option<u8> {
    bytes[..at].last().copied().filter(|byte| matches!(byte, b'"' | b'\'' | b'`'))
}

/// The word that ends before the separators before `at`, none of it before `stop`.
fn word_before(bytes: &[u8], at: usize, stop: usize) -> Option<(usize, usize)> {
    let mut end = at;
    while end > stop && separator_before(bytes, end).is_some() {
        end -= separator_before(bytes, end)?;
    }
    let mut start = end;
    while start > stop && separator_before(bytes, start).is_none() {
        start -= 1;
    }
    (start < end && end < at && (start > stop || stop == 0)).then_some((start, end))
}

/// Where the word at `at` ends: before a separator, or before the quote that all of it is in.
fn word(bytes: &[u8], at: usize, quote: Option<u8>) -> usize {
    let ends = |at: usize| Some(bytes[at]) == quote || separator(bytes, at).is_some();
    let end = (at..bytes.len()).find(|at| ends(*at)).unwrap_or(bytes.len());
    let escapes = bytes[at..end].iter().rev().take_while(|byte| **byte == b'\\').count();
    if end < bytes.len() && Some(bytes[end]) == quote { end - escapes } else { end }
}

fn past_separators(bytes: &[u8], mut at: usize) -> usize {
    while let Some(length) = separator(bytes, at) {
        at += length;
    }
    at
}

/// How long the separator at `at` is: white space, or its spelling in a string of a program.
fn separator(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'\\' if matches!(bytes.get(at + 1), Some(b'n' | b'r' | b't')) => Some(2),
        byte => byte.is_ascii_whitespace().then_some(1),
    }
}

/// How long the separator that ends before `at` is.
fn separator_before(bytes: &[u8], at: usize) -> Option<usize> {
    let one = bytes[at.checked_sub(1)?];
    let escaped = matches!(one, b'n' | b'r' | b't') && at > 1 && bytes[at - 2] == b'\\';
    if escaped { Some(2) } else { one.is_ascii_whitespace().then_some(1) }
}
