//! A part of a text that has to go, and how it goes.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Found;
use super::rules::{Kind, RULES};

/// From byte `start` to before byte `end`, both boundaries of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
    /// How many bytes each of the quotes takes that have to be put around the marker, which stands in the place of a number
    /// of JSON: none, or one more for each backslash.
    quotes: u8,
}

impl Span {
    /// A part of a string or of a text.
    pub(super) fn new(start: usize, end: usize, kind: Kind) -> Self {
        Self { start, end, kind, quotes: 0 }
    }

    /// A number of JSON, which becomes a string.
    pub(super) fn number(start: usize, end: usize, kind: Kind) -> Self {
        Self { start, end, kind, quotes: 1 }
    }

    /// The same place in the JSON text that the text is a string of, from `start` to `end` there: a quote in it is spelled
    /// with twice the bytes, since all of its backslashes and itself take a backslash.
    pub(super) fn in_string(self, start: usize, end: usize) -> Self {
        Self { start, end, quotes: self.quotes * 2, ..self }
    }

    /// What stands in its place.
    fn marker(self) -> String {
        let quote = match self.quotes {
            0 => String::new(),
            bytes => "\\".repeat(usize::from(bytes) - 1) + "\"",
        };
        format!("{quote}{OPEN}{}]{quote}", self.kind.name())
    }
}

/// Sorted, and those that overlap made one.
pub(super) fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| (span.start, span.end, span.kind));
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if span.start < last.end => {
                // A number overlaps with nothing but itself and what it is a part of.
                last.quotes = match (span.start, span.end).cmp(&(last.start, last.end)) {
                    Ordering::Equal => last.quotes.max(span.quotes),
                    _ if span.end > last.end => 0,
                    _ => last.quotes,
                };
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
            let marker = OPEN.len() + one.kind.name().len() + 1 + 2 * usize::from(one.quotes);
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
        out.push_str(&span.marker());
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
        let span = Span::new;
        let spans = merged(vec![span(8, 9, Kind::Url), span(2, 5, Kind::Named), span(3, 6, Kind::Aws)]);
        assert_eq!(spans, [span(2, 6, Kind::Aws), span(8, 9, Kind::Url)]);
        let mut found = Found::default();
        assert_eq!(splice("0123456789", spans, &mut found), "01[REDACTED:aws]67[REDACTED:url]9");
        assert_eq!(found.iter().collect::<Vec<_>>(), [("aws", 1), ("url", 1)]);
    }

    #[test]
    fn what_is_found_later_is_found_in_its_place() {
        let span = Span::new;
        let gone = [span(2, 5, Kind::Aws), span(7, 8, Kind::Jwt)];
        // ab[REDACTED:aws]fg[REDACTED:jwt]i
        assert_eq!(original(span(0, 2, Kind::Url), &gone), span(0, 2, Kind::Url));
        assert_eq!(original(span(16, 17, Kind::Url), &gone), span(5, 6, Kind::Url));
        assert_eq!(original(span(1, 4, Kind::Url), &gone), span(1, 5, Kind::Url));
        assert_eq!(original(span(2, 33, Kind::Url), &gone), span(2, 9, Kind::Url));
        assert_eq!(original(span(20, 32, Kind::Url), &gone), span(7, 8, Kind::Url));
    }

    #[test]
    fn a_number_becomes_a_string_however_deep_it_stands() {
        let number = Span::number(1, 4, Kind::Own);
        let quoted = |span| splice("[123]", vec![span], &mut Found::default()).into_owned();
        assert_eq!(quoted(number), "[\"[REDACTED:own]\"]");
        assert_eq!(quoted(number.in_string(1, 4).in_string(1, 4)), "[\\\\\\\"[REDACTED:own]\\\\\\\"]");
        let (whole, part) = (Span::new(1, 5, Kind::Named), Span::new(1, 4, Kind::Named));
        assert_eq!(merged(vec![number, part]), [number]);
        assert_eq!(merged(vec![number, whole]), [Span::new(1, 5, Kind::Own)]);
        // What is found again in the marker, its quotes included, is found where the number was.
        assert_eq!(original(Span::new(2, 16, Kind::Url), &[number]), Span::new(1, 4, Kind::Url));
        assert_eq!(original(Span::new(17, 18, Kind::Url), &[number]), Span::new(4, 5, Kind::Url));
    }

    #[test]
    fn a_marker_is_one_that_this_program_writes() {
        assert_eq!(marker(b"[REDACTED:aws] x"), Some(14));
        assert_eq!(marker(b"[REDACTED:hunter] x"), None);
        assert_eq!(marker(b"[REDACTED:aws"), None);
    }
}
