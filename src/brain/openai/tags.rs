//! Tool calls as Qwen3-Coder writes them, where the server does not know the form:
//!
//! ```text
//!  <tool_call>            may be missing
//!  <function=edit_file>
//!  <parameter=file_path>
//!  a.txt
//!  </parameter>
//!  </function>
//!  </tool_call>
//! ```
//!
//! Values are text as it is, without any escapes; what is no string by the tool's schema is JSON.

use super::arguments::Malformed;
use crate::brain::fields::{object, quoted};
use crate::domain::Json;

/// How a call begins.
pub(super) const CALL: &str = "<function=";

const CALL_END: &str = "</function>";
const VALUE: &str = "<parameter=";
const VALUE_END: &str = "</parameter>";

/// No tool's name is longer: servers take none.
const LONGEST_NAME: usize = 64;

/// A call whose values are all text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tagged {
    pub(super) name: String,
    pub(super) arguments: Result<Json, Malformed>,
}

/// The call at the beginning of `text`, and what stands behind it. What merely speaks of the mark is none.
pub(super) fn read(text: &str) -> Option<(Tagged, &str)> {
    let inside = text.strip_prefix(CALL)?;
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let length = inside.find(|c| !is_legal(c)).filter(|length| (1..=LONGEST_NAME).contains(length))?;
    let (name, behind) = inside.split_at(length);
    let mut rest = behind.strip_prefix('>')?.trim_start();
    if !goes_on(rest) {
        return None;
    }
    let mut members = Vec::new();
    while let Some(inside) = rest.strip_prefix(VALUE) {
        let Some((key, (value, behind))) = inside.split_once('>').and_then(|(key, rest)| Some((key, value(rest)?)))
        else {
            break;
        };
        members.push((key.trim(), quoted(value)));
        rest = behind.trim_start();
    }
    let arguments = object(members.iter().map(|(key, value)| (*key, value.as_str())));
    let malformed = |why: String| Err(Malformed { text: text.to_owned(), why });
    // Without its end a call may lack a part of itself: it is not guessed at.
    let (arguments, rest) = match rest.strip_prefix(CALL_END) {
        Some(behind) => {
            (Json::parse(&arguments).or_else(|error| malformed(format!("the arguments are {error}"))), behind)
        }
        None => (
            malformed(format!(
                "the call has no end, or something stands between its arguments: it must be {CALL}{name}>{VALUE}KEY>VALUE{VALUE_END}{CALL_END}"
            )),
            "",
        ),
    };
    Some((Tagged { name: name.to_owned(), arguments }, rest))
}

/// The value at the beginning of `text`, and what stands behind it. It may speak of its own end: only an end counts behind
/// which the call goes on.
fn value(text: &str) -> Option<(&str, &str)> {
    let mut ends = text.match_indices(VALUE_END).map(|(at, _)| (&text[..at], &text[at + VALUE_END.len()..]));
    let (value, behind) = ends.find(|(_, behind)| goes_on(behind.trim_start()))?;
    // The line feeds belong to the form.
    let value = value.strip_prefix('\n').unwrap_or(value);
    Some((value.strip_suffix('\n').unwrap_or(value), behind))
}

fn goes_on(text: &str) -> bool {
    text.starts_with(VALUE) || text.starts_with(CALL_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_as_it_stands_there() {
        for (text, arguments, behind) in [
            ("<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\nx", r#"{"a":"1"}"#, "\nx"),
            ("<function=f></function>", "{}", ""),
            ("<function=f><parameter=a>x</parameter><parameter=b></parameter></function>", r#"{"a":"x","b":""}"#, ""),
            ("<function=f><parameter=a>\n\n \"q\\\n\n</parameter></function>", r#"{"a":"\n \"q\\\n"}"#, ""),
            (
                "<function=f><parameter=a>the </parameter> and </function> marks</parameter></function>",
                r#"{"a":"the </parameter> and </function> marks"}"#,
                "",
            ),
        ] {
            let (call, rest) = read(text).unwrap();
            assert_eq!((call.name.as_str(), rest), ("f", behind), "{text}");
            assert_eq!(call.arguments.unwrap().as_str(), arguments, "{text}");
        }
    }

    #[test]
    fn a_call_without_its_end_is_not_guessed_at_and_words_are_no_call() {
        for text in [
            "<function=f><parameter=a>rm -r b",
            "<function=f><parameter=a>x</parameter>",
            "<function=f><parameter=a>x</parameter> and </function>",
            "<function=f><parameter=a",
        ] {
            let (call, rest) = read(text).unwrap();
            assert!(call.arguments.is_err(), "{text}");
            assert!(rest.is_empty(), "{text}");
        }
        let long = format!("<function={}></function>", "n".repeat(65));
        for text in ["<function=f> is the mark", "<function=>", "<function=a b></function>", "<function=f", &long] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
