//! A part of a text that has to go, and how it goes.

use std::borrow::Cow;

use super::Found;
use super::rules::{Kind, RULES};

/// From byte `start` to before byte `end`, both boundaries of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

/// Sorted, and those that overlap made one.
pub(super) fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| (span.start, span.end, span.kind));
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if span.start < last.end => {
                last.end = last.end.max(span.end);
                last.kind = last.kind.min(span.kind);
            }
            _ => out.push(span),
        }
    }
    out
}

/// So often a text is looked at again after what was found has gone: what stood behind a secret may only then be a word of
/// its own. Twice is enough for all but what was made to be hard.
const ROUNDS: usize = 6;

/// What `find` finds in `text`, and in what is left of it, until it finds nothing more: so a second export of what was exported
/// changes nothing.
pub(super) fn settled(text: &str, find: impl Fn(&str) -> Vec<Span>) -> Vec<Span> {
    let mut spans = find(text);
    for _ in 0..ROUNDS {
        if spans.is_empty() {
            break;
        }
        let more = find(&splice(text, spans.clone(), &mut Found::default()));
        if more.is_empty() {
            break;
        }
        let places: Vec<Span> = more.into_iter().map(|span| original(span, &spans)).collect();
        spans.extend(places);
        spans = merged(spans);
    }
    spans
}

/// Where `span`, of a text without `gone`, was before. One that begins or ends within a marker takes in what the marker is for.
fn original(span: Span, gone: &[Span]) -> Span {
    let place = |at: usize, is_end: bool| {
        let (mut before, mut after) = (0, 0); // how far both texts have been followed
        for one in gone {
            let marker = OPEN.len() + one.kind.name().len() + 1;
            let start = after + (one.start - before);
            if at < start || at == start && is_end {
                break;
            }
            if at < start + marker {
                return if is_end { one.end } else { one.start };
            }
            (before, after) = (one.end, start + marker);
        }
        before + (at - after)
    };
    Span { start: place(span.start, false), end: place(span.end, true), ..span }
}

/// `text` with a marker in the place of each of `spans`, which are merged.
pub(super) fn splice<'a>(text: &'a str, spans: Vec<Span>, found: &mut Found) -> Cow<'a, str> {
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut out, mut copied) = (String::with_capacity(text.len()), 0);
    for span in spans {
        found.add(span.kind.name());
        out.push_str(&text[copied..span.start]);
        out.push_str(OPEN);
        out.push_str(span.kind.name());
        out.push(']');
        copied = span.end;
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// What a marker begins with.
const OPEN: &str = "[REDACTED:";

/// How long the marker at the beginning of `bytes` is, if one is there.
pub(super) fn marker(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(OPEN.as_bytes())?;
    let length = rest.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
    let known = RULES.iter().any(|rule| rule.name.as_bytes() == &rest[..length]);
    (known && rest.get(length) == Some(&b']')).then_some(OPEN.len() + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_goes_as_one_under_the_more_exact_name() {
        let span = |start, end, kind| Span { start, end, kind };
        let spans = merged(vec![span(8, 9, Kind::Url), span(2, 5, Kind::Named), span(3, 6, Kind::Aws)]);
        assert_eq!(spans, [span(2, 6, Kind::Aws), span(8, 9, Kind::Url)]);
        let mut found = Found::default();
        assert_eq!(splice("0123456789", spans, &mut found), "01[REDACTED:aws]67[REDACTED:url]9");
        assert_eq!(found.total(), 2);
    }

    #[test]
    fn what_is_found_later_is_found_in_its_place() {
        let span = |start, end, kind| Span { start, end, kind };
        let gone = [span(2, 5, Kind::Aws), span(7, 8, Kind::Jwt)];
        // ab[REDACTED:aws]fg[REDACTED:jwt]i
        assert_eq!(original(span(0, 2, Kind::Url), &gone), span(0, 2, Kind::Url));
        assert_eq!(original(span(16, 17, Kind::Url), &gone), span(5, 6, Kind::Url));
        assert_eq!(original(span(1, 4, Kind::Url), &gone), span(1, 5, Kind::Url));
        assert_eq!(original(span(2, 33, Kind::Url), &gone), span(2, 9, Kind::Url));
        assert_eq!(original(span(20, 32, Kind::Url), &gone), span(7, 8, Kind::Url));
    }

    #[test]
    fn a_marker_is_one_that_this_program_writes() {
        assert_eq!(marker(b"[REDACTED:aws] x"), Some(14));
        assert_eq!(marker(b"[REDACTED:hunter] x"), None);
        assert_eq!(marker(b"[REDACTED:aws"), None);
    }
}
