//! Arguments, checked strictly: what is unknown, missing or of another type is named.

use serde::de::DeserializeOwned;

use crate::domain::Json;

/// Reads a tool's arguments; the error is a sentence for the brain.
pub(super) fn parse<A: DeserializeOwned>(arguments: &Json) -> Result<A, String> {
    // serde would take a list for a struct, by position.
    if !arguments.is_object() {
        return Err("bad arguments: they must be a JSON object".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_str(arguments.as_str());
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, text) = (error.path().to_string(), error.inner().to_string());
        // The position in a text that the brain never saw as such helps nobody.
        let what = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]);
        if path == "." { format!("bad arguments: {what}") } else { format!("bad argument {path}: {what}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arguments {
        #[expect(dead_code, reason = "only the error is looked at")]
        file_path: String,
        #[expect(dead_code, reason = "only the error is looked at")]
        start: Option<u64>,
    }

    #[test]
    fn an_error_names_the_argument() {
        let error = |text| parse::<Arguments>(&Json::parse(text).unwrap()).unwrap_err();
        assert_eq!(error("[\"a\"]"), "bad arguments: they must be a JSON object");
        assert_eq!(error("{}"), "bad arguments: missing field `file_path`");
        assert!(error(r#"{"file_path":"a","shell":true}"#).contains("unknown field `shell`"));
        assert_eq!(error(r#"{"file_path":7}"#), "bad argument file_path: invalid type: integer `7`, expected a string");
        assert!(
            error(r#"{"file_path":"a","start":-1}"#).starts_with("bad argument start: invalid value: integer `-1`")
        );
    }
}
