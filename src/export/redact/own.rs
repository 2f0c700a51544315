//! The exact values of this process's own secrets, in every spelling that they may come back in.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::rules::Kind;
use super::span::Span;

/// A shorter value could be a part of any word.
const LEAST: usize = 6;

/// JSON within JSON within JSON is as deep as escapes are followed where a text is no valid JSON as a whole.
const ESCAPES: usize = 3;

/// Finds them.
pub(super) struct Own(Option<AhoCorasick>);

impl Own {
    #[expect(clippy::expect_used, reason = "a process has a few secrets of a few hundred bytes")]
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let spellings: BTreeSet<String> =
            secrets.into_iter().filter(|secret| secret.len() >= LEAST).flat_map(|secret| spellings(&secret)).collect();
        if spellings.is_empty() {
            return Self(None);
        }
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(spellings);
        Self(Some(automaton.expect("the secrets make an automaton")))
    }

    /// Whether `text` is one of them as a whole.
    pub(super) fn is(&self, text: &str) -> bool {
        self.spans(text).first().is_some_and(|span| span.end - span.start == text.len())
    }

    /// Where they stand in `text`.
    pub(super) fn spans(&self, text: &str) -> Vec<Span> {
        let Some(automaton) = &self.0 else { return Vec::new() };
        automaton.find_iter(text).map(|hit| Span::new(hit.start(), hit.end(), Kind::Own)).collect()
    }
}

fn spellings(secret: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([secret.to_owned(), percent(secret, true), percent(secret, false)]);
    let mut escaped = secret.to_owned();
    for _ in 0..ESCAPES {
        let quoted = serde_json::Value::from(escaped.as_str()).to_string();
        quoted[1..quoted.len() - 1].clone_into(&mut escaped);
        all.insert(escaped.clone());
        all.insert(escaped.replace('/', "\\/"));
    }
    all.extend((0..3).flat_map(|shift| {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(secret.as_bytes());
        // A character of base64 holds six bits: those at the ends that hold bits of a neighbour are left out.
        let (first, last) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
        [STANDARD_NO_PAD.encode(&bytes)[first..last].to_owned(), URL_SAFE_NO_PAD.encode(&bytes)[first..last].to_owned()]
    }));
    all
}

/// Percent-encoded as in a form or an address, with digits in either case.
fn percent(secret: &str, upper: bool) -> String {
    let mut out = String::new();
    for byte in secret.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        // Writing to a string cannot fail.
        let _ = match (plain, upper) {
            (true, _) => write!(out, "{}", byte as char),
            (false, true) => write!(out, "%{byte:02X}"),
            (false, false) => write!(out, "%{byte:02x}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let secret = "pa/ss\"w ö+rd";
        let own = Own::new([secret.to_owned(), "short".to_owned()]);
        let standard = base64::engine::general_purpose::STANDARD;
        for spelt in [
            secret.to_owned(),
            r#"pa/ss\"w ö+rd"#.to_owned(),
            r#"pa\/ss\"w ö+rd"#.to_owned(),
            r#"pa/ss\\\"w ö+rd"#.to_owned(),
            "pa%2Fss%22w%20%C3%B6%2Brd".to_owned(),
            "pa%2fss%22w%20%c3%b6%2brd".to_owned(),
        ] {
            let text = format!("<<{spelt}>>");
            let spans = own.spans(&text);
            assert_eq!(spans.len(), 1, "{text}");
            assert_eq!(&text[spans[0].start..spans[0].end], spelt);
        }
        for user in ["", "u", "us", "use"] {
            for text in
                [standard.encode(format!("{user}{secret}!")), URL_SAFE_NO_PAD.encode(format!("{user}{secret}!"))]
            {
                assert_eq!(own.spans(&text).len(), 1, "{text}");
            }
        }
        assert!(own.is(secret) && !own.is(&format!("{secret}!")) && !own.is("pa/ss"));
        assert!(own.spans("short pa/ss").is_empty());
        assert!(Own::new([]).spans("anything").is_empty());
    }
}
