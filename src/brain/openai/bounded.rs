//! How much of an answer is read: noise may have hundreds of thousands of calls, or of parts.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A model is asked to do no more calls than this in one answer, each of which is an iteration: they stand in every request
/// from then on.
pub(super) const MOST_CALLS: usize = 64;

/// A content has a few parts; a gateway that makes one of every token comes to thousands.
pub(super) const MOST_PARTS: usize = 10_000;

/// Elements of an array.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct First<T> {
    pub(super) elements: Vec<T>,
    /// There are others, which were not looked at.
    pub(super) more: bool,
}

impl<T> Default for First<T> {
    fn default() -> Self {
        Self { elements: Vec::new(), more: false }
    }
}

/// The elements of the array that `text` is, as `read` takes them, `most` of them. Those that it does not take do not count.
pub(super) fn first<'a, T>(text: &'a str, most: usize, read: impl FnMut(&'a str) -> Option<T>) -> Option<First<T>> {
    struct Elements<R>(usize, R);
    impl<'de, T, R: FnMut(&'de str) -> Option<T>> Visitor<'de> for Elements<R> {
        type Value = First<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while elements.len() < self.0 {
                let Some(raw) = array.next_element::<&RawValue>()? else { return Ok(First { elements, more: false }) };
                elements.extend((self.1)(raw.get()));
            }
            let more = array.next_element::<IgnoredAny>()?.is_some();
            // An array is to be gone through to its end.
            while array.next_element::<IgnoredAny>()?.is_some() {}
            Ok(First { elements, more })
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_seq(Elements(most, read)).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn no_more_elements_are_looked_at_than_are_wanted() {
        let looked_at = Cell::new(0);
        let number = |raw: &str| {
            looked_at.set(looked_at.get() + 1);
            raw.parse::<u32>().ok()
        };
        assert_eq!(first("[1,null,2]", 3, number), Some(First { elements: vec![1, 2], more: false }));
        assert_eq!(first("[1,null,2,3]", 2, number), Some(First { elements: vec![1, 2], more: true }));
        assert_eq!(first("[1,2]", 2, number), Some(First { elements: vec![1, 2], more: false }));
        assert_eq!(looked_at.get(), 8);
        let many = format!("[{}7]", "7,".repeat(300_000));
        assert_eq!(first(&many, 4, number), Some(First { elements: vec![7; 4], more: true }));
        assert_eq!(looked_at.get(), 12);
        for odd in ["{}", "null", "7", "[1,", ""] {
            assert_eq!(first(odd, 3, number), None, "{odd}");
        }
    }
}
