//! The password in an address: `scheme://user:password@host`.

use super::named::placeholder;
use super::rules::Kind;
use super::span::{Span, marker};

/// So much of an address is looked at; an address with longer credentials than this is hardly one.
const LONGEST: usize = 512;

/// The password behind the `://` at `at`, if one is there.
pub(super) fn password(bytes: &[u8], at: usize) -> Option<Span> {
    if !at.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_alphanumeric()) {
        return None;
    }
    let start = at + 3;
    let rest = &bytes[start..bytes.len().min(start + LONGEST)];
    let stop =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\' | b'\0');
    let rest = &rest[..rest.iter().position(stop).unwrap_or(rest.len())];
    if rest.first() == Some(&b'[') && marker(rest).is_none() {
        return None; // an IPv6 address
    }
    let colon = rest.iter().position(|byte| matches!(byte, b':' | b'/' | b'?' | b'#'))?;
    let behind = &rest[colon..];
    let behind = behind.strip_prefix(b":")?;
    // A marker is passed over as a whole, since a colon stands in it.
    if let Some(length) = marker(behind)
        && behind.get(length) == Some(&b'@')
    {
        return None;
    }
    let first = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if behind.get(first).is_none_or(|byte| matches!(byte, b'/' | b'?' | b'#')) {
        return None; // a port
    }
    // A password may hold `@`, `/` and the like, though it should not: the end is the last `@` before a host's end, or else
    // the first one there is.
    let authority = behind.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(behind.len());
    let end = behind[..authority].iter().rposition(|byte| *byte == b'@');
    let end = end.or_else(|| behind.iter().position(|byte| *byte == b'@'))?;
    if end == 0 || placeholder(&behind[..end]) {
        return None;
    }
    let from = start + colon + 1;
    Some(Span::new(from, from + end, Kind::Url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        let at = text.find("://").unwrap();
        password(text.as_bytes(), at).map(|span| &text[span.start..span.end])
    }

    #[test]
    fn the_password_is_what_stands_between_the_colon_and_the_host() {
        assert_eq!(found("postgres://app:hunter2@db:5432/app"), Some("hunter2"));
        assert_eq!(found("redis://:hunter2@cache"), Some("hunter2"));
        assert_eq!(found("https://u:p@ss!w@host/a@b"), Some("p@ss!w"));
        assert_eq!(found("amqp://u:pa/ss@host"), Some("pa/ss"));
        assert_eq!(found("x=\"ftp://u:1234@host\""), Some("1234"));
        assert_eq!(found("see https://u:päss@host."), Some("päss"));
    }

    #[test]
    fn ports_placeholders_and_paths_are_no_passwords() {
        for text in [
            "http://localhost:8080/@user",
            "http://localhost:8080",
            "http://[::1]:80/x@y",
            "https://github.com/a/b:c@d",
            "https://user@host/x:y",
            "postgres://u:${PASSWORD}@h",
            "postgres://{user}:{password}@h",
            "postgres://user:[REDACTED:url]@h",
            "postgres://user:****@h",
            "://u:p@h",
            "http://a:b c@d",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
