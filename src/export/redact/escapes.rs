//! How a JSON text spells its strings, and where their characters stand in it.

use std::borrow::Cow;

use super::span::Span;

/// Where the string whose content starts at `at` ends: at its quote.
pub(super) fn end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// The string that `raw`, the content between its quotes, spells. Half of a pair of surrogates becomes the sign for what
/// cannot be shown: it is no part of any secret.
pub(super) fn decoded(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let (mut out, mut rest) = (String::with_capacity(raw.len()), raw);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (letter, length) = escape(&rest[at..]);
        out.push(letter);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character that the escape at the beginning of `text` spells, and how many bytes it takes.
fn escape(text: &str) -> (char, usize) {
    let unit = |at: usize| text.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let letter = match text.as_bytes().get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let first = unit(2).unwrap_or(0xfffd);
            let second = if text.get(6..8) == Some("\\u") { unit(8) } else { None };
            return match (first, second) {
                (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                    let code = 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00);
                    (char::from_u32(code).unwrap_or('\u{fffd}'), 12)
                }
                _ => (char::from_u32(first).unwrap_or('\u{fffd}'), 6),
            };
        }
        Some(other) => *other as char,
        None => return ('\\', 1),
    };
    (letter, 2)
}

/// Adds `found`, which are places in the decoded `text`, as places in the JSON text that `raw` stands in at `base`.
pub(super) fn place(raw: &str, text: &str, base: usize, found: Vec<Span>, out: &mut Vec<Span>) {
    if raw.len() == text.len() {
        out.extend(found.into_iter().map(|span| span.in_string(base + span.start, base + span.end)));
        return;
    }
    let (mut decoded, mut at) = (0, 0);
    let mut reach = |to: usize| {
        while decoded < to {
            let rest = &raw[at..];
            if rest.starts_with('\\') {
                let (letter, length) = escape(rest);
                decoded += letter.len_utf8();
                at += length;
            } else {
                let plain = rest.find('\\').unwrap_or(rest.len()).min(to - decoded);
                decoded += plain;
                at += plain;
            }
        }
        base + at
    };
    for span in found {
        let start = reach(span.start);
        out.push(span.in_string(start, reach(span.end)));
    }
}
