//! Messages in the two dialects that trainers read, and the rows made of them.
//!
//! | | `openai` | `hf` |
//! | --- | --- | --- |
//! | `function.arguments` | a string that holds JSON | an object: chat templates go through it |
//! | `content` beside a call | left out where there is none | `""`: templates ask for it |
//! | a result's `name` | none | the tool's: some templates show it |

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::chat::{Call, Message};
use crate::domain::Json;

/// How arguments and contents are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    HuggingFace,
}

/// The tools in a row: `[{"type":"function","function":{…}}, …]`.
pub(super) fn tools(schemas: &Json) -> Json {
    #[derive(Serialize)]
    struct Tool<'a> {
        r#type: &'static str,
        function: &'a serde_json::value::RawValue,
    }
    let schemas: Vec<&serde_json::value::RawValue> = serde_json::from_str(schemas.as_str()).unwrap_or_default();
    let tools: Vec<_> = schemas.into_iter().map(|function| Tool { r#type: "function", function }).collect();
    Json::of(&tools)
}

/// An example: what is said up to `learnt`, the first message that the model is to learn; those before it are context.
pub(super) fn example(dialect: Dialect, messages: &[Message], learnt: usize, tools: &Json) -> String {
    #[derive(Serialize)]
    struct Row<'a> {
        messages: Said<'a>,
        tools: &'a Json,
        #[serde(skip_serializing_if = "Option::is_none")]
        parallel_tool_calls: Option<bool>,
    }
    text(&Row { messages: Said { dialect, messages, learnt }, tools, parallel_tool_calls: one_call_at_a_time(dialect) })
}

/// A turn as Hugging Face's trainers take it: what was said, and what the model is to say.
pub(super) fn completion(said: &[Message], learnt: &Message, tools: &Json) -> String {
    #[derive(Serialize)]
    struct Row<'a> {
        prompt: Said<'a>,
        completion: Said<'a>,
        tools: &'a Json,
    }
    let all = |messages| Said { dialect: Dialect::HuggingFace, messages, learnt: 0 };
    text(&Row { prompt: all(said), completion: all(std::slice::from_ref(learnt)), tools })
}

/// A preference: what was said, what is better to say next, and what is worse.
pub(super) fn preference(
    dialect: Dialect,
    said: &[Message],
    better: &Message,
    worse: &Message,
    tools: &Json,
) -> String {
    #[derive(Serialize)]
    struct Input<'a> {
        messages: Said<'a>,
        tools: &'a Json,
        parallel_tool_calls: bool,
    }
    #[derive(Serialize)]
    struct OpenAi<'a> {
        input: Input<'a>,
        preferred_output: Said<'a>,
        non_preferred_output: Said<'a>,
    }
    #[derive(Serialize)]
    struct HuggingFace<'a> {
        prompt: Said<'a>,
        chosen: Said<'a>,
        rejected: Said<'a>,
        tools: &'a Json,
    }
    let all = |messages| Said { dialect, messages, learnt: 0 };
    let (prompt, better, worse) = (all(said), all(std::slice::from_ref(better)), all(std::slice::from_ref(worse)));
    match dialect {
        Dialect::OpenAi => text(&OpenAi {
            input: Input { messages: prompt, tools, parallel_tool_calls: false },
            preferred_output: better,
            non_preferred_output: worse,
        }),
        Dialect::HuggingFace => text(&HuggingFace { prompt, chosen: better, rejected: worse, tools }),
    }
}

/// The loop calls one tool at a time, and OpenAI's format can say so.
fn one_call_at_a_time(dialect: Dialect) -> Option<bool> {
    (dialect == Dialect::OpenAi).then_some(false)
}

fn text(row: &impl Serialize) -> String {
    let mut text = Json::of(row).to_string();
    text.push('\n');
    text
}

/// Messages as a list in a dialect.
struct Said<'a> {
    dialect: Dialect,
    messages: &'a [Message],
    learnt: usize,
}

impl Serialize for Said<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.messages.len()))?;
        for (at, message) in self.messages.iter().enumerate() {
            let context = at < self.learnt && message.is_the_models();
            list.serialize_element(&One { dialect: self.dialect, message, context })?;
        }
        list.end()
    }
}

struct One<'a> {
    dialect: Dialect,
    message: &'a Message,
    /// The model wrote it, and is not to learn it from this row.
    context: bool,
}

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.message {
            Message::System(text) => plain(&mut map, "system", text)?,
            Message::User(text) => plain(&mut map, "user", text)?,
            Message::Answer(text) => plain(&mut map, "assistant", text)?,
            Message::Call(call) => {
                map.serialize_entry("role", "assistant")?;
                let silent = (self.dialect == Dialect::HuggingFace).then_some("");
                if let Some(said) = call.said.as_deref().or(silent) {
                    map.serialize_entry("content", said)?;
                }
                map.serialize_entry("tool_calls", &[Called { dialect: self.dialect, call }])?;
            }
            Message::Result { id, name, content } => {
                map.serialize_entry("role", "tool")?;
                map.serialize_entry("tool_call_id", id)?;
                if self.dialect == Dialect::HuggingFace {
                    map.serialize_entry("name", name)?;
                }
                map.serialize_entry("content", content)?;
            }
        }
        if self.context && self.dialect == Dialect::OpenAi {
            map.serialize_entry("weight", &0)?;
        }
        map.end()
    }
}

fn plain<M: SerializeMap>(map: &mut M, role: &str, text: &str) -> Result<(), M::Error> {
    map.serialize_entry("role", role)?;
    map.serialize_entry("content", text)
}

struct Called<'a> {
    dialect: Dialect,
    call: &'a Call,
}

impl Serialize for Called<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Function<'a, A> {
            name: &'a str,
            arguments: A,
        }
        let Call { id, name, arguments, .. } = self.call;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("type", "function")?;
        match self.dialect {
            Dialect::OpenAi => map.serialize_entry("function", &Function { name, arguments: arguments.as_str() })?,
            Dialect::HuggingFace => map.serialize_entry("function", &Function { name, arguments })?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        let json = |text: &str| Json::parse(text).unwrap();
        let (id, name) = ("call00000".to_owned(), "read_file".to_owned());
        let arguments = json(r#"{"file_path":"é\n","end":1e2}"#);
        vec![
            Message::User("do".into()),
            Message::Call(Call { id: id.clone(), said: None, name: name.clone(), arguments }),
            Message::Result { id, name, content: r#"{"status":"success"}"#.into() },
            Message::Answer("done".into()),
        ]
    }

    fn the_tools() -> Json {
        tools(&Json::parse(r#"[{"name":"read_file"}]"#).unwrap())
    }

    #[test]
    fn openai_has_arguments_as_a_string() {
        assert_eq!(
            example(Dialect::OpenAi, &messages(), 0, &the_tools()),
            concat!(
                r#"{"messages":[{"role":"user","content":"do"},{"role":"assistant","tool_calls":[{"id":"call00000","#,
                r#""type":"function","function":{"name":"read_file","arguments":"{\"file_path\":\"é\\n\",\"end\":1e2}"}}]},"#,
                r#"{"role":"tool","tool_call_id":"call00000","content":"{\"status\":\"success\"}"},"#,
                r#"{"role":"assistant","content":"done"}],"tools":[{"type":"function","function":{"name":"read_file"}}],"#,
                r#""parallel_tool_calls":false}"#,
                "\n"
            )
        );
    }

    #[test]
    fn hugging_face_has_them_as_the_object_they_are() {
        let row = example(Dialect::HuggingFace, &messages(), 0, &the_tools());
        assert!(row.contains(r#""function":{"name":"read_file","arguments":{"file_path":"é\n","end":1e2}}"#), "{row}");
        assert!(row.contains(r#"{"role":"assistant","content":"","tool_calls""#), "{row}");
        assert!(row.contains(r#"{"role":"tool","tool_call_id":"call00000","name":"read_file","content""#), "{row}");
    }

    #[test]
    fn what_is_context_has_no_weight() {
        let row = example(Dialect::OpenAi, &messages(), 3, &the_tools());
        assert_eq!(row.matches(r#""weight":0"#).count(), 1, "{row}");
        assert!(row.contains(r#"{"role":"assistant","content":"done"}"#), "{row}");
        assert!(!example(Dialect::HuggingFace, &messages(), 3, &the_tools()).contains("weight"));
    }

    #[test]
    fn a_preference_has_what_was_said_and_two_ways_on() {
        let all = messages();
        let row = preference(Dialect::HuggingFace, &all[..1], &all[1], &all[3], &the_tools());
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        assert_eq!(row["prompt"][0]["content"], "do");
        assert_eq!(row["chosen"][0]["tool_calls"][0]["function"]["arguments"]["end"], 100.0);
        assert_eq!(row["rejected"][0]["content"], "done");
        let row = preference(Dialect::OpenAi, &all[..1], &all[1], &all[3], &the_tools());
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        assert_eq!(row["input"]["messages"][0]["role"], "user");
        assert!(row["preferred_output"][0]["tool_calls"][0]["function"]["arguments"].is_string());
        assert_eq!(row["non_preferred_output"][0]["content"], "done");
    }
}
