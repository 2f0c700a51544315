//! The key, taken out of what a brain or a model's server says, in whatever spelling it comes back: one that sends back what
//! it was sent, as those for trying things out do, would put it on record.

use std::borrow::Cow;

use axum::http::HeaderValue;

/// A key that is shorter is left in a reply: it may be a placeholder (`not-needed`) that stands in a file by right, and a
/// reply is data. Keys that are given out have twice as many characters.
const SECRET: usize = 20;

/// In messages for people a shorter one is hidden, too; less could be a part of any word.
const TOLD: usize = 6;

/// What stands in its place.
const INSTEAD: &str = "[OPENAI_API_KEY]";

/// So many backslashes stand before an escaped letter at most: JSON within JSON within JSON has seven.
const BACKSLASHES: usize = 7;

/// A reply's text without the token of the header `key`.
pub(super) fn hidden<'a>(text: &'a str, key: Option<&HeaderValue>) -> Cow<'a, str> {
    at_least(SECRET, text, key)
}

/// The same of a text for people.
pub(super) fn untold<'a>(text: &'a str, key: Option<&HeaderValue>) -> Cow<'a, str> {
    at_least(TOLD, text, key)
}

fn at_least<'a>(length: usize, text: &'a str, key: Option<&HeaderValue>) -> Cow<'a, str> {
    let key = key.map_or(&b""[..], HeaderValue::as_bytes);
    let token = key.strip_prefix(b"Bearer ").or(key.strip_prefix(b"Basic ")).unwrap_or(key);
    if token.len() < length { text.into() } else { without(text, token) }
}

/// `text` without `key`, which may stand there plain, escaped as in JSON (also in JSON within JSON) or percent-encoded.
fn without<'a>(text: &'a str, key: &[u8]) -> Cow<'a, str> {
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while at < text.len() && !key.is_empty() {
        // Both ends of a place that is found are boundaries of characters, where the key is text.
        match end_of(&text.as_bytes()[at..], key) {
            Some(length) if text.is_char_boundary(at) && text.is_char_boundary(at + length) => {
                out.push_str(&text[copied..at]);
                out.push_str(INSTEAD);
                at += length;
                copied = at;
            }
            _ => at += 1,
        }
    }
    if copied == 0 { text.into() } else { (out + &text[copied..]).into() }
}

/// How many bytes at the beginning of `text` spell the whole key.
fn end_of(text: &[u8], key: &[u8]) -> Option<usize> {
    let mut at = 0;
    for byte in key {
        at += spelt(&text[at..], *byte)?;
    }
    Some(at)
}

/// How many bytes at the beginning of `text` spell `byte`.
fn spelt(text: &[u8], byte: u8) -> Option<usize> {
    if text.first() == Some(&byte) {
        return Some(1);
    }
    let hex = |digits: Option<&[u8]>| {
        let digits = std::str::from_utf8(digits?).ok()?;
        (u32::from_str_radix(digits, 16).ok()? == u32::from(byte)).then_some(())
    };
    if text.first() == Some(&b'%') {
        return hex(text.get(1..3)).map(|()| 3);
    }
    let slashes = text.iter().take(BACKSLASHES).take_while(|byte| **byte == b'\\').count();
    let escaped = &text[slashes..];
    if slashes == 0 {
        return None;
    }
    if escaped.first() == Some(&byte) {
        return Some(slashes + 1);
    }
    (escaped.first() == Some(&b'u')).then_some(())?;
    hex(escaped.get(1..5)).map(|()| slashes + 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_every_spelling() {
        let key = "sk/a+B=ü";
        for (text, expected) in [
            ("wrong key: sk/a+B=ü!", "wrong key: [OPENAI_API_KEY]!"),
            (r"sk\/a+B=ü", "[OPENAI_API_KEY]"),
            (r#"{"m":"sk\\\/a\u002bB=ü"}"#, r#"{"m":"[OPENAI_API_KEY]"}"#),
            (r"sk\u002Fa+B\u003dü", "[OPENAI_API_KEY]"),
            ("key=sk%2Fa%2bB%3D%C3%BC&x", "key=[OPENAI_API_KEY]&x"),
            ("sk/a+B=üsk/a+B=üsk", "[OPENAI_API_KEY][OPENAI_API_KEY]sk"),
            ("sk/a+B= ü sk%2 \\", "sk/a+B= ü sk%2 \\"),
            ("ü", "ü"),
            ("", ""),
        ] {
            assert_eq!(without(text, key.as_bytes()), expected, "{text}");
        }
        assert_eq!(without("x", b""), "x");
        // In no more than a moment.
        let slashes = "\\".repeat(1_000_000);
        assert_eq!(without(&slashes, key.as_bytes()), slashes);
    }
}
