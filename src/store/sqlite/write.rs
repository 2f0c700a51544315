//! The steps that change something, each to be run inside the writer's transaction, on the writer's thread.
//!
//! The new status always comes from [`TaskState::on`], and the old one stands in the WHERE: a row that has moved on
//! meanwhile is left alone.

use rusqlite::{OptionalExtension, Row, named_params, params};

use super::columns::task_row;
use super::db::Db;
use crate::domain::{Intent, Json, Outcome, TaskEvent, TaskId, TaskState, Timestamp, Verdict, VerdictOutcome};
use crate::kill_point::kill_point;
use crate::store::row::{MOST_TOKENS, SELECT_TASK, TaskRow, signed, unsigned};
use crate::store::{
    CancelAnswer, DeleteAnswer, Fence, LabelAnswer, NewTask, Recorded, Step, StoreError, Submitted, words,
};

pub(super) fn submit(db: &Db, new: &NewTask) -> Result<Submitted, StoreError> {
    let mut known = db.prepare_cached(&format!("{SELECT_TASK} WHERE t.id = ?1 OR t.idempotency_key = ?2"))?;
    let known: Vec<TaskRow> =
        known.query_map(params![new.id.as_str(), new.idempotency_key], task_row)?.collect::<Result<_, _>>()?;
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
    if db.queued()? >= new.max_queued {
        return Ok(Submitted::QueueFull);
    }
    // Of two that came at the same moment, or over a clock set back, the one listed as newer is never the older.
    let sql = "INSERT INTO tasks (id, idempotency_key, workspace, priority, max_iterations, deadline_ms, status, created_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, \
               MAX(?8, COALESCE((SELECT created_at FROM tasks ORDER BY seq DESC LIMIT 1), 0))) RETURNING seq, created_at";
    let values = params![
        new.id.as_str(),
        new.idempotency_key,
        new.spec.workspace,
        new.spec.priority,
        new.spec.max_iterations,
        new.spec.deadline.map(|deadline| signed(crate::domain::millis(deadline))),
        TaskState::NEW.status().as_str(),
        new.now.millis(),
    ];
    let (seq, created_at): (i64, i64) =
        db.prepare_cached(sql)?.query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
    db.prepare_cached("INSERT INTO posted (seq, body) VALUES (?, ?)")?
        .execute(params![seq, new.spec.posted.as_str()])?;
    super::words::add(db, seq, &words::of(&new.spec.labels, new.spec.workspace.as_deref()))?;
    db.queued_more(1);
    kill_point("submit-uncommitted");
    Ok(Submitted::Created(new.task(Timestamp::from_millis(created_at))))
}

pub(super) fn record(db: &Db, fence: &Fence, step: &Step) -> Result<Recorded, StoreError> {
    let recorded = match &step.end {
        Some(outcome) => end(db, fence, step, outcome)?,
        None if step.line.is_some() || step.intent.is_some() => go_on(db, fence, step)?,
        None => hold(db, fence, step)?,
    };
    let (next, tool_ms) = match &step.pending {
        Some(pending) => (Some(pending.payload.as_str()), pending.tool_ms.map(signed)),
        None => (None, None),
    };
    if let Some(line) = &step.line {
        let sql = "INSERT INTO iterations (seq, iteration, log_end, line, cut, next, next_tool_ms) \
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        let (text, cut) = line.without_payload();
        let cut = cut.map(|cut| signed(cut as u64));
        let log_end = signed(recorded.log_bytes);
        db.prepare_cached(sql)?.execute(params![fence.seq, step.iteration, log_end, text, cut, next, tool_ms])?;
    } else if next.is_some() {
        let sql = "UPDATE iterations SET next = ?, next_tool_ms = ? WHERE seq = ? AND iteration = ?";
        db.prepare_cached(sql)?.execute(params![next, tool_ms, fence.seq, step.iteration])?;
    }
    Ok(recorded)
}

/// The task goes on: no index knows of what changes.
fn go_on(db: &Db, fence: &Fence, step: &Step) -> Result<Recorded, StoreError> {
    let sql = "UPDATE tasks SET iteration = :iteration, log_bytes = log_bytes + :grown, intent = :intent, \
               losses = CASE WHEN :iteration > iteration THEN 0 ELSE losses END, revision = revision + 1 \
               WHERE seq = :seq AND status = 'running' AND claim = :claim AND iteration = :before \
               RETURNING log_bytes, cancel_requested";
    let intent = step.intent.as_ref().map(Intent::to_json);
    let values = named_params! {
        ":iteration": step.iteration,
        ":before": step.before(),
        ":grown": signed(step.grown()),
        ":intent": intent.as_ref().map(Json::as_str),
        ":seq": fence.seq,
        ":claim": fence.claim,
    };
    let row: Option<(i64, bool)> =
        db.prepare_cached(sql)?.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((log_bytes, cancel_requested)) = row else { return Err(StoreError::Lost(fence.id.clone())) };
    add_usage(db, fence, step)?;
    Ok(Recorded { cancel_requested, log_bytes: unsigned(log_bytes), ended: None })
}

/// Nothing changes that the task's own row tells of. An intent that is left there belongs to a call whose result is on
/// record now, and is not asked for any more.
fn hold(db: &Db, fence: &Fence, step: &Step) -> Result<Recorded, StoreError> {
    let sql = "SELECT log_bytes, cancel_requested FROM tasks \
               WHERE seq = ? AND status = 'running' AND claim = ? AND iteration = ?";
    let held =
        |row: &Row<'_>| Ok(Recorded { log_bytes: unsigned(row.get(0)?), cancel_requested: row.get(1)?, ended: None });
    let held = db.prepare_cached(sql)?.query_row(params![fence.seq, fence.claim, step.before()], held).optional()?;
    held.ok_or_else(|| StoreError::Lost(fence.id.clone()))
}

fn end(db: &Db, fence: &Fence, step: &Step, outcome: &Outcome) -> Result<Recorded, StoreError> {
    // Who was told that the task will be cancelled is not told otherwise later, even if it ends at this moment.
    let outcome = if is_cancelled(db, fence)? { Outcome::Cancelled } else { outcome.clone() };
    let state = TaskState::Running.on(TaskEvent::Ended(outcome))?;
    let (summary, error) = match state.outcome() {
        Some(Outcome::Succeeded { summary }) => (summary.as_deref(), None),
        Some(Outcome::Failed(error)) => (None, Some(error)),
        Some(Outcome::Cancelled) | None => (None, None),
    };
    let sql = "UPDATE tasks SET status = :status, iteration = :iteration, log_bytes = log_bytes + :grown, intent = NULL, \
               losses = CASE WHEN :iteration > iteration THEN 0 ELSE losses END, revision = revision + 1, \
               finished_at = :finished_at, summary = :summary, error_code = :code, error_message = :message \
               WHERE seq = :seq AND status = 'running' AND claim = :claim AND iteration = :before";
    let changed = db.prepare_cached(sql)?.execute(named_params! {
        ":status": state.status().as_str(),
        ":iteration": step.iteration,
        ":before": step.before(),
        ":grown": signed(step.grown()),
        ":finished_at": step.now.millis(),
        ":summary": summary,
        ":code": error.map(|error| error.code.as_str()),
        ":message": error.map(|error| error.message.as_str()),
        ":seq": fence.seq,
        ":claim": fence.claim,
    })?;
    if changed == 0 {
        return Err(StoreError::Lost(fence.id.clone()));
    }
    add_usage(db, fence, step)?;
    let task = by_seq(db, fence.seq)?.task()?;
    Ok(Recorded { cancel_requested: task.cancel_requested, log_bytes: task.log_bytes, ended: Some(Box::new(task)) })
}

/// Most brains tell of no tokens.
fn add_usage(db: &Db, fence: &Fence, step: &Step) -> Result<(), StoreError> {
    let Some(usage) = step.usage else { return Ok(()) };
    let sql = "UPDATE tasks SET prompt_tokens = MIN(COALESCE(prompt_tokens, 0) + ?1, ?3), \
               completion_tokens = MIN(COALESCE(completion_tokens, 0) + ?2, ?3), \
               cached_tokens = CASE WHEN ?5 IS NULL THEN cached_tokens ELSE MIN(COALESCE(cached_tokens, 0) + ?5, ?3) END \
               WHERE seq = ?4";
    let tokens = |count: u64| signed(count).min(MOST_TOKENS);
    let (prompt, completion) = (tokens(usage.prompt_tokens), tokens(usage.completion_tokens));
    let values = params![prompt, completion, MOST_TOKENS, fence.seq, usage.cached_tokens.map(tokens)];
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn is_cancelled(db: &Db, fence: &Fence) -> Result<bool, StoreError> {
    let sql = "SELECT cancel_requested FROM tasks WHERE seq = ? AND claim = ?";
    let found = db.prepare_cached(sql)?.query_row(params![fence.seq, fence.claim], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(false))
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
    if matches!(task.state, TaskState::Queued { .. }) && to.outcome().is_some() {
        db.queued_less(1);
    }
    db.prepare_cached(sql)?.execute(params![to.status().as_str(), finished, row.seq, task.state.status().as_str()])?;
    let task = by_seq(db, row.seq)?.task()?;
    Ok(if finished.is_some() { CancelAnswer::Cancelled(task) } else { CancelAnswer::Accepted(task) })
}

pub(super) fn label(db: &Db, id: &TaskId, verdict: &Verdict) -> Result<LabelAnswer, StoreError> {
    let Some(row) = by_id(db, id)? else { return Ok(LabelAnswer::Missing) };
    let task = row.task()?;
    if !task.has_ended() {
        return Ok(LabelAnswer::NotEnded(task.state.status()));
    }
    if task.verdict.as_ref().is_some_and(|known| verdict.says_as(known)) {
        return Ok(LabelAnswer::Labelled(Box::new(task)));
    }
    let sql =
        "UPDATE tasks SET verdict = ?, reward = ?, note = ?, labelled_at = ?, revision = revision + 1 WHERE seq = ?";
    let outcome = verdict.outcome.map(VerdictOutcome::as_str);
    let values = params![outcome, verdict.reward, verdict.note, verdict.at.millis(), row.seq];
    db.prepare_cached(sql)?.execute(values)?;
    Ok(LabelAnswer::Labelled(Box::new(by_seq(db, row.seq)?.task()?)))
}

pub(super) fn delete(db: &Db, id: &TaskId) -> Result<DeleteAnswer, StoreError> {
    let Some(row) = by_id(db, id)? else { return Ok(DeleteAnswer::Missing) };
    let task = row.task()?;
    if !task.has_ended() {
        return Ok(DeleteAnswer::NotEnded(task.state.status()));
    }
    db.prepare_cached("DELETE FROM tasks WHERE seq = ?")?.execute([row.seq])?;
    db.prepare_cached("INSERT INTO removals (id) VALUES (?) ON CONFLICT DO NOTHING")?.execute([id.as_str()])?;
    Ok(DeleteAnswer::Deleted(task.created_at))
}

pub(super) fn mark_removed(db: &Db, id: &TaskId) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM removals WHERE id = ?")?.execute([id.as_str()])?;
    Ok(())
}

/// Which of the names no task has.
pub(super) fn mark_filed(db: &Db, ended: &[(TaskId, Timestamp)]) -> Result<Vec<TaskId>, StoreError> {
    // No new revision: nothing that a user sees has changed.
    let sql = "UPDATE tasks SET filed = 1 WHERE id = ? AND created_at = ? AND finished_at IS NOT NULL";
    let mut filed = db.prepare_cached(sql)?;
    let mut named = db.prepare_cached("SELECT 1 FROM tasks WHERE id = ?")?;
    let mut missing = Vec::new();
    for (id, life) in ended {
        if filed.execute(params![id.as_str(), life.millis()])? == 0 && !named.exists([id.as_str()])? {
            missing.push(id.clone());
        }
    }
    Ok(missing)
}

fn by_id(db: &Db, id: &TaskId) -> Result<Option<TaskRow>, StoreError> {
    let mut select = db.prepare_cached(&format!("{SELECT_TASK} WHERE t.id = ?"))?;
    Ok(select.query_row([id.as_str()], task_row).optional()?)
}

fn by_seq(db: &Db, seq: i64) -> Result<TaskRow, StoreError> {
    let mut select = db.prepare_cached(&format!("{SELECT_TASK} WHERE t.seq = ?"))?;
    Ok(select.query_row([seq], task_row)?)
}
