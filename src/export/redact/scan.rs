//! The one pass over a text: an automaton finds the places, a reader looks at each.

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::pem::Pem;
use super::runs::Runs;
use super::shapes::{SHAPES, Shape};
use super::span::Span;
use super::{header, named, odd, url};

/// What a place may hold.
#[derive(Debug, Clone, Copy)]
enum Sign {
    Shape(Shape),
    Jwt,
    Telegram,
    Discord,
    Mailchimp,
    Pem,
    Putty,
    Url,
    Bearer,
    Basic,
    /// A part of a name that may be secret-like.
    Named,
}

/// The signs that are no prefix of a token.
const SIGNS: &[(&str, Sign)] = &[
    ("eyJ", Sign::Jwt),
    (":", Sign::Telegram),
    (".", Sign::Discord),
    ("-us", Sign::Mailchimp),
    ("PRIVATE KEY", Sign::Pem),
    ("PuTTY-User-Key-File-", Sign::Putty),
    ("://", Sign::Url),
    ("bearer ", Sign::Bearer),
    ("basic ", Sign::Basic),
];

/// The automaton, with what each of its patterns is a sign of.
pub(super) struct Scan {
    automaton: AhoCorasick,
    signs: Vec<Sign>,
}

impl Scan {
    #[expect(clippy::expect_used, reason = "the patterns are constants, a few hundred short ones")]
    pub(super) fn new() -> Self {
        let shapes = SHAPES.iter().map(|shape| (shape.prefix, Sign::Shape(*shape)));
        let names = named::STEMS.iter().map(|stem| (*stem, Sign::Named));
        let (patterns, signs): (Vec<_>, Vec<_>) = shapes.chain(SIGNS.iter().copied()).chain(names).unzip();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA)) // a megabyte of memory for twice the speed
            .build(patterns)
            .expect("the patterns make an automaton");
        Self { automaton, signs }
    }

    /// Adds what the readers find in `text`, in no order.
    pub(super) fn spans(&self, text: &str, out: &mut Vec<Span>) {
        let bytes = text.as_bytes();
        let (mut runs, mut pem, mut names) = (Runs::new(bytes), Pem::default(), named::Names::default());
        let mut beside = 0;
        for hit in self.automaton.find_overlapping_iter(text) {
            let (start, end) = (hit.start(), hit.end());
            let sign = &self.signs[hit.pattern().as_usize()];
            let span = match sign {
                Sign::Shape(shape) => shape.read(bytes, start, &mut runs),
                Sign::Jwt => odd::jwt(bytes, start, &mut runs),
                Sign::Telegram => odd::telegram(bytes, start, &mut runs),
                Sign::Discord => odd::discord(bytes, start, &mut runs),
                Sign::Mailchimp => odd::mailchimp(bytes, start),
                Sign::Pem => pem.seen(bytes, start, end, out),
                Sign::Putty => Pem::putty(text, start),
                Sign::Url => url::password(bytes, start),
                Sign::Bearer => header::bearer(bytes, end, &mut runs),
                Sign::Basic => header::basic(bytes, end, &mut runs),
                Sign::Named => names.value(text, start, end),
            };
            let Some(span) = span else { continue };
            // In a long run of capitals each place may begin an id: what stands beside them is looked at once.
            if let Sign::Shape(shape) = sign
                && span.end > beside
            {
                beside = span.end;
                odd::beside(shape, bytes, span, out);
            }
            out.push(span);
        }
        pem.ended(bytes, out);
    }
}
