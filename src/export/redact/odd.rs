//! Tokens that are known by something in their middle.

use super::rules::Kind;
use super::runs::{Class, Runs};
use super::shapes::Shape;
use super::span::Span;

/// A JSON Web Token at `start`: two parts or more, the first of which is an object in base64.
pub(super) fn jwt(bytes: &[u8], start: usize, runs: &mut Runs<'_>) -> Option<Span> {
    if !bytes[start..].starts_with(b"eyJ") {
        return None;
    }
    let head = runs.end(Class::Url, start);
    let head = head + padding(bytes, head);
    if head - start < 10 || bytes.get(head) != Some(&b'.') {
        return None;
    }
    let body = runs.end(Class::Url, head + 1);
    if body - head < 8 {
        return None;
    }
    // What follows is a signature or, where the token is encrypted, three parts more.
    let end = runs.end(Class::Dotted, body);
    let end = end + padding(bytes, end);
    Some(Span::new(start, end, Kind::Jwt))
}

/// How many `=` stand at `at`; more than two are none that base64 has.
fn padding(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().take(2).take_while(|byte| **byte == b'=').count()
}

/// A Telegram bot's token around the `:` at `at`: the bot's number, then 35 characters.
pub(super) fn telegram(bytes: &[u8], at: usize, runs: &mut Runs<'_>) -> Option<Span> {
    let digits = bytes[..at].iter().rev().take(10).take_while(|byte| byte.is_ascii_digit()).count();
    if digits < 8 {
        return None;
    }
    let end = runs.end(Class::Url, at + 1);
    let body = &bytes[at + 1..end.min(at + 36)];
    let has = |is: fn(&u8) -> bool| body.iter().any(is);
    // A hash in hexadecimal digits after a number is not one.
    (body.len() == 35 && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)).then_some(Span::new(
        at - digits,
        end,
        Kind::Telegram,
    ))
}

/// A Discord bot's token around its first `.`: the bot's number in base64, six characters, 27 or more.
pub(super) fn discord(bytes: &[u8], at: usize, runs: &mut Runs<'_>) -> Option<Span> {
    if bytes.get(at + 7) != Some(&b'.') || !bytes[at + 1..at + 7].iter().all(|byte| Class::Url.has(*byte)) {
        return None;
    }
    let back = bytes[..at].iter().rev().take(28).take_while(|byte| Class::Url.has(**byte)).count();
    let start = (at - back..=at.saturating_sub(24)).find(|start| matches!(bytes[*start], b'M' | b'N' | b'O'))?;
    let end = runs.end(Class::Url, at + 8);
    let digit = bytes[start..end.min(at + 40)].iter().any(u8::is_ascii_digit);
    (end - at >= 35 && digit).then_some(Span::new(start, end, Kind::Discord))
}

/// A Mailchimp key around its `-us`: 32 characters before it, the number of a data centre behind.
pub(super) fn mailchimp(bytes: &[u8], at: usize) -> Option<Span> {
    let start = at.checked_sub(32)?;
    let digits = bytes[at + 3..].iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits > 0 && bytes[at + 1] == b'u' && bytes[start..at].iter().all(|byte| Class::Lower.has(*byte));
    whole.then_some(Span::new(start, at + 3 + digits, Kind::Mailchimp))
}

/// So far from an access key id its secret is looked for: the next lines of a file with credentials.
const BESIDE: usize = 160;

/// How long a secret access key is.
const AWS: usize = 40;

/// Where `span` is an AWS access key id, also what looks like the secret beside it: 40 characters of base64 that are no
/// hash in hexadecimal digits.
pub(super) fn beside(shape: &Shape, bytes: &[u8], span: Span, out: &mut Vec<Span>) {
    if span.kind != Kind::Aws || shape.prefix.len() > 4 {
        return;
    }
    for (from, to) in [(span.start.saturating_sub(BESIDE), span.start), (span.end, bytes.len().min(span.end + BESIDE))]
    {
        let mut at = from;
        while at < to {
            let length = bytes[at..to].iter().take_while(|byte| is_base64(**byte)).count();
            let run = &bytes[at..at + length];
            // What goes on beyond the window is longer.
            let cut = |outside: Option<&u8>| outside.is_some_and(|byte| is_base64(*byte));
            let whole =
                !(at == from && cut(at.checked_sub(1).map(|before| &bytes[before])) || cut(bytes.get(at + length)));
            let has = |is: fn(&u8) -> bool| run.iter().any(is);
            let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
            if length == AWS && whole && mixed {
                out.push(Span::new(at, at + length, Kind::Aws));
            }
            at += length + 1;
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}
