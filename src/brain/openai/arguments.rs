//! The arguments of a tool call, in whatever form they come.
//!
//! They should be a string with the text of an object. Real servers also send the object itself, nothing, a string within a
//! string, or a string in a Markdown fence.

use std::fmt::Write;

use super::message::quote;
use crate::brain::fields::{Fields, object, string};
use crate::domain::Json;

/// How often a string may stand in a string.
const ENCODED: usize = 3;

/// So much of the text is quoted around the place that is wrong.
const QUOTED: usize = 60;

/// Arguments that are no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// What the model wrote.
    pub(super) text: String,
    /// What is wrong with it, and where.
    pub(super) why: String,
}

/// Reads arguments given as JSON text: a string, an object, or nothing.
pub(super) fn read(raw: Option<&str>) -> Result<Json, Malformed> {
    let raw = raw.unwrap_or("{}");
    match string(raw) {
        Some(text) => read_text(&text),
        None => read_value(raw, raw),
    }
}

/// Reads arguments as the model wrote them.
pub(super) fn read_text(text: &str) -> Result<Json, Malformed> {
    let mut inner = unfenced(text).to_owned();
    for _ in 0..ENCODED {
        match string(&inner) {
            Some(encoded) => unfenced(&encoded).clone_into(&mut inner),
            None => break,
        }
    }
    if inner.is_empty() || inner == "null" {
        return Ok(Json::empty_object());
    }
    read_value(&inner, text)
}

fn read_value(inner: &str, text: &str) -> Result<Json, Malformed> {
    let malformed = |why| Err(Malformed { text: text.to_owned(), why });
    match Json::parse(inner).or_else(|error| Json::parse(&with_escapes(inner)).map_err(|_| error)) {
        Ok(json) if json.is_object() => Ok(json),
        Ok(json) => malformed(format!("the arguments must be a JSON object and are {}", quote(json.as_str(), QUOTED))),
        Err(error) => {
            let place = serde_json::from_str::<serde::de::IgnoredAny>(inner).err().map(|error| near(inner, &error));
            malformed(format!("the arguments are {error}{}", place.unwrap_or_default()))
        }
    }
}

/// Line feeds and other control characters in strings, written as JSON wants them. Models that no grammar holds to it put
/// the lines of a file into a string as they are; there is one way to read that.
pub(super) fn with_escapes(text: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(text.len()), false, false);
    for c in text.chars() {
        // Behind a backslash it is no escape that there is: then the text stays wrong.
        if in_string && !escaped && c < ' ' {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        (escaped, in_string) = (in_string && c == '\\' && !escaped, in_string != (c == '"' && !escaped));
    }
    out
}

/// The text around the place of an error.
fn near(text: &str, error: &serde_json::Error) -> String {
    let Some(line) = text.split('\n').nth(error.line().saturating_sub(1)) else { return String::new() };
    // The column counts bytes, and may lie within a character.
    let mut at = error.column().saturating_sub(1).min(line.len());
    while !line.is_char_boundary(at) {
        at -= 1;
    }
    let before: Vec<char> = line[..at].chars().rev().take(QUOTED / 2).collect();
    let around: String = before.into_iter().rev().chain(line[at..].chars().take(QUOTED / 2)).collect();
    format!(", near {}", quote(&around, QUOTED))
}

/// Without the Markdown fence around it, and without the white space.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("```") else { return text };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    rest.strip_suffix("```").unwrap_or(rest).trim()
}

/// Without the optional arguments that are null: a model that is held to a schema has no other way to leave them out. All
/// other text stays as it is.
pub(super) fn without_nulls(arguments: &Json, optional: &[String]) -> Json {
    let Some(fields) = Fields::of(arguments.as_str()) else { return arguments.clone() };
    let is_left_out = |name: &str, value: &str| value == "null" && optional.iter().any(|known| known == name);
    if !fields.0.iter().any(|(name, raw)| is_left_out(name, raw.get())) {
        return arguments.clone();
    }
    let kept =
        fields.0.iter().map(|(name, raw)| (name.as_str(), raw.get())).filter(|(name, raw)| !is_left_out(name, raw));
    Json::parse(&object(kept)).unwrap_or_else(|_| arguments.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_every_form() {
        let exact = r#"{"z":1e-7,"a":1180591620717411303424}"#;
        for (raw, expected) in [
            (None, "{}"),
            (Some(r#""""#), "{}"),
            (Some(r#"" \n""#), "{}"),
            (Some(r#""null""#), "{}"),
            (Some(r#""{}""#), "{}"),
            (Some("{}"), "{}"),
            (Some(r#"{ "z": 1e-7, "a": 1180591620717411303424 }"#), exact),
            (Some(r#""{\"z\":1e-7,\n \"a\":1180591620717411303424}""#), exact),
            (Some(r#""\"{\\\"z\\\":1e-7,\\\"a\\\":1180591620717411303424}\"""#), exact),
            (Some(r#""```json\n{\"z\":1e-7,\"a\":1180591620717411303424}\n```""#), exact),
            (Some("\"{\\\"a b\\\":\\\"x\\n\\ty\\\"}\""), "{\"a b\":\"x\\u000a\\u0009y\"}"),
            (Some(r#""```\n{\"z\":1e-7,\"a\":1180591620717411303424}```""#), exact),
        ] {
            assert_eq!(read(raw).unwrap().as_str(), expected, "{raw:?}");
        }
    }

    #[test]
    fn what_is_no_object_is_told_with_its_place() {
        for (raw, told) in [
            (r#""{\"file_path\": \"a\",}""#, "column 19, near \"{\\\"file_path\\\": \\\"a\\\",}\""),
            (r#""{'command': 'ls'}""#, "key must be a string"),
            (r#""{\"a\":1}{\"a\":1}""#, "trailing characters"),
            (r#""{\"content\": \"cut o""#, "EOF while parsing a string"),
            (r#""ls -l""#, "not valid JSON"),
            ("[1]", "must be a JSON object and are \"[1]\""),
            ("7", "must be a JSON object and are \"7\""),
            ("\"true\"", "must be a JSON object and are \"true\""),
            ("\"{\\\"ä\\\": ä}\"", "near"),
        ] {
            let malformed = read(Some(raw)).unwrap_err();
            assert!(malformed.why.contains(told), "{raw}: {}", malformed.why);
        }
        assert_eq!(read(Some(r#""{\"a\":""#)).unwrap_err().text, "{\"a\":");
    }

    #[test]
    fn optional_nulls_go_and_everything_else_stays_as_written() {
        let optional = ["b".to_owned(), "c".to_owned()];
        let without = |text| without_nulls(&Json::parse(text).unwrap(), &optional).to_string();
        assert_eq!(without(r#"{"z":1.0,"b":null,"a":null,"c":0.10}"#), r#"{"z":1.0,"a":null,"c":0.10}"#);
        assert_eq!(without(r#"{"b":null,"c":null}"#), "{}");
        assert_eq!(without(r#"{"b":"null"}"#), r#"{"b":"null"}"#);
    }
}
