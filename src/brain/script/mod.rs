//! The brain that needs no model: what to do stands in the task itself.
//!
//! ```text
//!  task ─┬─ "script": [reply, …]      here: iteration n is answered with step n
//!        ├─ "replay": NAME | [line, …] ─► replay ─► record       a line of a recorded JSONL
//!        │                                      └─► difference   where strict replaying stops
//!        └─ "instruction": directives  ─► directive    the lines, read strictly
//!                                         interpreter  observations in, acts out: pure
//!                                          ├─ search   which files have the text
//!                                          ├─ text     a file's text with the replacements made
//!                                          └─ act      what it asks for, what it sees, what it has done
//! ```
//!
//! The first of the three that the task has counts. No state is kept: directives are worked out from the history of the task
//! at every step, so a crash costs nothing and any worker can go on. The brain asks for that history (`resync`) only
//! where it needs it.
//!
//! Deliberately absent: guessing. What is not understood ends the task, before anything is done.

mod act;
mod difference;
mod directive;
mod interpreter;
mod record;
mod replay;
mod search;
mod text;

use std::path::PathBuf;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::directive::Program;
use self::replay::Replay;
use super::{Brain, BrainError, StepRequest, farewell, resync};
use crate::domain::{Json, Payload};

/// How a task gets another brain, for every error that a model would not have made.
const OTHER_BRAINS: &str = "to have a model decide, set MCP_SERVER_URL=openai: with OPENAI_BASE_URL and \
OPENAI_FINETUNED_MODEL_ID, or to a brain that answers /step";

/// Does what the task says: its `script`, its `replay`, or the directives in its `instruction`.
#[derive(Clone, Debug)]
pub struct ScriptBrain {
    settings: ScriptSettings,
}

/// What is configurable about it.
#[derive(Clone, Debug)]
pub struct ScriptSettings {
    /// `REPLAY_DIR`: where records to be replayed lie.
    pub replay_dir: PathBuf,
}

/// What of a task is this brain's affair.
#[derive(Deserialize)]
struct Scripted<'a> {
    #[serde(borrow)]
    script: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    replay: Option<&'a RawValue>,
    #[serde(borrow)]
    replay_mode: Option<&'a RawValue>,
    #[serde(borrow)]
    instruction: Option<&'a RawValue>,
}

impl ScriptBrain {
    /// A brain with these settings.
    pub fn new(settings: ScriptSettings) -> Self {
        Self { settings }
    }
}

/// What this brain follows in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The replies in it.
    Script,
    /// A record.
    Replay,
    /// The lines of its instruction.
    Directives,
}

/// What this brain would follow in a task, if there is anything. Nobody posts that to a model.
pub fn followed(posted: &Json) -> Option<Followed> {
    let scripted = Scripted::of(posted).ok()?;
    if scripted.script.is_some() {
        Some(Followed::Script)
    } else if scripted.replay.is_some() {
        Some(Followed::Replay)
    } else {
        scripted.program().is_ok().then_some(Followed::Directives)
    }
}

#[async_trait]
impl Brain for ScriptBrain {
    async fn step(&self, request: &StepRequest) -> Result<Json, BrainError> {
        if Payload::abort_reason(&request.payload).is_some() {
            return Ok(farewell());
        }
        let scripted = Scripted::of(&request.task).map_err(BrainError::Protocol)?;
        if scripted.script.is_some() {
            return scripted.reply(request.iteration).map_err(BrainError::Protocol);
        }
        let replays = scripted.replay.is_some();
        if !replays && request.iteration > 1 && request.history.is_none() {
            return Ok(resync());
        }
        // Files are read, and long histories gone through, off the async threads.
        let (request, dir) = (request.clone(), self.settings.replay_dir.clone());
        let worked_out = tokio::task::spawn_blocking(move || {
            let scripted = Scripted::of(&request.task)?;
            match scripted.replay {
                Some(replay) => Replay::of(replay, scripted.replay_mode, &dir)?.step(&request),
                None => scripted.program()?.step(&request),
            }
        });
        let worked_out = worked_out.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the script brain panicked");
            Err("the script brain failed for a reason of its own".to_owned())
        });
        worked_out.map_err(BrainError::Protocol)
    }
}

impl<'a> Scripted<'a> {
    fn of(task: &'a Json) -> Result<Self, String> {
        serde_json::from_str(task.as_str())
            .map_err(|error| format!("the script brain needs \"script\", a list of replies, in the task: {error}"))
    }

    /// What the script says to `iteration`, counted from 1.
    fn reply(&self, iteration: u32) -> Result<Json, String> {
        let script = self.script.as_deref().unwrap_or_default();
        let index = usize::try_from(iteration.saturating_sub(1)).unwrap_or(usize::MAX);
        let step = script.get(index);
        let step =
            step.ok_or_else(|| format!("the task's script ended after {} steps without a finish", script.len()))?;
        Json::parse(step.get()).map_err(|error| error.to_string())
    }

    fn program(&self) -> Result<Program, String> {
        let instruction = self.instruction.map_or("\"\"", RawValue::get);
        let instruction: String =
            serde_json::from_str(instruction).map_err(|error| format!("the task's instruction is no text: {error}"))?;
        Program::parse(&instruction).map_err(|error| format!("{error}; {OTHER_BRAINS}"))
    }
}

/// A text as it may stand in an error: not longer than a line or two, and nothing that a terminal would obey.
fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    let mut rest = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = rest.by_ref().take(MOST).collect();
    shown.push_str(if rest.next().is_some() { "…" } else { "" });
    shown
}

#[cfg(test)]
mod tests;
