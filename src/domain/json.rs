//! A JSON value as the text it came in.
//!
//! A task and a brain's reply must reach the other side unchanged: 2^70, `1e-7`, key order, escapes. No
//! parsed form keeps all of that, so the text itself is carried, and cloned by counting references.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The deepest nesting of arrays and objects that is taken; the same bound as `serde_json`'s own for parsed values.
/// Deeper values would make a brain or a reader of the record run out of stack.
pub const MAX_DEPTH: usize = 128;

/// One valid JSON value without white space between its tokens, hence always one line.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

/// Why a text is no JSON value that we take.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text breaks the grammar of RFC 8259.
    #[error("not valid JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    /// Arrays and objects are nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
}

impl Json {
    /// Checks `text` and drops the white space between its tokens.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let raw = serde_json::from_str::<&RawValue>(text).map_err(JsonError::Syntax)?;
        let compact = match compact(raw.get())? {
            Cow::Borrowed(_) => raw.to_owned(),
            Cow::Owned(text) => RawValue::from_string(text).map_err(JsonError::Syntax)?,
        };
        Ok(Self(compact.into()))
    }

    /// Takes back what was written by this program, without a bound on its depth: a value that was just deep enough to
    /// be taken stands inside others by then.
    pub fn reread(text: &str) -> Result<Self, JsonError> {
        Ok(Self(RawValue::from_string(text.to_owned()).map_err(JsonError::Syntax)?.into()))
    }

    /// The JSON form of one of our own types.
    #[expect(clippy::expect_used, reason = "our types have string keys and no failing serializer")]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(serde_json::value::to_raw_value(value).expect("own types serialize").into())
    }

    /// The value `{}`.
    pub fn empty_object() -> Self {
        Self::of(&serde_json::Map::new())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether this is an object.
    pub fn is_object(&self) -> bool {
        self.as_str().starts_with('{')
    }
}

impl PartialEq for Json {
    /// Equal text; numbers and escapes that are written differently differ.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl Hash for Json {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Valid JSON without the white space outside strings, copied only where there is some; also measures how deep it is.
fn compact(text: &str) -> Result<Cow<'_, str>, JsonError> {
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0, false, false);
    let mut kept_to = 0;
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            (escaped, in_string) = (byte == b'\\' && !escaped, byte != b'"' || escaped);
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b' ' | b'\n' | b'\r' | b'\t' => {
                out.push_str(&text[kept_to..at]);
                kept_to = at + 1;
            }
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(JsonError::Depth);
        }
    }
    if kept_to == 0 {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(&text[kept_to..]);
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_white_space_between_tokens_goes() {
        let text =
            " { \"a b\" : [ 1e-7 , 1180591620717411303424, \" \\\" \\\\\" ] ,\r\n\t\"\\u2028\u{2028}\" : null } ";
        let json = Json::parse(text).unwrap();
        assert_eq!(json.as_str(), "{\"a b\":[1e-7,1180591620717411303424,\" \\\" \\\\\"],\"\\u2028\u{2028}\":null}");
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(&deep(MAX_DEPTH)).is_ok());
        assert!(matches!(Json::parse(&deep(MAX_DEPTH + 1)), Err(JsonError::Depth)));
        assert!(matches!(Json::parse(&deep(500_000)), Err(JsonError::Depth)));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", " ", "{", "{'a':1}", "[1,]", "01", "NaN", "\"\n\"", "{} {}", "\u{feff}{}"] {
            assert!(matches!(Json::parse(text), Err(JsonError::Syntax(_))), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn compacting_keeps_the_value(strings in prop::collection::vec(any::<String>(), 0..8)) {
            let pretty = serde_json::to_string_pretty(&strings).unwrap();
            let json = Json::parse(&pretty).unwrap();
            prop_assert_eq!(json.as_str(), serde_json::to_string(&strings).unwrap());
        }
    }
}
