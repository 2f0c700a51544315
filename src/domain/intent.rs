//! An edit that is about to be made.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Json, JsonError};

/// What goes on record with the call of an edit before anything is changed, so that whoever finds the call cut off can
/// tell from the file whether it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// The file's SHA-256 as it was; `None` if there was no file.
    pub before: Option<String>,
    /// The file's SHA-256 as it becomes; `None` if it is removed.
    pub after: Option<String>,
    /// What the brain will be told when it is done.
    pub result: Json,
}

/// An intent on record that is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// Not an object with the three fields.
    #[error("{0}")]
    Shape(#[source] serde_json::Error),
    /// A result that is no JSON.
    #[error(transparent)]
    Value(#[from] JsonError),
}

impl Intent {
    /// As it goes on record.
    pub fn to_json(&self) -> Json {
        Json::of(self)
    }

    /// Reads it back.
    pub fn parse(text: &str) -> Result<Self, IntentError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            before: Option<String>,
            after: Option<String>,
            #[serde(borrow)]
            result: &'a RawValue,
        }
        let wire: Wire<'_> = serde_json::from_str(text).map_err(IntentError::Shape)?;
        Ok(Self { before: wire.before, after: wire.after, result: Json::reread(wire.result.get())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_reads_back_as_it_was_written() {
        for before in [None, Some("ab".to_owned())] {
            let intent = Intent { before, after: None, result: Json::parse(r#"{"n":1e-7}"#).unwrap() };
            assert_eq!(Intent::parse(intent.to_json().as_str()).unwrap(), intent);
        }
        assert!(matches!(Intent::parse("[]"), Err(IntentError::Shape(_))));
    }
}
