//! JSON objects read field by field, so that one odd field does not spoil the rest.
//!
//! Whoever writes them differs in types, nulls and what is left out. Nothing here fails: what is not
//! there, or is of another type, is `None`. Values are kept as text: numbers and the order of keys are the writer's.

use std::fmt::Write;

use serde_json::value::RawValue;

use crate::domain::Members;

/// The members of an object, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The members of the object that `text` is.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(|Members(members)| Self(members))
    }

    /// A field; `null` counts as not given. Of several with one name the last counts, as most readers have it.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().rev().find(|(key, _)| key == name).map(|(_, raw)| raw.get());
        found.filter(|text| *text != "null")
    }

    pub(super) fn string(&self, name: &str) -> Option<String> {
        string(self.get(name)?)
    }

    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.get(name)?)
    }

    pub(super) fn list(&self, name: &str) -> Vec<&'a str> {
        self.get(name).and_then(list).unwrap_or_default()
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// A count, however the server writes numbers: `5`, `5.0`. What is none (negative, text) is not given.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative, and whole enough")]
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.number(name).filter(|number| *number >= 0.0).map(|number| number.round() as u64)
    }
}

/// The string that `text` is.
pub(super) fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// The elements of the array that `text` is.
pub(super) fn list(text: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An object of members that are JSON texts.
pub(super) fn object<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (name, value) in members {
        let comma = if out.len() > 1 { "," } else { "" };
        // Writing to a string does not fail.
        let _ = write!(out, "{comma}{}:{value}", quoted(name));
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_fields_are_not_given_and_the_others_stay() {
        let fields = Fields::of(r#"{"a":null,"b":7,"c":"x","d":[1,{"e":2}],"n":5.0,"c":"last"}"#).unwrap();
        assert_eq!((fields.get("a"), fields.get("z"), fields.string("b")), (None, None, None));
        assert_eq!(fields.string("c").unwrap(), "last");
        assert_eq!(fields.list("d"), ["1", r#"{"e":2}"#]);
        assert_eq!((fields.count("n"), fields.count("c")), (Some(5), None));
        assert!(Fields::of("[1]").is_none());
    }

    #[test]
    fn an_object_is_put_together_from_texts() {
        assert_eq!(object([("a\"", "1.0"), ("b", "[]")]), r#"{"a\"":1.0,"b":[]}"#);
        assert_eq!(object([]), "{}");
    }
}
