//! How a run's steps come on record.
//!
//! One statement does it all: the line, the payload that is sent next, the end, the renewed lease, and the question whether
//! the task is to be stopped. If its answer is lost, nobody knows whether it was done; then it is asked again, and finds its
//! own work done. That is why it names the iteration that it comes after.

use std::time::Instant;

use sqlx::PgConnection;

use super::clock::now;
use super::columns::kept;
use super::held::Held;
use super::sql;
use crate::domain::{Intent, Json, Outcome, Status, TaskEvent, TaskState};
use crate::store::row::{MOST_TOKENS, TaskRow, columns, signed};
use crate::store::{Fence, Recorded, Step, StoreError};

/// The columns of a task `h` that is held, and what was posted if it has ended.
const RESULT: &str = concat!(
    "SELECT ",
    columns!("h."),
    ", CASE WHEN h.finished_at IS NULL THEN '{}' ELSE (SELECT body FROM posted WHERE posted.seq = h.seq) END FROM "
);

pub(super) async fn record(
    db: &mut PgConnection,
    fence: Fence,
    step: Step,
    lease: i64,
    held: &Held,
) -> Result<Recorded, StoreError> {
    let since = Instant::now();
    let end = step.end.clone().map(|outcome| TaskState::Running.on(TaskEvent::Ended(outcome))).transpose()?;
    let (summary, error) = match end.as_ref().and_then(TaskState::outcome) {
        Some(Outcome::Succeeded { summary }) => (summary.as_deref(), None),
        Some(Outcome::Failed(error)) => (None, Some(error)),
        Some(Outcome::Cancelled) | None => (None, None),
    };
    let line = step.line.as_ref().map(|line| line.without_payload());
    let (text, cut) = line.as_ref().map_or((None, None), |(text, cut)| (Some(text.as_ref()), *cut));
    // Nothing that a user sees changes by a result that waits to be sent.
    let seen = i64::from(line.is_some() || step.intent.is_some() || end.is_some());
    let tokens = |count: u64| signed(count).min(MOST_TOKENS);
    let usage = step.usage.as_ref();
    // Who was told that the task will be cancelled is not told otherwise later, even if it ends at this moment.
    let (now, intent) = (now!(), step.intent.as_ref().map(Intent::to_json));
    let recording = sql!(
        "WITH h AS ( \
             UPDATE tasks SET \
                 status = CASE WHEN $3 IS NULL THEN status WHEN cancel_requested = 1 THEN $4 ELSE $3 END, \
                 finished_at = CASE WHEN $3 IS NOT NULL THEN $5 END, \
                 summary = CASE WHEN cancel_requested = 0 THEN $6 END, \
                 error_code = CASE WHEN cancel_requested = 0 THEN $7 END, \
                 error_message = CASE WHEN cancel_requested = 0 THEN $8 END, \
                 iteration = $9, log_bytes = log_bytes + $10, intent = $11, \
                 losses = CASE WHEN $9 > iteration THEN 0 ELSE losses END, \
                 revision = revision + $12, \
                 prompt_tokens = CASE WHEN $13 IS NULL THEN prompt_tokens ELSE LEAST(COALESCE(prompt_tokens, 0) + $13, $16) END, \
                 completion_tokens = CASE WHEN $14 IS NULL THEN completion_tokens ELSE LEAST(COALESCE(completion_tokens, 0) + $14, $16) END, \
                 cached_tokens = CASE WHEN $15 IS NULL THEN cached_tokens ELSE LEAST(COALESCE(cached_tokens, 0) + $15, $16) END, \
                 lease_until = {now} + $17 \
             WHERE seq = $1 AND claim = $2 AND status = 'running' \
                 AND iteration = $22 \
             RETURNING *), \
         added AS ( \
             INSERT INTO iterations (seq, iteration, log_end, line, cut, next, next_tool_ms) \
             SELECT seq, iteration, log_bytes, $18, $19, $20, $21 FROM h WHERE $18 IS NOT NULL), \
         told AS ( \
             UPDATE iterations SET next = $20, next_tool_ms = $21 FROM h \
             WHERE $18 IS NULL AND $20 IS NOT NULL AND iterations.seq = h.seq AND iterations.iteration = h.iteration) \
         {RESULT} h"
    );
    let row = recording
        .bind(fence.seq)
        .bind(fence.claim)
        .bind(end.as_ref().map(|state| state.status().as_str()))
        .bind(Status::Cancelled.as_str())
        .bind(step.now.millis())
        .bind(summary.map(kept))
        .bind(error.map(|error| error.code.as_str()))
        .bind(error.map(|error| kept(&error.message)))
        .bind(i64::from(step.iteration))
        .bind(signed(step.grown()))
        .bind(intent.as_ref().map(Json::as_str))
        .bind(seen)
        .bind(usage.map(|usage| tokens(usage.prompt_tokens)))
        .bind(usage.map(|usage| tokens(usage.completion_tokens)))
        .bind(usage.and_then(|usage| usage.cached_tokens).map(tokens))
        .bind(MOST_TOKENS)
        .bind(lease)
        .bind(text)
        .bind(cut.map(|cut| signed(cut as u64)))
        .bind(step.pending.as_ref().map(|pending| pending.payload.as_str()))
        .bind(step.pending.as_ref().and_then(|pending| pending.tool_ms).map(signed))
        .bind(step.before())
        .fetch_optional(&mut *db)
        .await?;
    let row = match row {
        Some(row) => Some(TaskRow::read(&row)?),
        None => done_before(db, &fence, &step, text).await?,
    };
    let Some(row) = row else {
        held.gone(&fence);
        return Err(StoreError::Lost(fence.id));
    };
    let recorded = recorded(&row)?;
    if recorded.ended.is_some() {
        held.gone(&fence);
    } else {
        held.renewed_again(&fence, since);
    }
    Ok(recorded)
}

fn recorded(row: &TaskRow) -> Result<Recorded, StoreError> {
    let task = row.task()?;
    let (cancel_requested, log_bytes) = (task.cancel_requested, task.log_bytes);
    Ok(Recorded { cancel_requested, log_bytes, ended: task.has_ended().then(|| Box::new(task)) })
}

/// The task's row, if this very step is on record under this claim, and the task is still its worker's or has ended so: one
/// that another has taken it from has no worker.
async fn done_before(
    db: &mut PgConnection,
    fence: &Fence,
    step: &Step,
    text: Option<&str>,
) -> Result<Option<TaskRow>, StoreError> {
    let found = sql!(
        "{RESULT} tasks h WHERE h.seq = $1 AND h.claim = $2 AND h.iteration = $3 \
         AND (h.finished_at IS NOT NULL) = $4 AND (h.status = 'running' OR h.finished_at IS NOT NULL) \
         AND h.worker IS NOT NULL \
         AND ($5 IS NULL OR EXISTS (SELECT 1 FROM iterations i WHERE i.seq = h.seq AND i.iteration = h.iteration AND i.line = $5))"
    );
    let row = found
        .bind(fence.seq)
        .bind(fence.claim)
        .bind(i64::from(step.iteration))
        .bind(step.end.is_some())
        .bind(text)
        .fetch_optional(db)
        .await?;
    // A step without a line or an end would have been done again, had the task still been held.
    let row = row.filter(|_| text.is_some() || step.end.is_some());
    Ok(row.map(|row| TaskRow::read(&row)).transpose()?)
}
