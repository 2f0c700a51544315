//! The reply of a step: what the run loop acts on, and beside it what the conversation is rebuilt from.

use serde::Serialize;

use super::answer::Tokens;
use crate::brain::fields::Fields;
use crate::domain::Json;

/// A reply, as it goes on record.
#[derive(Debug, Default, Serialize)]
pub(super) struct Record<'a> {
    pub(super) event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary: Option<&'a str>,
    /// What the model said, in the reply to its first call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) assistant: Option<&'a Assistant>,
    /// Which of its calls this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Usage>,
    /// What the critic said, for each proposal that it saw.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) critique: &'a [Json],
    /// What the model was told when its answer could not be used.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) corrections: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<Context>,
}

/// A model's message with all its calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Assistant {
    pub(super) content: String,
    pub(super) tool_calls: Vec<Call>,
}

/// One of its calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// An object; a string with what the model wrote, if that is none.
    pub(super) arguments: Json,
    /// Why the call is left out, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_done: Option<String>,
}

/// Tokens, in the API's own shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<Details>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Details {
    cached_tokens: u64,
}

/// How much of the model's context the conversation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Context {
    /// The size of the last prompt, as it is measured here and as the server counted it: what a token is worth.
    pub(super) prompt_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_tokens: Option<u64>,
    /// How many bytes a prompt may have, where that had to be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<usize>,
    /// How many messages were shortened to fit.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) shortened: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl From<Tokens> for Usage {
    fn from(tokens: Tokens) -> Self {
        let prompt_tokens_details = tokens.cached.map(|cached_tokens| Details { cached_tokens });
        Self { prompt_tokens: tokens.prompt, completion_tokens: tokens.completion, prompt_tokens_details }
    }
}

impl Assistant {
    /// How many bytes of text it has.
    pub(super) fn bytes(&self) -> usize {
        self.content.len() + self.tool_calls.iter().map(|call| call.arguments.as_str().len()).sum::<usize>()
    }

    /// Reads it back.
    pub(super) fn read(text: &str) -> Option<Self> {
        let fields = Fields::of(text)?;
        let tool_calls = fields.list("tool_calls").into_iter().map(Call::read).collect::<Option<Vec<_>>>()?;
        Some(Self { content: fields.string("content").unwrap_or_default(), tool_calls })
    }
}

impl Call {
    fn read(text: &str) -> Option<Self> {
        let fields = Fields::of(text)?;
        let arguments = Json::reread(fields.get("arguments").unwrap_or("{}")).ok()?;
        Some(Self {
            id: fields.string("id")?,
            name: fields.string("name")?,
            arguments,
            not_done: fields.string("not_done"),
        })
    }

    /// Its arguments as a server takes them back.
    pub(super) fn sendable(&self) -> String {
        if self.arguments.is_object() { self.arguments.to_string() } else { "{}".to_owned() }
    }
}

impl Context {
    /// Reads it back from a reply.
    pub(super) fn read(reply: &Fields<'_>) -> Option<Self> {
        let fields = reply.object("context")?;
        let size = |name| fields.count(name).and_then(|count| usize::try_from(count).ok());
        Some(Self {
            prompt_bytes: size("prompt_bytes")?,
            prompt_tokens: fields.count("prompt_tokens"),
            room: size("room"),
            shortened: size("shortened").unwrap_or(0),
        })
    }
}
