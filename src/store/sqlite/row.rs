//! Rows and what they mean.

use std::time::Duration;

use rusqlite::Row;

use crate::domain::{ErrorCode, Json, Outcome, Status, Task, TaskError, TaskId, TaskState, Timestamp, Usage};
use crate::store::{StoreError, StoredLine};

/// The columns of a task, in the order of `TaskRow`, whose last one is what was posted.
macro_rules! columns {
    () => {
        "seq, id, workspace, max_iterations, deadline_ms, status, cancel_requested, claim, attempt, iteration, log_bytes, \
         summary, error_code, error_message, prompt_tokens, completion_tokens, \
         cached_tokens, revision, created_at, started_at, finished_at"
    };
}

/// For a statement that returns rows of the table it changes.
pub(super) const RETURNING_TASK: &str =
    concat!("RETURNING ", columns!(), ", (SELECT body FROM posted WHERE posted.seq = tasks.seq)");

/// To be followed by WHERE.
pub(super) const SELECT_TASK: &str = concat!("SELECT ", columns!(), ", body FROM tasks t JOIN posted USING (seq) ");

/// Lines `i`, each with the payload that it leaves out; to be followed by WHERE.
pub(super) const SELECT_LINE: &str = "SELECT i.log_end, i.line, i.cut, before.next, i.next, i.next_tool_ms \
     FROM iterations i LEFT JOIN iterations before \
     ON before.seq = i.seq AND before.iteration = i.iteration - 1 AND i.cut IS NOT NULL ";

/// One task as it lies in the tables.
pub(super) struct TaskRow {
    pub(super) seq: i64,
    id: String,
    workspace: Option<String>,
    max_iterations: u32,
    deadline_ms: Option<i64>,
    status: String,
    cancel_requested: bool,
    pub(super) claim: i64,
    attempt: u32,
    iteration: u32,
    log_bytes: i64,
    summary: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    cached_tokens: Option<i64>,
    revision: i64,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    body: String,
}

impl TaskRow {
    /// By place, without looking for names.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: row.get(1)?,
            workspace: row.get(2)?,
            max_iterations: row.get(3)?,
            deadline_ms: row.get(4)?,
            status: row.get(5)?,
            cancel_requested: row.get(6)?,
            claim: row.get(7)?,
            attempt: row.get(8)?,
            iteration: row.get(9)?,
            log_bytes: row.get(10)?,
            summary: row.get(11)?,
            error_code: row.get(12)?,
            error_message: row.get(13)?,
            prompt_tokens: row.get(14)?,
            completion_tokens: row.get(15)?,
            cached_tokens: row.get(16)?,
            revision: row.get(17)?,
            created_at: row.get(18)?,
            started_at: row.get(19)?,
            finished_at: row.get(20)?,
            body: row.get(21)?,
        })
    }

    pub(super) fn task(&self) -> Result<Task, StoreError> {
        let id: TaskId = self.id.parse().map_err(|error| self.bad("id", &error))?;
        Ok(Task {
            id,
            posted: Json::reread(&self.body).map_err(|error| self.bad("body", &error))?,
            workspace: self.workspace.clone(),
            state: self.state()?,
            cancel_requested: self.cancel_requested,
            attempt: self.attempt,
            iteration: self.iteration,
            max_iterations: self.max_iterations,
            deadline: self.deadline_ms.map(|ms| Duration::from_millis(unsigned(ms))),
            log_bytes: unsigned(self.log_bytes),
            revision: unsigned(self.revision),
            usage: self.usage(),
            created_at: Timestamp::from_millis(self.created_at),
            started_at: self.started_at.map(Timestamp::from_millis),
            finished_at: self.finished_at.map(Timestamp::from_millis),
        })
    }

    fn state(&self) -> Result<TaskState, StoreError> {
        let status = Status::from_word(&self.status).ok_or_else(|| self.bad("status", &self.status))?;
        Ok(match status {
            Status::Queued => TaskState::Queued { begun: self.started_at.is_some() },
            Status::Running => TaskState::Running,
            Status::Succeeded => TaskState::Ended(Outcome::Succeeded { summary: self.summary.clone() }),
            Status::Cancelled => TaskState::Ended(Outcome::Cancelled),
            Status::Failed => {
                let word = self.error_code.as_deref().unwrap_or_default();
                let code = ErrorCode::from_word(word).ok_or_else(|| self.bad("error_code", &word))?;
                let message = self.error_message.clone().unwrap_or_default();
                TaskState::Ended(Outcome::Failed(TaskError { code, message }))
            }
        })
    }

    fn usage(&self) -> Option<Usage> {
        let (prompt, completion) = (self.prompt_tokens?, self.completion_tokens?);
        let cached_tokens = self.cached_tokens.map(unsigned);
        Some(Usage { prompt_tokens: unsigned(prompt), completion_tokens: unsigned(completion), cached_tokens })
    }

    pub(super) fn bad(&self, column: &'static str, detail: &dyn std::fmt::Display) -> StoreError {
        let table = match column {
            "body" => "posted",
            "next" => "iterations",
            _ => "tasks",
        };
        StoreError::BadRow { table, column, id: self.id.clone(), detail: detail.to_string() }
    }
}

/// A line of the task `id` with the payload that its row leaves out.
pub(super) fn line(row: &Row<'_>, id: &str) -> Result<StoredLine, StoreError> {
    let (end, mut line, cut): (i64, String, Option<u32>) = (row.get(0)?, row.get(1)?, row.get(2)?);
    if let Some(cut) = cut {
        let payload: Option<String> = row.get(3)?;
        let bad = |detail: &str| StoreError::BadRow {
            table: "iterations",
            column: "cut",
            id: id.to_owned(),
            detail: format!("{cut}: {detail}"),
        };
        let payload = payload.ok_or_else(|| bad("the row before has no payload"))?;
        let place = usize::try_from(cut).ok().filter(|place| line.is_char_boundary(*place));
        line.insert_str(place.ok_or_else(|| bad("no place in the line"))?, &payload);
    }
    Ok(StoredLine { end: unsigned(end), line })
}

/// SQL has no unsigned numbers; ours are never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Times, lengths and token counts are far below 2^63; a brain that claims more is held to that.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
