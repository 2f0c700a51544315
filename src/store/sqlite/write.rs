//! The steps that change something, each to be run inside the writer's transaction, on the writer's thread.
//!
//! The new status always comes from [`TaskState::on`], and the old one stands in the WHERE: a row that has moved on
//! meanwhile is left alone.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::row::{SELECT_TASK, TaskRow, signed, unsigned};
use crate::domain::{ErrorCode, Intent, Json, Outcome, TaskEvent, TaskId, TaskState, Timestamp};
use crate::kill_point::kill_point;
use crate::store::{
    CancelAnswer, Claim, Claimed, DeleteAnswer, Fence, NewTask, Pending, Recorded, Recovered, Step, StoreError,
    Submitted, Which,
};

type Db = Connection;

/// Where a sum of tokens stops: the largest whole number that every reader of JSON knows, 2^53.
const MOST_TOKENS: i64 = 1 << 53;

pub(super) fn submit(db: &Db, new: &NewTask) -> Result<Submitted, StoreError> {
    let mut known = db.prepare_cached(&format!("{SELECT_TASK} WHERE t.id = ?1 OR t.idempotency_key = ?2"))?;
    let known: Vec<TaskRow> =
        known.query_map(params![new.id.as_str(), new.idempotency_key], TaskRow::read)?.collect::<Result<_, _>>()?;
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
                db.prepare_cached(sql)?.execute(params![key, row.seq])?;
            }
            return Ok(Submitted::Known(task));
        }
        // The id is one task's and the key another's.
        _ => return Ok(Submitted::Conflict),
    }
    let count = "SELECT COUNT(*) FROM tasks WHERE status = 'queued'";
    let queued: u32 = db.prepare_cached(count)?.query_row([], |row| row.get(0))?;
    if queued >= new.max_queued {
        return Ok(Submitted::QueueFull);
    }
    // Of two that came at the same moment, or over a clock set back, the one listed as newer is never the older.
    let sql = "INSERT INTO tasks (id, idempotency_key, workspace, priority, max_iterations, deadline_ms, status, created_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, \
               MAX(?8, COALESCE((SELECT created_at FROM tasks ORDER BY seq DESC LIMIT 1), 0)))";
    let seq = db.prepare_cached(sql)?.insert(params![
        new.id.as_str(),
        new.idempotency_key,
        new.spec.workspace,
        new.spec.priority,
        new.spec.max_iterations,
        new.spec.deadline.map(|deadline| signed(crate::domain::millis(deadline))),
        TaskState::NEW.status().as_str(),
        new.now.millis(),
    ])?;
    db.prepare_cached("INSERT INTO posted (seq, body) VALUES (?, ?)")?
        .execute(params![seq, new.spec.posted.as_str()])?;
    kill_point("submit-uncommitted");
    Ok(Submitted::Created(by_seq(db, seq)?.task()?))
}

pub(super) fn claim(db: &Db, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
    let (from, to) = (TaskState::NEW, TaskState::NEW.on(TaskEvent::Claimed)?);
    let mut claiming = db.prepare_cached(&claim_sql(&claim.which))?;
    let (status, now, limit) = (to.status().as_str(), claim.now.millis(), claim.limit);
    let number = |row: &Row<'_>| row.get(0);
    let mut seqs: Vec<i64> = match &claim.which {
        Which::One(id) => claiming
            .query_map(params![status, now, limit, from.status().as_str(), id.as_str()], number)?
            .collect::<Result<_, _>>()?,
        Which::Any | Which::Cancelled => claiming
            .query_map(params![status, now, limit, from.status().as_str()], number)?
            .collect::<Result<_, _>>()?,
    };
    seqs.sort_unstable();
    seqs.into_iter().map(|seq| claimed_task(db, seq)).collect()
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

fn claimed_task(db: &Db, seq: i64) -> Result<Claimed, StoreError> {
    let row = by_seq(db, seq)?;
    let task = row.task()?;
    let last = "SELECT line FROM iterations WHERE seq = ? ORDER BY iteration DESC LIMIT 1";
    let last_line = db.prepare_cached(last)?.query_row([seq], |row| row.get(0)).optional()?;
    let (pending, tool_ms, intent): (Option<String>, Option<i64>, Option<String>) = db
        .prepare_cached("SELECT pending, pending_tool_ms, intent FROM tasks WHERE seq = ?")?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
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

pub(super) fn record(db: &Db, fence: &Fence, step: &Step) -> Result<Recorded, StoreError> {
    let state = match &step.end {
        // Who was told that the task will be cancelled is not told otherwise later, even if it ends at this moment.
        Some(_) if is_cancelled(db, fence)? => TaskState::Running.on(TaskEvent::Ended(Outcome::Cancelled))?,
        Some(outcome) => TaskState::Running.on(TaskEvent::Ended(outcome.clone()))?,
        None => TaskState::Running,
    };
    let grown = step.line.as_ref().map_or(0, |line| line.len() as u64);
    let sql = "UPDATE tasks SET status = :status, iteration = :iteration, log_bytes = log_bytes + :grown, \
               pending = :pending, pending_tool_ms = :tool_ms, intent = :intent, \
               losses = CASE WHEN :iteration > iteration THEN 0 ELSE losses END, revision = revision + 1, \
               finished_at = :finished_at, summary = :summary, error_code = :code, error_message = :message, \
               prompt_tokens = CASE WHEN :prompt IS NULL THEN prompt_tokens \
               ELSE MIN(COALESCE(prompt_tokens, 0) + :prompt, :most) END, \
               completion_tokens = CASE WHEN :completion IS NULL THEN completion_tokens \
               ELSE MIN(COALESCE(completion_tokens, 0) + :completion, :most) END \
               WHERE id = :id AND status = :running AND claim = :claim RETURNING seq, log_bytes, cancel_requested";
    let (summary, error) = match state.outcome() {
        Some(Outcome::Succeeded { summary }) => (summary.as_deref(), None),
        Some(Outcome::Failed(error)) => (None, Some(error)),
        Some(Outcome::Cancelled) | None => (None, None),
    };
    let intent = step.intent.as_ref().map(Intent::to_json);
    let tokens = |count: u64| signed(count).min(MOST_TOKENS);
    let row: Option<(i64, i64, bool)> = db
        .prepare_cached(sql)?
        .query_row(
            named_params! {
                ":status": state.status().as_str(),
                ":iteration": step.iteration,
                ":grown": signed(grown),
                ":pending": step.pending.as_ref().map(|pending| pending.payload.as_str()),
                ":tool_ms": step.pending.as_ref().and_then(|pending| pending.tool_ms).map(signed),
                ":intent": intent.as_ref().map(Json::as_str),
                ":finished_at": state.outcome().map(|_| step.now.millis()),
                ":summary": summary,
                ":code": error.map(|error| error.code.as_str()),
                ":message": error.map(|error| error.message.as_str()),
                ":prompt": step.usage.map(|usage| tokens(usage.prompt_tokens)),
                ":completion": step.usage.map(|usage| tokens(usage.completion_tokens)),
                ":most": MOST_TOKENS,
                ":id": fence.id.as_str(),
                ":running": TaskState::Running.status().as_str(),
                ":claim": fence.claim,
            },
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let Some((seq, log_bytes, cancel_requested)) = row else { return Err(StoreError::Lost(fence.id.clone())) };
    if let Some(line) = &step.line {
        db.prepare_cached("INSERT INTO iterations (seq, iteration, log_end, line) VALUES (?, ?, ?, ?)")?
            .execute(params![seq, step.iteration, log_bytes, &**line])?;
    }
    Ok(Recorded { cancel_requested, log_bytes: unsigned(log_bytes) })
}

fn is_cancelled(db: &Db, fence: &Fence) -> Result<bool, StoreError> {
    let sql = "SELECT cancel_requested FROM tasks WHERE id = ? AND claim = ?";
    let found =
        db.prepare_cached(sql)?.query_row(params![fence.id.as_str(), fence.claim], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(false))
}

pub(super) fn hand_back(db: &Db, fence: &Fence) -> Result<(), StoreError> {
    let to = TaskState::Running.on(TaskEvent::HandedBack)?;
    let sql = "UPDATE tasks SET status = ?, attempt = attempt - 1, revision = revision + 1 \
               WHERE id = ? AND status = ? AND claim = ?";
    let (status, running) = (to.status().as_str(), TaskState::Running.status().as_str());
    let done = db.prepare_cached(sql)?.execute(params![status, fence.id.as_str(), running, fence.claim])?;
    if done == 0 { Err(StoreError::Lost(fence.id.clone())) } else { Ok(()) }
}

pub(super) fn recover(db: &Db, lost_limit: u32, now: Timestamp) -> Result<Recovered, StoreError> {
    let running = TaskState::Running.status().as_str();
    let to = TaskState::Running.on(TaskEvent::HandedBack)?;
    let sql = "UPDATE tasks SET status = ?1, losses = losses + 1, revision = revision + 1 \
               WHERE status = ?2 AND losses + 1 < ?3";
    let requeued = db.prepare(sql)?.execute(params![to.status().as_str(), running, lost_limit])?;
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
        given_up += db.prepare(sql)?.execute(params![
            to.status().as_str(),
            now.millis(),
            error.map(|error| error.code.as_str()),
            error.map(|error| error.message.as_str()),
            running,
            cancelled,
        ])?;
    }
    Ok(Recovered { requeued: requeued as u64, given_up: given_up as u64 })
}

pub(super) fn request_cancel(db: &Db, id: &TaskId, now: Timestamp) -> Result<CancelAnswer, StoreError> {
    let Some(row) = by_id(db, id)? else { return Ok(CancelAnswer::Missing) };
    let task = row.task()?;
    let Ok(to) = task.state.on(TaskEvent::CancelRequested) else { return Ok(CancelAnswer::Ended(task)) };
    if task.cancel_requested || to == task.state && task.state.outcome().is_some() {
        return Ok(CancelAnswer::Accepted(task));
    }
    let sql = "UPDATE tasks SET status = ?, cancel_requested = 1, revision = revision + 1, finished_at = ? \
               WHERE seq = ? AND status = ?";
    let finished = to.outcome().map(|_| now.millis());
    db.prepare_cached(sql)?.execute(params![to.status().as_str(), finished, row.seq, task.state.status().as_str()])?;
    Ok(CancelAnswer::Accepted(by_seq(db, row.seq)?.task()?))
}

pub(super) fn delete(db: &Db, id: &TaskId) -> Result<DeleteAnswer, StoreError> {
    let Some(row) = by_id(db, id)? else { return Ok(DeleteAnswer::Missing) };
    let state = row.task()?.state;
    if state.outcome().is_none() {
        return Ok(DeleteAnswer::NotEnded(state.status()));
    }
    db.prepare_cached("DELETE FROM tasks WHERE seq = ?")?.execute([row.seq])?;
    db.prepare_cached("INSERT INTO removals (id) VALUES (?) ON CONFLICT DO NOTHING")?.execute([id.as_str()])?;
    Ok(DeleteAnswer::Deleted)
}

pub(super) fn mark_removed(db: &Db, id: &TaskId) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM removals WHERE id = ?")?.execute([id.as_str()])?;
    Ok(())
}

pub(super) fn mark_filed(db: &Db, id: &TaskId) -> Result<bool, StoreError> {
    // No new revision: nothing that a user sees has changed.
    let sql = "UPDATE tasks SET filed = 1 WHERE id = ? AND finished_at IS NOT NULL";
    Ok(db.prepare_cached(sql)?.execute([id.as_str()])? == 1)
}

fn by_id(db: &Db, id: &TaskId) -> Result<Option<TaskRow>, StoreError> {
    let mut select = db.prepare_cached(&format!("{SELECT_TASK} WHERE t.id = ?"))?;
    Ok(select.query_row([id.as_str()], TaskRow::read).optional()?)
}

fn by_seq(db: &Db, seq: i64) -> Result<TaskRow, StoreError> {
    let mut select = db.prepare_cached(&format!("{SELECT_TASK} WHERE t.seq = ?"))?;
    Ok(select.query_row([seq], TaskRow::read)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_reads_no_more_of_the_queue_than_it_takes() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(include_str!("../../../migrations/sqlite/0001_tasks.sql")).unwrap();
        for (which, index) in [
            (Which::Any, "tasks_queue"),
            (Which::One("t".parse().unwrap()), "sqlite_autoindex_tasks_1"),
            (Which::Cancelled, "tasks_cancelled"),
        ] {
            let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {}", claim_sql(&which))).unwrap();
            let plan: Vec<String> = explain.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap();
            assert!(plan.iter().any(|step| step.contains(index)), "{plan:?}");
            assert!(
                which != Which::Any || !plan.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY")),
                "{plan:?}"
            );
        }
    }
}
