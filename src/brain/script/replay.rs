//! A recorded task done once more: iteration n is answered with the reply on line n of its record.
//!
//! Strictly, each payload is compared with the recorded one before it is answered. Leniently, nothing is.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::difference::first_difference;
use super::record::{self, Recorded};
use crate::brain::StepRequest;
use crate::domain::Json;

/// What to replay, and how.
pub(super) struct Replay<'a> {
    source: Source<'a>,
    mode: Mode,
}

/// Where the record is.
enum Source<'a> {
    /// A file below `REPLAY_DIR`.
    File(&'a Path, String),
    /// In the task.
    Inline(Vec<&'a RawValue>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Strict,
    Lenient,
}

impl<'a> Replay<'a> {
    /// Reads the task's `replay` and `replay_mode`.
    pub(super) fn of(replay: &'a RawValue, mode: Option<&RawValue>, dir: &'a Path) -> Result<Self, String> {
        let source = if replay.get().starts_with('[') {
            let lines = serde_json::from_str(replay.get()).map_err(|error| format!("replay: {error}"))?;
            Source::Inline(lines)
        } else {
            let name = serde_json::from_str(replay.get());
            let name = name.map_err(|_| "replay: must be the name of a record, or a list of its lines".to_owned())?;
            Source::File(dir, name)
        };
        let mode = mode.map_or(Ok(Mode::Strict), |mode| serde_json::from_str(mode.get()));
        let mode = mode.map_err(|_| "replay_mode: must be \"strict\" or \"lenient\"".to_owned())?;
        Ok(Self { source, mode })
    }

    pub(super) fn step(&self, request: &StepRequest) -> Result<Json, String> {
        let number = request.iteration;
        let (name, line) = match &self.source {
            Source::File(dir, name) => record::line(dir, name, number)?,
            Source::Inline(lines) => {
                let index = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
                ("the task's replay".to_owned(), lines.get(index).map(|line| line.get().to_owned()))
            }
        };
        let Some(line) = line else {
            return Err(format!("{name} ends after line {} without a finish", number.saturating_sub(1)));
        };
        let recorded = Recorded::parse(&line, number).map_err(|error| format!("{name}, line {number}: {error}"))?;
        if self.mode == Mode::Strict
            && let Some(difference) = first_difference(&recorded.agent_input, &request.payload)
        {
            return Err(format!(
                "the replay of {name} stopped at iteration {number}: {difference}; \"replay_mode\": \"lenient\" would go on"
            ));
        }
        recorded.mcp_reply.ok_or_else(|| {
            format!(
                "{name}, line {number}: has no reply, for the recorded task was stopped there or its brain gave none"
            )
        })
    }
}
