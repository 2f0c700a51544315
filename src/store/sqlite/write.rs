//! The steps that change something, each to be run inside the writer's transaction.
//!
//! The new status always comes from [`TaskState::on`], and the old one stands in the WHERE: a row that has moved on
//! meanwhile is left alone.

use sqlx::SqliteConnection;

use super::read;
use super::row::{SELECT_TASK, TaskRow, signed, unsigned};
use crate::domain::{ErrorCode, Intent, Json, Outcome, Task, TaskEvent, TaskId, TaskState, Timestamp};
use crate::kill_point::kill_point;
use crate::store::{
    CancelAnswer, Claim, Claimed, DeleteAnswer, Fence, NewTask, Pending, Recorded, Recovered, Step, StoreError,
    Submitted, Which,
};

type Db = SqliteConnection;

/// Where a sum of tokens stops: the largest whole number that every reader of JSON knows, 2^53.
const MOST_TOKENS: i64 = 1 << 53;

pub(super) async fn submit(db: &mut Db, new: &NewTask) -> Result<Submitted, StoreError> {
    let sql = format!("{SELECT_TASK} WHERE t.id = ?1 OR t.idempotency_key = ?2");
    let known: Vec<TaskRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(new.id.as_str())
        .bind(new.idempotency_key.as_deref())
        .fetch_all(&mut *db)
        .await?;
    match known.as_slice() {
        [] => {}
        [row] => {
            let task = row.task()?;
            if task.posted != new.spec.posted {
                return Ok(Submitted::Conflict);
            }
            if let Some(key) = &new.idempotency_key {
                // Known by its id, it answers to this key too from now on.
                let sql = "UPDATE tasks SET idempotency_key = ? WHERE seq = ? AND idempotency_key IS NULL";
                sqlx::query(sql).bind(key).bind(row.seq).execute(&mut *db).await?;
            }
            return Ok(Submitted::Known(task));
        }
        // The id is one task's and the key another's.
        _ => return Ok(Submitted::Conflict),
    }
    let queued: u32 =
        sqlx::query_scalar("SELECT COUNT(*) FROM tasks WHERE status = 'queued'").fetch_one(&mut *db).await?;
    if queued >= new.max_queued {
        return Ok(Submitted::QueueFull);
    }
    // Of two that came at the same moment, or over a clock set back, the one listed as newer is never the older.
    let sql = "INSERT INTO tasks (id, idempotency_key, workspace, priority, max_iterations, deadline_ms, status, created_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, \
               MAX(?8, COALESCE((SELECT created_at FROM tasks ORDER BY seq DESC LIMIT 1), 0)))";
    let done = sqlx::query(sql)
        .bind(new.id.as_str())
        .bind(new.idempotency_key.as_deref())
        .bind(new.spec.workspace.as_deref())
        .bind(new.spec.priority)
        .bind(new.spec.max_iterations)
        .bind(new.spec.deadline.map(|deadline| signed(crate::domain::millis(deadline))))
        .bind(TaskState::NEW.status().as_str())
        .bind(new.now.millis())
        .execute(&mut *db)
        .await?;
    sqlx::query("INSERT INTO posted (seq, body) VALUES (?, ?)")
        .bind(done.last_insert_rowid())
        .bind(new.spec.posted.as_str())
        .execute(&mut *db)
        .await?;
    kill_point("submit-uncommitted");
    Ok(Submitted::Created(must_exist(db, &new.id).await?.task()?))
}

pub(super) async fn claim(db: &mut Db, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
    let (from, to) = (TaskState::NEW, TaskState::NEW.on(TaskEvent::Claimed)?);
    let sql = claim_sql(&claim.which);
    let mut seqs: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(to.status().as_str())
        .bind(claim.now.millis())
        .bind(claim.limit)
        .bind(from.status().as_str())
        .bind(match &claim.which {
            Which::One(id) => Some(id.as_str()),
            Which::Any | Which::Cancelled => None,
        })
        .fetch_all(&mut *db)
        .await?;
    seqs.sort_unstable();
    let mut claimed = Vec::with_capacity(seqs.len());
    for seq in seqs {
        claimed.push(claimed_task(db, seq).await?);
    }
    Ok(claimed)
}

fn claim_sql(which: &Which) -> String {
    // Left to itself SQLite reads all that waits by its status, and sorts it, for each claim.
    let (only, index) = match which {
        Which::Any => ("", "tasks_queue"),
        Which::One(_) => ("AND id = ?5", "sqlite_autoindex_tasks_1"),
        Which::Cancelled => ("AND cancel_requested = 1", "tasks_cancelled"),
    };
    format!(
        "UPDATE tasks SET status = ?1, claim = claim + 1, attempt = attempt + 1, revision = revision + 1, \
         started_at = COALESCE(started_at, ?2) \
         WHERE seq IN (SELECT seq FROM tasks INDEXED BY {index} WHERE status = 'queued' {only} ORDER BY priority DESC, seq LIMIT ?3) \
         AND status = ?4 RETURNING seq"
    )
}

async fn claimed_task(db: &mut Db, seq: i64) -> Result<Claimed, StoreError> {
    let sql = format!("{SELECT_TASK} WHERE t.seq = ?");
    let row: TaskRow = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(seq).fetch_one(&mut *db).await?;
    let last = "SELECT line FROM iterations WHERE seq = ? ORDER BY iteration DESC LIMIT 1";
    let last_line = sqlx::query_scalar(last).bind(seq).fetch_optional(&mut *db).await?;
    let task = row.task()?;
    let (pending, tool_ms, intent): (Option<String>, Option<i64>, Option<String>) =
        sqlx::query_as("SELECT pending, pending_tool_ms, intent FROM tasks WHERE seq = ?")
            .bind(seq)
            .fetch_one(&mut *db)
            .await?;
    let intent = intent.map(|text| Intent::parse(&text).map_err(|error| row.bad("intent", &error))).transpose()?;
    let pending = match pending {
        Some(text) => {
            let payload = Json::reread(&text).map_err(|error| row.bad("pending", &error))?;
            Some(Pending { payload, tool_ms: tool_ms.map(unsigned) })
        }
        None => None,
    };
    Ok(Claimed { fence: Fence { id: task.id.clone(), claim: row.claim }, task, pending, last_line, intent })
}

pub(super) async fn record(db: &mut Db, fence: &Fence, step: &Step) -> Result<Recorded, StoreError> {
    let state = match &step.end {
        // Who was told that the task will be cancelled is not told otherwise later, even if it ends at this moment.
        Some(_) if is_cancelled(db, fence).await? => TaskState::Running.on(TaskEvent::Ended(Outcome::Cancelled))?,
        Some(outcome) => TaskState::Running.on(TaskEvent::Ended(outcome.clone()))?,
        None => TaskState::Running,
    };
    let grown = step.line.as_ref().map_or(0, |line| line.len() as u64);
    let sql = "UPDATE tasks SET status = ?1, iteration = ?2, log_bytes = log_bytes + ?3, pending = ?4, \
               pending_tool_ms = ?5, intent = ?16, losses = CASE WHEN ?2 > iteration THEN 0 ELSE losses END, revision = revision + 1, finished_at = ?6, summary = ?7, error_code = ?8, \
               error_message = ?9, \
               prompt_tokens = CASE WHEN ?10 IS NULL THEN prompt_tokens ELSE MIN(COALESCE(prompt_tokens, 0) + ?10, ?15) END, \
               completion_tokens = CASE WHEN ?11 IS NULL THEN completion_tokens ELSE MIN(COALESCE(completion_tokens, 0) + ?11, ?15) END \
               WHERE id = ?12 AND status = ?13 AND claim = ?14 RETURNING seq, log_bytes, cancel_requested";
    let (summary, error) = match state.outcome() {
        Some(Outcome::Succeeded { summary }) => (summary.as_deref(), None),
        Some(Outcome::Failed(error)) => (None, Some(error)),
        Some(Outcome::Cancelled) | None => (None, None),
    };
    let row: Option<(i64, i64, bool)> = sqlx::query_as(sql)
        .bind(state.status().as_str())
        .bind(step.iteration)
        .bind(signed(grown))
        .bind(step.pending.as_ref().map(|pending| pending.payload.as_str()))
        .bind(step.pending.as_ref().and_then(|pending| pending.tool_ms).map(signed))
        .bind(state.outcome().map(|_| step.now.millis()))
        .bind(summary)
        .bind(error.map(|error| error.code.as_str()))
        .bind(error.map(|error| error.message.as_str()))
        .bind(step.usage.map(|usage| signed(usage.prompt_tokens).min(MOST_TOKENS)))
        .bind(step.usage.map(|usage| signed(usage.completion_tokens).min(MOST_TOKENS)))
        .bind(fence.id.as_str())
        .bind(TaskState::Running.status().as_str())
        .bind(fence.claim)
        .bind(MOST_TOKENS)
        .bind(step.intent.as_ref().map(|intent| intent.to_json().to_string()))
        .fetch_optional(&mut *db)
        .await?;
    let Some((seq, log_bytes, cancel_requested)) = row else { return Err(StoreError::Lost(fence.id.clone())) };
    if let Some(line) = &step.line {
        sqlx::query("INSERT INTO iterations (seq, iteration, log_end, line) VALUES (?, ?, ?, ?)")
            .bind(seq)
            .bind(step.iteration)
            .bind(log_bytes)
            .bind(&**line)
            .execute(&mut *db)
            .await?;
    }
    Ok(Recorded { cancel_requested, log_bytes: unsigned(log_bytes) })
}

async fn is_cancelled(db: &mut Db, fence: &Fence) -> Result<bool, StoreError> {
    let sql = "SELECT cancel_requested FROM tasks WHERE id = ? AND claim = ?";
    let found = sqlx::query_scalar(sql).bind(fence.id.as_str()).bind(fence.claim).fetch_optional(db).await?;
    Ok(found.unwrap_or(false))
}

pub(super) async fn hand_back(db: &mut Db, fence: &Fence) -> Result<(), StoreError> {
    let to = TaskState::Running.on(TaskEvent::HandedBack)?;
    let sql = "UPDATE tasks SET status = ?, attempt = attempt - 1, revision = revision + 1 \
               WHERE id = ? AND status = ? AND claim = ?";
    let done = sqlx::query(sql)
        .bind(to.status().as_str())
        .bind(fence.id.as_str())
        .bind(TaskState::Running.status().as_str())
        .bind(fence.claim)
        .execute(db)
        .await?;
    if done.rows_affected() == 0 { Err(StoreError::Lost(fence.id.clone())) } else { Ok(()) }
}

pub(super) async fn recover(db: &mut Db, lost_limit: u32, now: Timestamp) -> Result<Recovered, StoreError> {
    let running = TaskState::Running.status().as_str();
    let to = TaskState::Running.on(TaskEvent::HandedBack)?;
    let sql = "UPDATE tasks SET status = ?1, losses = losses + 1, revision = revision + 1 \
               WHERE status = ?2 AND losses + 1 < ?3";
    let requeued = sqlx::query(sql).bind(to.status().as_str()).bind(running).bind(lost_limit).execute(&mut *db).await?;
    // What is left is not tried again. Who was told that it will be cancelled is not told otherwise.
    let message = format!("{lost_limit} workers have died over the task without a new iteration");
    let mut given_up = 0;
    for (cancelled, outcome) in [(true, Outcome::Cancelled), (false, Outcome::failed(ErrorCode::LostTooOften, message))]
    {
        let to = TaskState::Running.on(TaskEvent::Ended(outcome))?;
        let error = match to.outcome() {
            Some(Outcome::Failed(error)) => Some(error),
            _ => None,
        };
        let sql = "UPDATE tasks SET status = ?1, losses = losses + 1, revision = revision + 1, finished_at = ?2, \
                   error_code = ?3, error_message = ?4, pending = NULL, pending_tool_ms = NULL, intent = NULL \
                   WHERE status = ?5 AND cancel_requested = ?6";
        let ended = sqlx::query(sql)
            .bind(to.status().as_str())
            .bind(now.millis())
            .bind(error.map(|error| error.code.as_str()))
            .bind(error.map(|error| error.message.as_str()))
            .bind(running)
            .bind(cancelled)
            .execute(&mut *db)
            .await?;
        given_up += ended.rows_affected();
    }
    Ok(Recovered { requeued: requeued.rows_affected(), given_up })
}

pub(super) async fn request_cancel(db: &mut Db, id: &TaskId, now: Timestamp) -> Result<CancelAnswer, StoreError> {
    let Some(row) = read::task_row(db, id).await? else { return Ok(CancelAnswer::Missing) };
    let task = row.task()?;
    let Ok(to) = task.state.on(TaskEvent::CancelRequested) else { return Ok(CancelAnswer::Ended(task)) };
    if task.cancel_requested || to == task.state && task.state.outcome().is_some() {
        return Ok(CancelAnswer::Accepted(task));
    }
    let sql = "UPDATE tasks SET status = ?, cancel_requested = 1, revision = revision + 1, finished_at = ? \
               WHERE seq = ? AND status = ?";
    sqlx::query(sql)
        .bind(to.status().as_str())
        .bind(to.outcome().map(|_| now.millis()))
        .bind(row.seq)
        .bind(task.state.status().as_str())
        .execute(&mut *db)
        .await?;
    Ok(CancelAnswer::Accepted(must_exist(db, id).await?.task()?))
}

pub(super) async fn delete(db: &mut Db, id: &TaskId) -> Result<DeleteAnswer, StoreError> {
    let Some(Task { state, .. }) = read::task(db, id).await? else { return Ok(DeleteAnswer::Missing) };
    if state.outcome().is_none() {
        return Ok(DeleteAnswer::NotEnded(state.status()));
    }
    sqlx::query("DELETE FROM tasks WHERE id = ?").bind(id.as_str()).execute(&mut *db).await?;
    sqlx::query("INSERT INTO removals (id) VALUES (?) ON CONFLICT DO NOTHING").bind(id.as_str()).execute(db).await?;
    Ok(DeleteAnswer::Deleted)
}

pub(super) async fn mark_removed(db: &mut Db, id: &TaskId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM removals WHERE id = ?").bind(id.as_str()).execute(db).await?;
    Ok(())
}

pub(super) async fn mark_filed(db: &mut Db, id: &TaskId) -> Result<(), StoreError> {
    // No new revision: nothing that a user sees has changed.
    let sql = "UPDATE tasks SET filed = 1 WHERE id = ? AND finished_at IS NOT NULL";
    sqlx::query(sql).bind(id.as_str()).execute(db).await?;
    Ok(())
}

/// The transaction around it is the test: it got the write lock.
#[expect(clippy::unused_async, reason = "has the shape of a write")]
pub(super) async fn ping(_db: &mut Db) -> Result<(), StoreError> {
    Ok(())
}

async fn must_exist(db: &mut Db, id: &TaskId) -> Result<TaskRow, StoreError> {
    let row = read::task_row(db, id).await?;
    row.ok_or_else(|| StoreError::Unavailable(sqlx::Error::RowNotFound))
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    #[tokio::test]
    async fn a_claim_reads_no_more_of_the_queue_than_it_takes() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::migrate!("migrations/sqlite").run(&mut db).await.unwrap();
        for (which, index) in [
            (Which::Any, "tasks_queue"),
            (Which::One("t".parse().unwrap()), "sqlite_autoindex_tasks_1"),
            (Which::Cancelled, "tasks_cancelled"),
        ] {
            let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", claim_sql(&which)));
            let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(sql).fetch_all(&mut db).await.unwrap();
            assert!(plan.iter().any(|(.., step)| step.contains(index)), "{plan:?}");
            assert!(
                which != Which::Any || !plan.iter().any(|(.., step)| step.contains("TEMP B-TREE FOR ORDER BY")),
                "{plan:?}"
            );
        }
    }
}
