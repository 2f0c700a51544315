//! What is said to and fro, in the form of the chat completions API.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::brain::fields::quoted;

/// One message of a conversation. A `content` is text at all times: some servers take neither null nor a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// What the model is to be. Never `developer`: most servers do not know that role.
    System(String),
    /// What a person, or this program, says.
    User(String),
    /// What the model said.
    Assistant {
        /// Its words.
        content: String,
        /// The tools it called.
        calls: Vec<Called>,
    },
    /// The answer to a call just made.
    Tool {
        /// The call's id.
        id: String,
        /// Its result.
        content: String,
    },
}

/// A call as it stands in a conversation: its arguments are always the text of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Message {
    /// How many bytes of text it has; what stands around them is little.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::System(text) | Self::User(text) => text.len(),
            Self::Tool { id, content } => id.len() + content.len(),
            Self::Assistant { content, calls } => {
                content.len()
                    + calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments.len()).sum::<usize>()
            }
        }
    }

    /// As the critic is shown it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::System(text) => format!("[system] {text}"),
            Self::User(text) => format!("[user] {text}"),
            Self::Tool { content, .. } => format!("[result] {content}"),
            Self::Assistant { content, calls } => {
                let calls = calls.iter().map(|call| format!("[call] {} {}", call.name, call.arguments));
                let words = (!content.is_empty()).then(|| format!("[agent] {content}"));
                words.into_iter().chain(calls).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::System(text) => {
                map.serialize_entry("role", "system")?;
                map.serialize_entry("content", text)?;
            }
            Self::User(text) => {
                map.serialize_entry("role", "user")?;
                map.serialize_entry("content", text)?;
            }
            Self::Assistant { content, calls } => {
                map.serialize_entry("role", "assistant")?;
                map.serialize_entry("content", content)?;
                // An empty list is refused by some.
                if !calls.is_empty() {
                    map.serialize_entry("tool_calls", calls)?;
                }
            }
            Self::Tool { id, content } => {
                map.serialize_entry("role", "tool")?;
                map.serialize_entry("tool_call_id", id)?;
                map.serialize_entry("content", content)?;
            }
        }
        map.end()
    }
}

impl Serialize for Called {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Function<'a> {
            name: &'a str,
            arguments: &'a str,
        }
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("type", "function")?;
        map.serialize_entry("function", &Function { name: &self.name, arguments: &self.arguments })?;
        map.end()
    }
}

/// The beginning and the end of a text that is too long, and how much is missing between them.
pub(super) fn shortened(text: &str, keep: usize, why: &str) -> String {
    let count = text.chars().count();
    if count <= keep {
        return text.to_owned();
    }
    let (head, tail) = (keep - keep / 2, keep / 2);
    let at = |chars: usize| text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    let (start, end) = (&text[..at(head)], &text[at(count - tail)..]);
    format!("{start}\n[… {} characters left out {why} …]\n{end}", count - keep)
}

/// A piece of text for a message, in quotes and on one line.
pub(super) fn quote(text: &str, most: usize) -> String {
    let piece: String = text.chars().take(most).collect();
    let more = if piece.len() < text.len() { "…" } else { "" };
    format!("{}{more}", quoted(&piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_form_of_the_api() {
        let json = |message: &Message| serde_json::to_string(message).unwrap();
        let call = Called { id: "c1".into(), name: "read_file".into(), arguments: "{\"a\":1e-7}".into() };
        assert_eq!(
            json(&Message::Assistant { content: String::new(), calls: vec![call] }),
            r#"{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":{"name":"read_file","arguments":"{\"a\":1e-7}"}}]}"#
        );
        assert_eq!(
            json(&Message::Assistant { content: "x".into(), calls: Vec::new() }),
            r#"{"role":"assistant","content":"x"}"#
        );
        assert_eq!(
            json(&Message::Tool { id: "c1".into(), content: "r".into() }),
            r#"{"role":"tool","tool_call_id":"c1","content":"r"}"#
        );
    }

    #[test]
    fn what_is_left_out_is_counted_in_characters() {
        assert_eq!(shortened("ääöö", 4, "x"), "ääöö");
        assert_eq!(shortened("aäbbböc", 3, "to fit"), "aä\n[… 4 characters left out to fit …]\nc");
        assert_eq!(quote("a\nb\"", 3), "\"a\\nb\"…");
    }
}
