//! A record read as what happened: an instruction, calls with their results, an end.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::{Exchange, Json, JsonError, LineError, Reply, Usage};

/// One attempt at a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trajectory {
    pub(super) instruction: String,
    /// The main model's id, where the brain was told one.
    pub(super) model: Option<String>,
    pub(super) turns: Vec<Turn>,
    /// What the brain said at the end; `None` if it did not come to one.
    pub(super) finish: Option<Finish>,
}

/// A call and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turn {
    /// What the brain said beside the call.
    pub(super) said: Option<String>,
    pub(super) name: String,
    pub(super) arguments: Json,
    /// `None` where the task was stopped before the brain was told.
    pub(super) result: Option<Json>,
    pub(super) at: Moment,
}

/// How a task was finished.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finish {
    pub(super) summary: Option<String>,
    pub(super) at: Moment,
}

/// When the brain answered, and what that took.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moment {
    pub(super) at: Option<String>,
    pub(super) step_ms: Option<u64>,
    /// How long the tool took that was called here.
    pub(super) tool_ms: Option<u64>,
    pub(super) usage: Option<Usage>,
}

/// A record that is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("line {0}: {1}")]
    Line(usize, #[source] LineError),
    #[error("line {0}: {1}")]
    Value(usize, #[source] JsonError),
    #[error("line {0} is not what follows on the one before")]
    Order(usize),
    #[error("it has no line")]
    Empty,
}

impl Turn {
    /// Whether the tool did what it was to do; `None` where nobody was told.
    pub(super) fn succeeded(&self) -> Option<bool> {
        Some(is_success(self.result.as_ref()?.as_str()))
    }
}

/// Whether a tool's result says that it did what it was to do.
pub(super) fn is_success(result: &str) -> bool {
    #[derive(Deserialize)]
    struct Status<'a> {
        #[serde(borrow)]
        status: &'a RawValue,
    }
    serde_json::from_str::<Status<'_>>(result).is_ok_and(|status| status.status.get() == r#""success""#)
}

impl Trajectory {
    /// Reads the lines of a record.
    pub(super) fn read(lines: &[String]) -> Result<Self, Unreadable> {
        let mut read = Self::default();
        for (at, text) in lines.iter().enumerate() {
            let number = at + 1;
            let line = Exchange::parse(text).map_err(|error| Unreadable::Line(number, error))?;
            let aside = Aside::read(text);
            let payload: Payload<'_> = serde_json::from_str(line.agent_input.as_str()).unwrap_or_default();
            match payload.event.as_deref() {
                Some("start") if at == 0 => read.start(&payload),
                Some("tool_result") if at > 0 => {
                    let turn = read.turns.last_mut().filter(|turn| turn.result.is_none());
                    let turn = turn.ok_or(Unreadable::Order(number))?;
                    turn.result = payload
                        .result
                        .map(|raw| Json::reread(raw.get()))
                        .transpose()
                        .map_err(|error| Unreadable::Value(number, error))?;
                    turn.at.tool_ms = aside.tool_ms;
                }
                // What is said to a brain that is not listened to any more is nobody's turn.
                Some("agent_abort") if at > 0 => break,
                _ => return Err(Unreadable::Order(number)),
            }
            let Some(reply) = line.mcp_reply else { break };
            let moment = Moment { at: aside.at, step_ms: aside.step_ms, tool_ms: None, usage: Reply::usage(&reply) };
            match Reply::parse(&reply) {
                Ok(Reply::ToolCall(call)) => {
                    let turn = Turn {
                        said: said(&reply),
                        name: call.name,
                        arguments: call.arguments,
                        result: None,
                        at: moment,
                    };
                    read.turns.push(turn);
                }
                Ok(Reply::Finish { summary }) => read.finish = Some(Finish { summary, at: moment }),
                // It ended the task.
                Ok(Reply::Resync | Reply::Unknown { .. }) | Err(_) => break,
            }
        }
        if lines.is_empty() { Err(Unreadable::Empty) } else { Ok(read) }
    }

    fn start(&mut self, payload: &Payload<'_>) {
        #[derive(Default, Deserialize)]
        struct Start<'a> {
            #[serde(borrow)]
            instruction: Option<&'a RawValue>,
        }
        #[derive(Default, Deserialize)]
        struct Models {
            finetuned: Option<String>,
        }
        let start: Start<'_> = payload.task.and_then(|task| serde_json::from_str(task.get()).ok()).unwrap_or_default();
        self.instruction = start.instruction.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let models: Models = payload.models.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        self.model = models.finetuned;
    }
}

/// What is read of a payload.
#[derive(Default, Deserialize)]
struct Payload<'a> {
    event: Option<String>,
    #[serde(borrow)]
    task: Option<&'a RawValue>,
    #[serde(borrow)]
    models: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// What a line has beside payload and reply.
#[derive(Default, Deserialize)]
struct Aside {
    at: Option<String>,
    step_ms: Option<u64>,
    tool_ms: Option<u64>,
}

impl Aside {
    fn read(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_default()
    }
}

/// What a model wrote beside the first call of its answer, as `openai:` keeps it.
fn said(reply: &Json) -> Option<String> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        assistant: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Assistant {
        content: Option<String>,
    }
    let wire: Wire<'_> = serde_json::from_str(reply.as_str()).ok()?;
    let assistant: Assistant = serde_json::from_str(wire.assistant?.get()).ok()?;
    assistant.content.filter(|content| !content.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(exchanges: &[(&str, &str)]) -> Vec<String> {
        let line = |(at, (input, reply)): (usize, &(&str, &str))| {
            format!(
                r#"{{"iteration":{},"agent_input":{input},"mcp_reply":{reply},"at":"2026-01-01T00:00:00.000Z","step_ms":3}}"#,
                at + 1
            )
        };
        exchanges.iter().enumerate().map(line).collect()
    }

    const START: &str = r#"{"event":"start","task":{"instruction":"do é","n":1e-7},"models":{"finetuned":"ft"}}"#;
    const CALL: &str = r#"{"event":"tool_call","name":"read_file","arguments":{"file_path":"a","end":2e1},"assistant":{"content":"look"}}"#;
    const RESULT: &str =
        r#"{"event":"tool_result","name":"read_file","arguments":{},"result":{"status":"success","content":"x"}}"#;
    const FINISH: &str = r#"{"event":"finish","summary":"done","usage":{"prompt_tokens":5,"completion_tokens":2}}"#;

    #[test]
    fn calls_have_their_results_and_the_end_its_summary() {
        let read = Trajectory::read(&lines(&[(START, CALL), (RESULT, FINISH)])).unwrap();
        assert_eq!((read.instruction.as_str(), read.model.as_deref()), ("do é", Some("ft")));
        let turn = &read.turns[0];
        assert_eq!((turn.said.as_deref(), turn.name.as_str()), (Some("look"), "read_file"));
        assert_eq!(turn.arguments.as_str(), r#"{"file_path":"a","end":2e1}"#);
        assert_eq!((turn.succeeded(), turn.at.step_ms), (Some(true), Some(3)));
        let finish = read.finish.unwrap();
        assert_eq!((finish.summary.as_deref(), finish.at.usage.unwrap().prompt_tokens), (Some("done"), 5));
    }

    #[test]
    fn one_that_was_stopped_has_a_call_without_a_result() {
        let abort = r#"{"event":"agent_abort","reason":"cancelled"}"#;
        let read = Trajectory::read(&lines(&[(START, CALL), (abort, r#"{"event":"ok"}"#)])).unwrap();
        assert_eq!((read.turns.len(), read.turns[0].succeeded(), read.finish), (1, None, None));
        let unanswered = Trajectory::read(&lines(&[(START, "null")])).unwrap();
        assert_eq!((unanswered.turns.len(), unanswered.finish), (0, None));
    }

    #[test]
    fn what_does_not_follow_is_told_by_its_line() {
        let told = |exchanges: &[(&str, &str)]| Trajectory::read(&lines(exchanges)).unwrap_err().to_string();
        assert_eq!(told(&[(RESULT, CALL)]), "line 1 is not what follows on the one before");
        assert_eq!(told(&[(START, CALL), (START, CALL)]), "line 2 is not what follows on the one before");
        assert_eq!(told(&[]), "it has no line");
        assert!(Trajectory::read(&["{".into()]).unwrap_err().to_string().starts_with("line 1: "));
    }
}
