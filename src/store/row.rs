//! Rows and what they mean: the same in every database.

use std::time::Duration;

use crate::domain::{
    ErrorCode, InvalidTaskId, Json, Outcome, Status, Task, TaskError, TaskId, TaskState, Timestamp, Usage, Verdict,
    VerdictOutcome,
};
use crate::store::{StoreError, StoredLine};

/// One row, whichever database it is of. Its columns are read by place, without looking for names.
pub(super) trait Columns {
    /// What the driver says of a column that is not as it should be.
    type Error: Into<StoreError>;
    fn number(&self, column: usize) -> Result<i64, Self::Error>;
    fn maybe_number(&self, column: usize) -> Result<Option<i64>, Self::Error>;
    fn maybe_real(&self, column: usize) -> Result<Option<f64>, Self::Error>;
    fn text(&self, column: usize) -> Result<String, Self::Error>;
    fn maybe_text(&self, column: usize) -> Result<Option<String>, Self::Error>;
    /// A text that may have any character in it; JSON has not.
    fn free_text(&self, column: usize) -> Result<Option<String>, Self::Error>;
}

/// The columns of a task, each with a prefix, in the order of `TaskRow`, whose last one is what was posted.
macro_rules! columns {
    ($of:literal) => {
        columns!(
            $of: seq, id, workspace, max_iterations, deadline_ms, status, cancel_requested, claim, attempt, iteration, log_bytes,
            summary, error_code, error_message, prompt_tokens, completion_tokens, cached_tokens, revision, created_at, started_at,
            finished_at, verdict, reward, note, labelled_at
        )
    };
    ($of:literal: $first:ident $(, $next:ident)*) => {
        concat!($of, stringify!($first) $(, ", ", $of, stringify!($next))*)
    };
}
pub(super) use columns;

/// How many columns a task has, with what was posted.
pub(super) const COLUMNS: usize = 26;

/// To be followed by WHERE.
pub(super) const SELECT_TASK: &str = concat!("SELECT ", columns!("t."), ", body FROM tasks t JOIN posted USING (seq) ");

/// Lines `i`, each with the payload that it leaves out; to be followed by WHERE.
pub(super) const SELECT_LINE: &str = "SELECT i.log_end, i.line, i.cut, before.next, i.next, i.next_tool_ms \
     FROM iterations i LEFT JOIN iterations before \
     ON before.seq = i.seq AND before.iteration = i.iteration - 1 AND i.cut IS NOT NULL ";

/// Where a sum of tokens stops: the largest whole number that every reader of JSON knows, 2^53.
pub(super) const MOST_TOKENS: i64 = 1 << 53;

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
    verdict: Option<String>,
    reward: Option<f64>,
    note: Option<String>,
    labelled_at: Option<i64>,
    body: String,
}

impl TaskRow {
    pub(super) fn read<R: Columns>(row: &R) -> Result<Self, R::Error> {
        Ok(Self {
            seq: row.number(0)?,
            id: row.text(1)?,
            workspace: row.maybe_text(2)?,
            max_iterations: count(row.number(3)?),
            deadline_ms: row.maybe_number(4)?,
            status: row.text(5)?,
            cancel_requested: row.number(6)? != 0,
            claim: row.number(7)?,
            attempt: count(row.number(8)?),
            iteration: count(row.number(9)?),
            log_bytes: row.number(10)?,
            summary: row.free_text(11)?,
            error_code: row.maybe_text(12)?,
            error_message: row.free_text(13)?,
            prompt_tokens: row.maybe_number(14)?,
            completion_tokens: row.maybe_number(15)?,
            cached_tokens: row.maybe_number(16)?,
            revision: row.number(17)?,
            created_at: row.number(18)?,
            started_at: row.maybe_number(19)?,
            finished_at: row.maybe_number(20)?,
            verdict: row.maybe_text(21)?,
            reward: row.maybe_real(22)?,
            note: row.free_text(23)?,
            labelled_at: row.maybe_number(24)?,
            body: row.text(25)?,
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
            verdict: self.verdict()?,
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

    fn verdict(&self) -> Result<Option<Verdict>, StoreError> {
        let Some(at) = self.labelled_at else { return Ok(None) };
        let outcome = |word: &String| VerdictOutcome::from_word(word).ok_or_else(|| self.bad("verdict", word));
        let outcome = self.verdict.as_ref().map(outcome).transpose()?;
        let (reward, note, at) = (self.reward, self.note.clone(), Timestamp::from_millis(at));
        Ok(Some(Verdict { outcome, reward, note, at }))
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

/// A line of the task `id` with the payload that its row leaves out. Its columns, those of `SELECT_LINE`, begin at `first`.
pub(super) fn line<R: Columns>(row: &R, first: usize, id: &str) -> Result<StoredLine, StoreError> {
    let payload = || row.maybe_text(first + 3);
    let read = || Ok((row.number(first)?, row.text(first + 1)?, row.maybe_number(first + 2)?, payload()?));
    let (end, line, cut, payload) = read().map_err(R::Error::into)?;
    Ok(StoredLine { end: unsigned(end), line: whole_line(line, cut, payload, id)? })
}

/// Puts the payload in where it was `cut` out.
fn whole_line(mut line: String, cut: Option<i64>, payload: Option<String>, id: &str) -> Result<String, StoreError> {
    let Some(cut) = cut else { return Ok(line) };
    let bad = |detail: &str| StoreError::BadRow {
        table: "iterations",
        column: "cut",
        id: id.to_owned(),
        detail: format!("{cut}: {detail}"),
    };
    let payload = payload.ok_or_else(|| bad("the row before has no payload"))?;
    let place = usize::try_from(cut).ok().filter(|place| line.is_char_boundary(*place));
    line.insert_str(place.ok_or_else(|| bad("no place in the line"))?, &payload);
    Ok(line)
}

/// The number of a task's iterations and the like: the tables have wider ones.
pub(super) fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(if number < 0 { 0 } else { u32::MAX })
}

/// An id as it lies in a table.
pub(super) fn parse_id(id: &str) -> Result<TaskId, StoreError> {
    id.parse().map_err(|error: InvalidTaskId| StoreError::BadRow {
        table: "tasks",
        column: "id",
        id: id.to_owned(),
        detail: error.to_string(),
    })
}

/// SQL has no unsigned numbers; ours are never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Times, lengths and token counts are far below 2^63; a brain that claims more is held to that.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
