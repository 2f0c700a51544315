//! What has to go from a JSON text: from each of its strings, and what a name beside a string or a number says of it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Redactor;
use super::escapes::{decoded, end, place};
use super::named;
use super::rules::Kind;
use super::span::{Span, merged};

/// So deep JSON is followed in strings of JSON: each level doubles the backslashes, and nobody writes more than three.
const LEVELS: usize = 6;

/// What has to go from `json`, which is valid: sorted, apart from each other.
pub(super) fn spans(redactor: &Redactor, json: &str, level: usize) -> Vec<Span> {
    let bytes = json.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    // What is open, each within the one before; the first stands around the whole text.
    let mut open = vec![Open::default()];
    while at < bytes.len() {
        let Some(here) = open.last_mut() else { break };
        match bytes[at] {
            b'{' | b'[' => {
                here.name = None;
                let object = bytes[at] == b'{';
                open.push(Open { object, is_name: object, ..Open::default() });
            }
            b'}' | b']' => drop(open.pop()),
            b',' => here.is_name = here.object,
            b':' => here.is_name = false,
            b'"' => {
                let end = end(bytes, at + 1);
                let raw = &json[at + 1..end];
                let text = decoded(raw);
                let mut found = string(redactor, &text, level);
                if here.is_name {
                    here.name = Some(text.clone());
                } else {
                    found.extend(here.string(&text));
                    found = merged(found);
                    here.variable(json, Value { start: at + 1, end, number: false }, Some(&text), &mut out);
                }
                place(raw, &text, at + 1, found, &mut out);
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|byte| in_number(**byte)).count();
                let value = Value { start: at, end: at + length, number: true };
                let token = &json[at..at + length];
                if redactor.own.is(token) {
                    out.push(Span::number(at, at + length, Kind::Own));
                } else if here.name.as_deref().is_some_and(|name| named::number(name, token)) {
                    out.push(value.whole());
                }
                here.variable(json, value, None, &mut out);
                here.name = None;
                at += length - 1;
            }
            b't' | b'f' | b'n' => here.name = None,
            _ => {}
        }
        at += 1;
    }
    merged(out)
}

/// An array or an object that is being read.
#[derive(Default)]
struct Open<'j> {
    object: bool,
    /// Whether the next string is the name of a member.
    is_name: bool,
    /// The name of the member whose value comes next; in an array, an element such as `--password`.
    name: Option<Cow<'j, str>>,
    /// Lists of variables have the name in a member of its own: `{"name": "DB_PASSWORD", "value": …}`.
    variable: Option<Cow<'j, str>>,
    /// The value of a variable that stands before its name.
    value: Option<Value>,
}

/// Where a string, without its quotes, or a number stands.
#[derive(Clone, Copy)]
struct Value {
    start: usize,
    end: usize,
    number: bool,
}

impl Value {
    fn whole(self) -> Span {
        if self.number {
            Span::number(self.start, self.end, Kind::Named)
        } else {
            Span::new(self.start, self.end, Kind::Named)
        }
    }
}

impl<'j> Open<'j> {
    /// What has to go from a string, by the name before it.
    fn string(&mut self, text: &str) -> Option<Span> {
        if self.object {
            return named::member(self.name.as_deref()?, text);
        }
        let name = self.name.take();
        let found = name.and_then(|name| named::argument(&name, text));
        self.name = (found.is_none() && named::expects(text)).then(|| text.to_owned().into());
        found
    }

    /// Takes in a member that is the name or the value of a variable, and adds what has to go once both are known. This ends
    /// the member.
    fn variable(&mut self, json: &str, value: Value, text: Option<&Cow<'j, str>>, out: &mut Vec<Span>) {
        if !self.object {
            return;
        }
        let Some(name) = self.name.take() else { return };
        if is_any(&name, &["name", "key"]) {
            self.variable = text.cloned();
        } else if is_any(&name, &["value"]) {
            self.value = Some(value);
        } else {
            return;
        }
        let (Some(name), Some(value)) = (self.variable.as_deref(), self.value) else { return };
        let raw = &json[value.start..value.end];
        if value.number {
            out.extend(named::number(name, raw).then(|| value.whole()));
        } else {
            let text = decoded(raw);
            place(raw, &text, value.start, named::member(name, &text).into_iter().collect(), out);
        }
        // Each value is looked at once, however often a name for it stands in the object.
        self.value = None;
    }
}

/// What has to go from a decoded string, which may itself be JSON.
fn string(redactor: &Redactor, text: &str, level: usize) -> Vec<Span> {
    let opens = text.trim_start_matches([' ', '\n', '\r', '\t']).starts_with(['{', '[', '"']);
    if opens && level < LEVELS && serde_json::from_str::<&RawValue>(text).is_ok() {
        spans(redactor, text, level + 1)
    } else {
        redactor.spans(text)
    }
}

fn is_any(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn in_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}
