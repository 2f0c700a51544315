//! How far a run of like characters goes. What was read is remembered, so that asking again for every place in a long run
//! costs no second reading.

/// A set of bytes, all of them ASCII: a run ends on a boundary of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `A-Z a-z 0-9`
    Alnum,
    /// `A-Z 0-9`
    Upper,
    /// `a-z 0-9`
    Lower,
    /// `A-Z a-z 0-9 _`
    Word,
    /// `A-Z a-z 0-9 _ -`, the alphabet of base64 for addresses
    Url,
    /// `A-Z a-z 0-9 _ - .`
    Dotted,
    /// `A-Z a-z 0-9 _ - /`
    Path,
    /// `A-Z a-z 0-9 + / = % _ -`: base64 of either alphabet, also percent-encoded
    Percent,
    /// `A-Z a-z 0-9 . _ ~ + / = -`, what RFC 6750 lets a bearer token have
    Bearer,
}

/// How many classes there are.
const CLASSES: usize = 9;

impl Class {
    /// Whether `byte` is one of them.
    pub(super) fn has(self, byte: u8) -> bool {
        let more: &[u8] = match self {
            Self::Upper => return byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Lower => return byte.is_ascii_lowercase() || byte.is_ascii_digit(),
            Self::Alnum => b"",
            Self::Word => b"_",
            Self::Url => b"_-",
            Self::Dotted => b"_-.",
            Self::Path => b"_-/",
            Self::Percent => b"+/=%_-",
            Self::Bearer => b"._~+/=-",
        };
        byte.is_ascii_alphanumeric() || more.contains(&byte)
    }
}

/// The runs of one text.
pub(super) struct Runs<'t> {
    bytes: &'t [u8],
    known: [(usize, usize); CLASSES],
}

impl<'t> Runs<'t> {
    pub(super) fn new(bytes: &'t [u8]) -> Self {
        Self { bytes, known: [(0, 0); CLASSES] }
    }

    /// Where the run of `class` that is at `from` ends.
    pub(super) fn end(&mut self, class: Class, from: usize) -> usize {
        let (start, end) = self.known[class as usize];
        if start <= from && from < end {
            return end;
        }
        let length = self.bytes[from..].iter().take_while(|byte| class.has(**byte)).count();
        self.known[class as usize] = (from, from + length);
        from + length
    }
}

/// Whether a word may begin at `at`: no letter or digit stands before it, unless that is the second half of an escape
/// such as `\n`.
pub(super) fn begins(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| bytes[at]);
    match before(1) {
        Some(byte) if byte.is_ascii_alphanumeric() || byte == b'_' => {
            matches!(byte, b'n' | b'r' | b't') && before(2) == Some(b'\\')
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_where_another_character_stands() {
        let mut runs = Runs::new(b"ab-c d");
        assert_eq!(runs.end(Class::Alnum, 0), 2);
        assert_eq!(runs.end(Class::Url, 0), 4);
        assert_eq!(runs.end(Class::Url, 2), 4);
        assert_eq!(runs.end(Class::Url, 4), 4);
        assert_eq!(runs.end(Class::Bearer, 6), 6);
    }

    #[test]
    fn an_escape_is_no_part_of_the_word_behind_it() {
        assert!(begins(b"x", 0) && begins(b" x", 1) && begins(br"\nx", 2));
        assert!(!begins(b"nx", 1) && !begins(br"\ax", 2) && !begins(b"_x", 1));
    }
}
