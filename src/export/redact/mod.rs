//! Secrets are taken out of what is exported.
//!
//! ```text
//!   json ──► strings, decoded ──┐
//!                               ├──► scan ──► shapes · odd · pem · url · header · named · own ──► spans ──► splice
//!   text ───────────────────────┘
//! ```
//!
//! One automaton goes over a text once and finds where a secret may stand: the prefix of a token, a word such as
//! `password`, `://`. At each such place one small reader looks at what is there. A reader only says which bytes have to
//! go (a span); nobody builds text until all spans are known. So a string within JSON within JSON is mended in place,
//! and every byte outside a span stays as it was.
//!
//! The time is linear in the text: a reader looks a bounded way back, and what it reads forward it does not read again.
//!
//! Deliberately absent: a judgement of bare strings by their entropy. Hashes, ids and base64 of data are what results are
//! full of; one goes only if its shape or its name says that it is a secret. Nor are lists under a secret name, and what
//! stands in a part of a file where neither a name nor a frame is to be seen (the middle of a PEM block).

mod escapes;
mod found;
mod header;
mod json;
mod named;
mod odd;
mod own;
mod pem;
mod rules;
mod runs;
mod scan;
mod shapes;
mod span;
mod url;

use std::borrow::Cow;

pub use found::Found;
pub use rules::{RULES, Rule};

/// Takes secrets out of texts; built once, shared by threads.
pub struct Redactor {
    scan: scan::Scan,
    own: own::Own,
}

impl Redactor {
    /// `own` are the exact values of this process's own secrets; what is shorter than six bytes is left alone.
    pub fn new(own: impl IntoIterator<Item = String>) -> Self {
        Self { scan: scan::Scan::new(), own: own::Own::new(own) }
    }

    /// A plain text with `[REDACTED:rule]` in the place of each secret.
    pub fn text<'a>(&self, text: &'a str, found: &mut Found) -> Cow<'a, str> {
        span::splice(text, span::settled(text, |text| self.spans(text)), found)
    }

    /// A JSON text, with the strings in it redacted as texts, and a number that is a secret made a string. What is valid JSON stays valid JSON, at every depth of JSON in
    /// strings of JSON, and every byte outside a secret stays as it was.
    pub fn json<'a>(&self, json: &'a str, found: &mut Found) -> Cow<'a, str> {
        span::splice(json, span::settled(json, |json| json::spans(self, json, 0)), found)
    }

    /// What has to go from a plain text: sorted, apart from each other.
    fn spans(&self, text: &str) -> Vec<span::Span> {
        let mut spans = self.own.spans(text);
        self.scan.spans(text, &mut spans);
        span::merged(spans)
    }
}

#[cfg(test)]
mod tests;
