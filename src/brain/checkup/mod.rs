//! What `codex-agent doctor` asks a brain, and what comes of it.
//!
//! ```text
//!  start ─┬─ a reply ─► the same step again, a few times ─► a step of a task it does not know ─► agent_abort ─┐
//!         └─ none ────► probe: how far one comes, and what stands in the way ─────────────────────────────────┴─► Finding…
//! ```
//!
//! The brain is asked as the service asks it, over the same [`Brain`], about tasks that are made up. No tool runs.
//!
//! Deliberately absent: printing, and where the brain is said to be: that is the command line's.

mod finding;
mod probe;

use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

pub use self::finding::{Finding, Level, OfUnknown, Peer, address};
pub use self::probe::Obstacle;
use super::{Brain, BrainError, StepRequest, excerpt};
use crate::domain::{Json, Payload, Reply, StopReason, TaskId};

/// How often the first step is repeated: enough for a median.
const REPEATS: usize = 5;

/// No further repetition is begun when they have taken this long: whoever waits is a person.
const LONG_ENOUGH: Duration = Duration::from_secs(15);

/// A brain that does not keep to its own timeout is given up so much later.
const MARGIN: Duration = Duration::from_secs(2);

/// A brain and what is needed to ask it.
pub struct Checkup<'a> {
    /// As the service would ask it, but without tries after the first.
    pub brain: &'a dyn Brain,
    /// Whom it asks, for what is said of it.
    pub peer: Peer,
    /// Where.
    pub url: &'a Url,
    /// Whether it is shown a key.
    pub has_key: bool,
    /// The longest time that one step may take.
    pub patience: Duration,
    /// The made-up task.
    pub task: TaskId,
    /// Another one, of which the brain is told no start.
    pub unknown: TaskId,
}

impl Checkup<'_> {
    /// The whole conversation, for a brain at the other end of a connection.
    pub async fn converse(&self) -> Vec<Finding> {
        let (first, _) = self.start().await;
        let reply = match first {
            Ok(reply) => reply,
            Err(error) => return vec![self.without_reply(error).await],
        };
        let mut findings = vec![Finding::of_start(&reply)];
        if findings[0].level() == Level::Fail {
            return findings;
        }
        findings.extend(self.repeat(&reply).await);
        findings.push(Finding::OfUnknown(self.ask_of_unknown().await));
        findings.push(match self.abort(&self.task, 2).await {
            Ok(_) => Finding::AbortTaken,
            Err(error) => Finding::AbortRefused(one_line(&error.to_string())),
        });
        findings
    }

    /// One step alone, for a model: each costs tokens.
    pub async fn ask_once(&self) -> Vec<Finding> {
        match self.start().await {
            (Ok(reply), took) => vec![Finding::of_start(&reply), Finding::Took(took)],
            (Err(error), _) => vec![self.without_reply(error).await],
        }
    }

    async fn start(&self) -> (Result<Json, BrainError>, Duration) {
        let (task, started) = (made_up(&self.task), Instant::now());
        let payload = Payload::Start { task: &task, models: None }.to_json();
        (self.step(&self.task, 1, payload).await, started.elapsed())
    }

    /// Sends the first step again, with its key.
    async fn repeat(&self, first: &Json) -> Vec<Finding> {
        let (mut times, started) = (Vec::new(), Instant::now());
        let mut other = None;
        while times.len() < REPEATS && started.elapsed() < LONG_ENOUGH {
            match self.start().await {
                (Ok(reply), took) => {
                    times.push(took);
                    other = other.or(Some(reply).filter(|reply| !means_the_same(first, reply)));
                }
                (Err(error), _) => return vec![Finding::NoReplyToRepeated(one_line(&error.to_string()))],
            }
        }
        times.sort_unstable();
        let repeated = match other {
            None => Finding::SameReply,
            Some(other) => Finding::OtherReply { first: one_line(first.as_str()), then: one_line(other.as_str()) },
        };
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        vec![repeated, Finding::Latency { steps: times.len(), median, slowest }]
    }

    /// A step in the middle of a task, as a brain meets it after it was started anew.
    async fn ask_of_unknown(&self) -> OfUnknown {
        let arguments = Json::of(&serde_json::json!({"file_path": "README.md"}));
        let result =
            Json::of(&serde_json::json!({"status": "failure", "message": "this is a check, nothing was read"}));
        let payload = Payload::ToolResult { name: "read_file", arguments: Some(&arguments), result: &result };
        match self.step(&self.unknown, 2, payload.to_json()).await {
            Ok(reply) => match Reply::parse(&reply) {
                Ok(Reply::Resync) => OfUnknown::Resync,
                Ok(Reply::ToolCall(_) | Reply::Finish { .. }) => {
                    // So that it keeps nothing of a task that was none.
                    drop(self.abort(&self.unknown, 3).await);
                    OfUnknown::Reply
                }
                Ok(Reply::Unknown { .. }) | Err(_) => OfUnknown::Error(one_line(reply.as_str())),
            },
            Err(error) => OfUnknown::Error(one_line(&error.to_string())),
        }
    }

    async fn abort(&self, task: &TaskId, iteration: u32) -> Result<Json, BrainError> {
        let payload = Payload::AgentAbort { reason: StopReason::MaxIterations }.to_json();
        self.step(task, iteration, payload).await
    }

    async fn step(&self, task: &TaskId, iteration: u32, payload: Json) -> Result<Json, BrainError> {
        let request = StepRequest { task_id: task.clone(), iteration, payload, task: made_up(task), history: None };
        let given_up = || BrainError::Unreachable(format!("no reply within {} s", self.patience.as_secs()));
        let replied = tokio::time::timeout(self.patience + MARGIN, self.brain.step(&request)).await;
        replied.unwrap_or_else(|_| Err(given_up()))
    }

    async fn without_reply(&self, error: BrainError) -> Finding {
        let (peer, has_key) = (self.peer, self.has_key);
        match error {
            BrainError::Status { status, message } => {
                Finding::Status { peer, status, has_key, said: one_line(&message) }
            }
            BrainError::Protocol(message) => Finding::NoJson { peer, said: one_line(&message) },
            BrainError::Unreachable(message) => {
                let obstacle = probe::probe(self.url, self.patience).await;
                Finding::Unreached {
                    peer,
                    url: self.url.clone(),
                    obstacle,
                    waited: self.patience,
                    said: one_line(&message),
                }
            }
        }
    }
}

/// A task that says what it is. The script brain does what stands in its script; others are free to call a tool, which
/// nobody runs.
fn made_up(id: &TaskId) -> Json {
    Json::of(&serde_json::json!({
        "task_id": id,
        "instruction": "This is a check by `codex-agent doctor`, and no task: call no tool, and finish at once.",
        "max_iterations": 1,
        "script": [{"event": "finish", "summary": "the check is over"}],
    }))
}

/// Whether two replies have the worker do the same; what they say of tokens may differ.
fn means_the_same(one: &Json, other: &Json) -> bool {
    let value = |json: &Json| serde_json::from_str::<serde_json::Value>(json.as_str()).ok();
    match (Reply::parse(one), Reply::parse(other)) {
        (Ok(Reply::ToolCall(one)), Ok(Reply::ToolCall(other))) => {
            one.name == other.name && value(&one.arguments) == value(&other.arguments)
        }
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// The beginning of a text, on one line; without the colon before an answer that was empty.
fn one_line(text: &str) -> String {
    excerpt(text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text).unwrap()
    }

    #[test]
    fn replies_are_the_same_where_the_worker_does_the_same() {
        let same = |one, other| means_the_same(&json(one), &json(other));
        let call = r#"{"event":"tool_call","name":"read_file","arguments":{"a":1,"b":2}}"#;
        assert!(same(
            call,
            r#"{"usage":{"prompt_tokens":9},"arguments":{"b":2,"a":1},"name":"read_file","event":"tool_call"}"#
        ));
        assert!(!same(call, r#"{"event":"tool_call","name":"read_file","arguments":{"a":1}}"#));
        assert!(!same(call, r#"{"event":"finish"}"#));
        assert!(!same(r#"{"event":"finish","summary":"a"}"#, r#"{"event":"finish","summary":"b"}"#));
        assert!(same("[1]", "[1]"));
    }

    #[test]
    fn the_made_up_task_says_that_it_is_none() {
        let task = made_up(&"doctor-1".parse().unwrap());
        for part in ["finish at once", r#""task_id":"doctor-1""#] {
            assert!(task.as_str().contains(part), "{task}");
        }
    }
}
