//! The protocol with the brain: the three payloads that go out and the replies that come in.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Json;

/// The models a brain is told of, when they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Models {
    /// `OPENAI_FINETUNED_MODEL_ID`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finetuned: Option<String>,
    /// `OPENAI_CRITIQUE_MODEL_ID`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critique: Option<String>,
}

/// What the brain is told, in the order of its fields on the wire.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Payload<'a> {
    /// The first payload of a task.
    Start {
        /// The object as posted.
        task: &'a Json,
        /// Left out when no model is configured.
        #[serde(skip_serializing_if = "Option::is_none")]
        models: Option<&'a Models>,
    },
    /// What a tool did.
    ToolResult {
        /// As the brain named it.
        name: &'a str,
        /// As the brain gave them; left out for an unknown tool.
        #[serde(skip_serializing_if = "Option::is_none")]
        arguments: Option<&'a Json>,
        /// `status` and what the tool adds.
        result: &'a Json,
    },
    /// The task ends without the brain having finished it.
    AgentAbort {
        /// Why.
        reason: StopReason,
    },
}

/// Why a task ends without the brain having finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// All iterations are used up.
    MaxIterations,
    /// Somebody asked for it.
    Cancelled,
    /// The task's own time limit.
    DeadlineExceeded,
}

/// What the brain wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Run a tool.
    ToolCall(ToolCall),
    /// The task is done.
    Finish {
        /// What the brain says of it.
        summary: Option<String>,
    },
    /// The brain has lost this task and wants its history.
    Resync,
    /// An event outside the protocol.
    Unknown {
        /// Its name.
        event: String,
    },
}

/// A tool the brain wants run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Which one.
    pub name: String,
    /// `{}` where the brain gave none.
    pub arguments: Json,
}

/// Tokens, as the brain counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// What went in.
    pub prompt_tokens: u64,
    /// What came out.
    pub completion_tokens: u64,
    /// Of what went in, what the model's server had in its cache, where it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
}

/// Why a JSON value is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// An array, a number, …
    #[error("the reply is not a JSON object")]
    NotAnObject,
    /// No `event`, or one that is no string.
    #[error("the reply has no \"event\" that is a string")]
    NoEvent,
    /// A `tool_call` without a `name`.
    #[error("the tool_call has no \"name\" that is a string")]
    NoName,
    /// A field given twice, or the like.
    #[error("the reply cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
}

impl Payload<'_> {
    /// The payload as it goes on the wire and on record.
    pub fn to_json(&self) -> Json {
        Json::of(self)
    }

    /// The reason, if `payload` is an `agent_abort` of ours.
    pub fn abort_reason(payload: &Json) -> Option<StopReason> {
        #[derive(Deserialize)]
        struct Abort {
            event: String,
            reason: StopReason,
        }
        let abort: Abort = serde_json::from_str(payload.as_str()).ok()?;
        (abort.event == "agent_abort").then_some(abort.reason)
    }
}

impl Reply {
    /// Reads a reply; fields it does not know are left to the record.
    pub fn parse(json: &Json) -> Result<Self, ReplyError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            event: Option<&'a RawValue>,
            #[serde(borrow)]
            name: Option<&'a RawValue>,
            #[serde(borrow, default, deserialize_with = "present")]
            arguments: Option<&'a RawValue>,
            #[serde(borrow)]
            summary: Option<&'a RawValue>,
        }
        if !json.is_object() {
            return Err(ReplyError::NotAnObject);
        }
        let wire: Wire<'_> = serde_json::from_str(json.as_str()).map_err(ReplyError::Unreadable)?;
        let event = wire.event.and_then(string).ok_or(ReplyError::NoEvent)?;
        match event.as_str() {
            "tool_call" => {
                let name = wire.name.and_then(string).ok_or(ReplyError::NoName)?;
                let arguments = wire.arguments.map_or_else(Json::empty_object, Json::of);
                Ok(Self::ToolCall(ToolCall { name, arguments }))
            }
            // A summary that is no string is kept as its JSON text rather than lost.
            "finish" => {
                let text = |raw: &RawValue| string(raw).unwrap_or_else(|| raw.get().to_owned());
                Ok(Self::Finish { summary: wire.summary.map(text) })
            }
            "resync" => Ok(Self::Resync),
            _ => Ok(Self::Unknown { event }),
        }
    }

    /// What the reply says it used. A `usage` of another shape is the brain's own affair and counts nothing.
    pub fn usage(json: &Json) -> Option<Usage> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            usage: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Counts<'a> {
            prompt_tokens: Option<f64>,
            completion_tokens: Option<f64>,
            #[serde(borrow)]
            prompt_tokens_details: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Details {
            cached_tokens: Option<f64>,
        }
        let wire: Wire<'_> = serde_json::from_str(json.as_str()).ok()?;
        let usage = wire.usage.filter(|usage| usage.get().starts_with('{'))?;
        let counts: Counts<'_> = serde_json::from_str(usage.get()).ok()?;
        // Details are an extra: of another shape, they say nothing.
        let details = counts.prompt_tokens_details.filter(|raw| raw.get().starts_with('{'));
        let details = details.and_then(|raw| serde_json::from_str::<Details>(raw.get()).ok());
        let cached_tokens = details.and_then(|details| details.cached_tokens).and_then(|tokens| count(Some(tokens)));
        let (prompt_tokens, completion_tokens) = (count(counts.prompt_tokens)?, count(counts.completion_tokens)?);
        Some(Usage { prompt_tokens, completion_tokens, cached_tokens })
    }
}

/// A count as JSON has it: `5`, `5.0`, or nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and not negative")]
fn count(number: Option<f64>) -> Option<u64> {
    let number = number.unwrap_or(0.0);
    (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// Tells `"arguments": null` (the brain gave null) from no `arguments` at all.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Reply, ReplyError> {
        Reply::parse(&Json::parse(text).unwrap())
    }

    #[test]
    fn payloads_have_the_shape_of_the_contract() {
        let json = |text| Json::parse(text).unwrap();
        let task = json(r#"{"b":1,"a":2}"#);
        let start = Payload::Start { task: &task, models: None }.to_json();
        assert_eq!(start.as_str(), r#"{"event":"start","task":{"b":1,"a":2}}"#);
        let models = Models { finetuned: Some("m".into()), critique: None };
        let start = Payload::Start { task: &task, models: Some(&models) }.to_json();
        assert_eq!(start.as_str(), r#"{"event":"start","task":{"b":1,"a":2},"models":{"finetuned":"m"}}"#);
        let abort = Payload::AgentAbort { reason: StopReason::MaxIterations }.to_json();
        assert_eq!(abort.as_str(), r#"{"event":"agent_abort","reason":"max_iterations"}"#);
        assert_eq!(Payload::abort_reason(&abort), Some(StopReason::MaxIterations));
        assert_eq!(Payload::abort_reason(&start), None);
    }

    #[test]
    fn arguments_keep_their_text_and_default_to_an_empty_object() {
        let arguments = |text| match parse(text) {
            Ok(Reply::ToolCall(call)) => call.arguments.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(arguments(r#"{"event":"tool_call","name":"x"}"#), "{}");
        assert_eq!(arguments(r#"{"event":"tool_call","name":"x","arguments":null}"#), "null");
        assert_eq!(
            arguments(r#"{"event":"tool_call","name":"x","arguments":{"z":1e-7,"a":0.10}}"#),
            r#"{"z":1e-7,"a":0.10}"#
        );
    }

    #[test]
    fn what_is_no_reply_says_why() {
        assert!(matches!(parse("[1]"), Err(ReplyError::NotAnObject)));
        assert!(matches!(parse("{}"), Err(ReplyError::NoEvent)));
        assert!(matches!(parse(r#"{"event":7}"#), Err(ReplyError::NoEvent)));
        assert!(matches!(parse(r#"{"event":"tool_call","name":["x"]}"#), Err(ReplyError::NoName)));
        assert!(matches!(parse(r#"{"event":"a","event":"b"}"#), Err(ReplyError::Unreadable(_))));
        assert_eq!(parse(r#"{"event":"dance"}"#).unwrap(), Reply::Unknown { event: "dance".into() });
        assert_eq!(
            parse(r#"{"event":"finish","summary":[1]}"#).unwrap(),
            Reply::Finish { summary: Some("[1]".into()) }
        );
    }

    #[test]
    fn odd_usage_counts_nothing() {
        let usage = |text| Reply::usage(&Json::parse(text).unwrap());
        assert_eq!(usage(r#"{"usage":{"prompt_tokens":3}}"#), Some(Usage { prompt_tokens: 3, ..Usage::default() }));
        let cached =
            usage(r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0}}}"#);
        assert_eq!(cached, Some(Usage { prompt_tokens: 9, completion_tokens: 0, cached_tokens: Some(8) }));
        let odd = usage(r#"{"usage":{"prompt_tokens":9,"prompt_tokens_details":[8]}}"#);
        assert_eq!(odd, Some(Usage { prompt_tokens: 9, ..Usage::default() }));
        let exact = Some(Usage { prompt_tokens: 1_000_000_000_000, completion_tokens: 2, cached_tokens: None });
        assert_eq!(usage(r#"{"usage":{"prompt_tokens":1000000000000,"completion_tokens":2.0}}"#), exact);
        let half = Some(Usage { prompt_tokens: 5, ..Usage::default() });
        assert_eq!(usage(r#"{"usage":{"prompt_tokens":5,"completion_tokens":null}}"#), half);
        for odd in [r#"{"usage":[1,2]}"#, r#"{"usage":{"prompt_tokens":-1}}"#, r#"{"usage":null}"#, "{}"] {
            assert_eq!(usage(odd), None, "{odd}");
        }
    }
}
