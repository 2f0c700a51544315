//! Rows and what they mean.

use std::time::Duration;

use sqlx::FromRow;

use crate::domain::{ErrorCode, Json, Outcome, Status, Task, TaskError, TaskId, TaskState, Timestamp, Usage};
use crate::store::StoreError;

/// The columns of a task, to be followed by WHERE, in the order of `TaskRow`.
pub(super) const SELECT_TASK: &str = "SELECT t.seq, t.id, t.workspace, t.max_iterations, t.deadline_ms, t.status, \
     t.cancel_requested, t.claim, t.attempt, t.iteration, t.log_bytes, t.summary, \
     t.error_code, t.error_message, t.prompt_tokens, t.completion_tokens, t.revision, t.created_at, t.started_at, \
     t.finished_at, p.body FROM tasks t JOIN posted p ON p.seq = t.seq ";

/// One task as it lies in the tables.
#[derive(FromRow)]
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
    revision: i64,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    body: String,
}

impl TaskRow {
    /// The writer's way to a row: by place, without looking for names.
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
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
            revision: row.get(16)?,
            created_at: row.get(17)?,
            started_at: row.get(18)?,
            finished_at: row.get(19)?,
            body: row.get(20)?,
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
        Some(Usage { prompt_tokens: unsigned(prompt), completion_tokens: unsigned(completion) })
    }

    pub(super) fn bad(&self, column: &'static str, detail: &dyn std::fmt::Display) -> StoreError {
        let table = if column == "body" { "posted" } else { "tasks" };
        StoreError::BadRow { table, column, id: self.id.clone(), detail: detail.to_string() }
    }
}

/// SQL has no unsigned numbers; ours are never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Times, lengths and token counts are far below 2^63; a brain that claims more is held to that.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
