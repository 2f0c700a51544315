//! The fields of a posted object: the known ones read, and all that is wrong with them told at once.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Members;

/// One field at fault: where it is (RFC 6901) and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// A JSON Pointer into the body, or the name of a query parameter or header.
    pub pointer: String,
    /// One sentence.
    pub detail: String,
}

impl FieldError {
    /// An error about the field at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Reads one known option after the other and collects what is wrong.
pub(super) struct Reader<'a> {
    pub(super) fields: Vec<(String, &'a RawValue)>,
    pub(super) errors: Vec<FieldError>,
}

impl<'a> Reader<'a> {
    /// The members of the object `text`, which is `what`.
    pub(super) fn new(text: &'a str, what: &str) -> Result<Self, Vec<FieldError>> {
        if !text.starts_with('{') {
            return Err(vec![FieldError::new("", format!("{what} is a JSON object"))]);
        }
        let Members(fields) = serde_json::from_str(text)
            .map_err(|error| vec![FieldError::new("", format!("not a readable object: {error}"))])?;
        Ok(Self { fields, errors: Vec::new() })
    }

    /// Whether nothing is at fault.
    pub(super) fn done(mut self) -> Result<(), Vec<FieldError>> {
        // A field that is given twice is looked at more than once.
        self.errors.dedup();
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }

    pub(super) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(format!("/{name}"), detail));
    }

    pub(super) fn ok<T>(&mut self, name: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|detail| self.fault(name, detail)).ok()
    }

    /// The field's text; `null` counts as not given. Given twice, it is a fault: readers would differ on which one counts.
    pub(super) fn given(&mut self, name: &str) -> Option<&'a str> {
        let mut found = self.fields.iter().filter(|(key, _)| key == name).map(|(_, raw)| raw.get());
        let (first, second) = (found.next(), found.next());
        if second.is_some() {
            self.fault(name, "is given more than once");
        }
        first.filter(|text| *text != "null")
    }

    pub(super) fn read<T: DeserializeOwned>(&mut self, name: &str, what: &str) -> Option<T> {
        let text = self.given(name)?;
        self.ok(name, serde_json::from_str(text).map_err(|_| format!("must be {what}")))
    }

    /// A text that says something.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let text: String = self.read(name, "a string")?;
        self.ok(name, if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) })
    }
}

/// A name as it stands in a JSON Pointer (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
