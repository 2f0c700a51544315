//! Credentials that stand behind their scheme, wherever that is: `Bearer …`, `Basic …`.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::rules::Kind;
use super::runs::{Class, Runs};
use super::span::Span;

/// A bearer token has at least so many characters, digits among them: the words behind "bearer" in prose have not.
const BEARER: usize = 16;

/// Longer credentials are not decoded: the header of a request has no room for them.
const BASIC: usize = 1024;

/// A token behind `Bearer `, which ends before `at`.
pub(super) fn bearer(bytes: &[u8], at: usize, runs: &mut Runs<'_>) -> Option<Span> {
    let start = past_spaces(bytes, at);
    let end = runs.end(Class::Bearer, start);
    let seen = &bytes[start..end.min(start + 256)];
    (seen.len() >= BEARER && seen.iter().any(u8::is_ascii_digit)).then_some(Span::new(start, end, Kind::Header))
}

/// `user:password` in base64 behind `Basic `, which ends before `at`.
pub(super) fn basic(bytes: &[u8], at: usize, runs: &mut Runs<'_>) -> Option<Span> {
    let start = past_spaces(bytes, at);
    let end = runs.end(Class::Percent, start);
    if end - start > BASIC {
        return None;
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let plain = GeneralPurpose::new(&STANDARD, config).decode(&bytes[start..end]).ok()?;
    let printable = plain.iter().all(|byte| !byte.is_ascii_control());
    (printable && plain.contains(&b':')).then_some(Span::new(start, end, Kind::Header))
}

fn past_spaces(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take(8).take_while(|byte| **byte == b' ').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_and_prose_stays() {
        let bearer = |text: &str| bearer(text.as_bytes(), 7, &mut Runs::new(text.as_bytes())).map(|span| span.end);
        assert_eq!(bearer("bearer abcdefgh12345678, x"), Some(23));
        assert_eq!(bearer("bearer   abcdefgh12345678"), Some(25));
        assert_eq!(bearer("bearer authentication-schemes are"), None);
        assert_eq!(bearer("bearer [REDACTED:header]"), None);
        let basic = |text: &str| basic(text.as_bytes(), 6, &mut Runs::new(text.as_bytes())).map(|span| span.end);
        assert_eq!(basic("basic YWxhZGRpbjpvcGVuc2VzYW1l'"), Some(30));
        assert_eq!(basic("basic dTpw"), Some(10));
        assert_eq!(basic("basic functionality"), None);
        assert_eq!(basic("basic "), None);
    }
}
