//! How a task comes in, and how it is told to stop or to go away.

use sqlx::PgConnection;

use super::clock::now;
use super::read::by_id;
use super::{sql, words};
use crate::domain::{TaskEvent, TaskId, TaskState, Timestamp, millis};
use crate::store::row::{Columns, SELECT_TASK, TaskRow, signed};
use crate::store::{CancelAnswer, DeleteAnswer, NewTask, StoreError, Submitted};

/// How often a step is tried that others have come before: each of them has got further.
pub(super) const TRIES: usize = 16;

/// Takes the task, unless it is known. That as many wait as may is for the caller to know.
pub(super) async fn submit(db: &mut PgConnection, new: NewTask, full: bool) -> Result<Submitted, StoreError> {
    for _ in 0..TRIES {
        if !full && let Some(created_at) = add(db, &new).await? {
            return Ok(Submitted::Created(new.task(created_at)));
        }
        if let Some(known) = known(db, &new).await? {
            return Ok(known);
        }
        if full {
            return Ok(Submitted::QueueFull);
        }
        // The one that had its name is gone again.
    }
    Err(StoreError::Unavailable("the task comes and goes".into()))
}

/// Adds the task if none has its name or its key; when it was accepted.
async fn add(db: &mut PgConnection, new: &NewTask) -> Result<Option<Timestamp>, StoreError> {
    // Of two that came at the same moment, or over a clock set back, the one listed as newer is not the older.
    let add = "WITH added AS ( \
                   INSERT INTO tasks (id, idempotency_key, workspace, priority, max_iterations, deadline_ms, status, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, \
                       GREATEST($8, (SELECT created_at FROM tasks ORDER BY seq DESC LIMIT 1))) \
                   ON CONFLICT DO NOTHING RETURNING seq, created_at), \
               body AS (INSERT INTO posted (seq, body) SELECT seq, $9 FROM added), \
               words AS (INSERT INTO task_words (seq, word) SELECT seq, word FROM added, UNNEST($10::text[]) word) \
               SELECT created_at FROM added";
    let added = sqlx::query(add)
        .bind(new.id.as_str())
        .bind(new.idempotency_key.as_deref())
        .bind(new.spec.workspace.as_deref())
        .bind(i64::from(new.spec.priority))
        .bind(i64::from(new.spec.max_iterations))
        .bind(new.spec.deadline.map(|deadline| signed(millis(deadline))))
        .bind(TaskState::NEW.status().as_str())
        .bind(new.now.millis())
        .bind(new.spec.posted.as_str())
        .bind(words::of(new))
        .fetch_optional(db)
        .await?;
    Ok(added.map(|added| added.number(0)).transpose()?.map(Timestamp::from_millis))
}

async fn known(db: &mut PgConnection, new: &NewTask) -> Result<Option<Submitted>, StoreError> {
    let known = sql!("{SELECT_TASK} WHERE t.id = $1 OR t.idempotency_key = $2");
    let rows = known.bind(new.id.as_str()).bind(new.idempotency_key.as_deref()).fetch_all(&mut *db).await?;
    let row = match rows.as_slice() {
        [] => return Ok(None),
        [row] => TaskRow::read(row)?,
        // The id is one task's and the key another's.
        _ => return Ok(Some(Submitted::Conflict)),
    };
    let task = row.task()?;
    if task.posted != new.spec.posted {
        return Ok(Some(Submitted::Conflict));
    }
    if let Some(key) = &new.idempotency_key {
        // Known by its id, it answers to this key too from now on.
        let answer = "UPDATE tasks SET idempotency_key = $1 WHERE seq = $2 AND idempotency_key IS NULL";
        match sqlx::query(answer).bind(key).bind(row.seq).execute(db).await.map_err(StoreError::from) {
            // Another task has got the key just now.
            Err(StoreError::Refused(_)) => return Ok(Some(Submitted::Conflict)),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(Some(Submitted::Known(task)))
}

pub(super) async fn request_cancel(
    db: &mut PgConnection,
    id: TaskId,
    now: Timestamp,
) -> Result<CancelAnswer, StoreError> {
    for _ in 0..TRIES {
        let Some(row) = by_id(db, &id).await? else { return Ok(CancelAnswer::Missing) };
        let task = row.task()?;
        let Ok(to) = task.state.on(TaskEvent::CancelRequested) else { return Ok(CancelAnswer::Ended(task)) };
        if task.cancel_requested || to == task.state && task.state.outcome().is_some() {
            return Ok(CancelAnswer::Accepted(task));
        }
        let cancel = "UPDATE tasks SET status = $1, cancel_requested = 1, revision = revision + 1, finished_at = $2 \
                      WHERE seq = $3 AND status = $4 AND cancel_requested = 0 AND (started_at IS NOT NULL) = $5";
        let done = sqlx::query(cancel)
            .bind(to.status().as_str())
            .bind(to.outcome().map(|_| now.millis()))
            .bind(row.seq)
            .bind(task.state.status().as_str())
            .bind(task.started_at.is_some())
            .execute(&mut *db)
            .await?;
        if done.rows_affected() == 1 {
            let task = by_id(db, &id).await?.map(|row| row.task()).transpose()?;
            let answer = if to.outcome().is_some() { CancelAnswer::Cancelled } else { CancelAnswer::Accepted };
            return Ok(task.map_or(CancelAnswer::Missing, answer));
        }
        // It has moved on between the two.
    }
    Err(StoreError::Unavailable("the task moves too fast".into()))
}

pub(super) async fn delete(db: &mut PgConnection, id: TaskId) -> Result<DeleteAnswer, StoreError> {
    let delete = concat!(
        "WITH gone AS (DELETE FROM tasks WHERE id = $1 AND finished_at IS NOT NULL RETURNING id, created_at), \
         noted AS (INSERT INTO removals (id, removed_at) SELECT id, ",
        now!(),
        " FROM gone) SELECT created_at FROM gone"
    );
    if let Some(gone) = sqlx::query(delete).bind(id.as_str()).fetch_optional(&mut *db).await? {
        return Ok(DeleteAnswer::Deleted(Timestamp::from_millis(gone.number(0)?)));
    }
    let task = by_id(db, &id).await?.map(|row| row.task()).transpose()?;
    Ok(match task {
        // One that has ended just now is there for the next one who asks.
        Some(task) => DeleteAnswer::NotEnded(task.state.status()),
        None => DeleteAnswer::Missing,
    })
}
