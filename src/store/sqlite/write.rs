//! The steps that change something, each to be run inside the writer's transaction, on the writer's thread.
//!
//! The new status always comes from [`TaskState::on`], and the old one stands in the WHERE: a row that has moved on
//! meanwhile is left alone.

use rusqlite::{OptionalExtension, Row, named_params, params};

use super::columns::{RETURNING_TASK, task_row};
use super::db::Db;
use crate::domain::{ErrorCode, Intent, Json, Outcome, TaskEvent, TaskId, TaskState, Timestamp, WorkerId};
use crate::kill_point::kill_point;
use crate::store::row::{MOST_TOKENS, SELECT_LINE, SELECT_TASK, TaskRow, line, signed, unsigned};
use crate::store::{
    CancelAnswer, Claim, Claimed, DeleteAnswer, Fence, NewTask, Pending, Recorded, Recovered, Step, StoreError,
    Submitted, Which,
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
    db.queued_more(1);
    kill_point("submit-uncommitted");
    Ok(Submitted::Created(new.task(Timestamp::from_millis(created_at))))
}

pub(super) fn claim(db: &Db, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
    let (from, to) = (TaskState::NEW, TaskState::NEW.on(TaskEvent::Claimed)?);
    let mut claiming = db.prepare_cached(&claim_sql(&claim.which))?;
    let (status, now, limit) = (to.status().as_str(), claim.now.millis(), claim.limit);
    let (from, worker) = (from.status().as_str(), claim.worker.as_str());
    let mut rows: Vec<TaskRow> = match &claim.which {
        Which::One(id) => claiming
            .query_map(params![status, now, limit, from, worker, id.as_str()], task_row)?
            .collect::<Result<_, _>>()?,
        Which::Any | Which::Cancelled => {
            claiming.query_map(params![status, now, limit, from, worker], task_row)?.collect::<Result<_, _>>()?
        }
    };
    db.queued_less(rows.len());
    rows.sort_unstable_by_key(|row| row.seq);
    rows.iter().map(|row| claimed_task(db, row)).collect()
}

fn claim_sql(which: &Which) -> String {
    // Left to itself SQLite reads all that waits by its status, and sorts it, for each claim.
    let (only, index) = match which {
        Which::Any => ("", "tasks_queue"),
        Which::One(_) => ("AND id = ?6", "sqlite_autoindex_tasks_1"),
        Which::Cancelled => ("AND cancel_requested = 1", "tasks_cancelled"),
    };
    format!(
        "UPDATE tasks SET status = ?1, claim = claim + 1, attempt = attempt + 1, revision = revision + 1, \
         started_at = COALESCE(started_at, ?2), worker = ?5 \
         WHERE seq IN (SELECT seq FROM tasks INDEXED BY {index} WHERE status = 'queued' {only} ORDER BY priority DESC, seq LIMIT ?3) \
         AND status = ?4 {RETURNING_TASK}"
    )
}

fn claimed_task(db: &Db, row: &TaskRow) -> Result<Claimed, StoreError> {
    let task = row.task()?;
    let fence = Fence { id: task.id.clone(), seq: row.seq, claim: row.claim };
    let (mut pending, mut last_line, mut intent) = (None, None, None);
    // Most tasks have not begun yet.
    if task.iteration > 0 {
        let select = format!("{SELECT_LINE} WHERE i.seq = ? AND i.iteration = ?");
        let mut select = db.prepare_cached(&select)?;
        let mut rows = select.query(params![row.seq, task.iteration])?;
        let last = rows.next()?.ok_or_else(|| row.bad("iteration", &task.iteration))?;
        let (next, tool_ms): (Option<String>, Option<i64>) = (last.get(4)?, last.get(5)?);
        last_line = Some(line(last, task.id.as_str())?.line);
        if let Some(next) = next {
            let payload = Json::reread(&next).map_err(|error| row.bad("next", &error))?;
            pending = Some(Pending { payload, tool_ms: tool_ms.map(unsigned) });
        } else {
            // Of a call that was cut off.
            let stored: Option<String> =
                db.prepare_cached("SELECT intent FROM tasks WHERE seq = ?")?.query_row([row.seq], |row| row.get(0))?;
            intent = stored.map(|text| Intent::parse(&text).map_err(|error| row.bad("intent", &error))).transpose()?;
        }
    }
    Ok(Claimed { task, fence, pending, last_line, intent })
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

pub(super) fn hand_back(db: &Db, fence: &Fence) -> Result<(), StoreError> {
    let to = TaskState::Running.on(TaskEvent::HandedBack)?;
    let sql = "UPDATE tasks SET status = ?, attempt = attempt - 1, revision = revision + 1 \
               WHERE seq = ? AND status = ? AND claim = ?";
    let (status, running) = (to.status().as_str(), TaskState::Running.status().as_str());
    let done = db.prepare_cached(sql)?.execute(params![status, fence.seq, running, fence.claim])?;
    if done == 0 {
        return Err(StoreError::Lost(fence.id.clone()));
    }
    db.queued_more(done);
    Ok(())
}

/// Only one service has the file: what is another worker's was an earlier one's.
pub(super) fn recover(db: &Db, worker: &WorkerId, lost_limit: u32, now: Timestamp) -> Result<Recovered, StoreError> {
    let running = TaskState::Running.status().as_str();
    let to = TaskState::Running.on(TaskEvent::HandedBack)?;
    let sql = "UPDATE tasks SET status = ?1, losses = losses + 1, revision = revision + 1 \
               WHERE status = ?2 AND losses + 1 < ?3 AND worker IS NOT ?4";
    let worker = worker.as_str();
    let requeued = db.prepare_cached(sql)?.execute(params![to.status().as_str(), running, lost_limit, worker])?;
    db.queued_more(requeued);
    // What is left is not tried again. Who was told that it will be cancelled is not told otherwise.
    let message = format!("{lost_limit} workers have died over the task without a new iteration");
    let mut ended = [0, 0];
    for (cancelled, outcome) in [(true, Outcome::Cancelled), (false, Outcome::failed(ErrorCode::LostTooOften, message))]
    {
        let to = TaskState::Running.on(TaskEvent::Ended(outcome))?;
        let error = match to.outcome() {
            Some(Outcome::Failed(error)) => Some(error),
            _ => None,
        };
        let sql = "UPDATE tasks SET status = ?1, losses = losses + 1, revision = revision + 1, finished_at = ?2, \
                   error_code = ?3, error_message = ?4, intent = NULL \
                   WHERE status = ?5 AND cancel_requested = ?6 AND worker IS NOT ?7";
        ended[usize::from(cancelled)] = db.prepare_cached(sql)?.execute(params![
            to.status().as_str(),
            now.millis(),
            error.map(|error| error.code.as_str()),
            error.map(|error| error.message.as_str()),
            running,
            cancelled,
            worker,
        ])?;
    }
    let [given_up, cancelled] = ended;
    Ok(Recovered { requeued: requeued as u64, given_up: given_up as u64, cancelled: cancelled as u64 })
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_older_tables_had_begun_goes_on() {
        let mut db = Db::open(Path::new(":memory:")).unwrap();
        let migrate = |db: &mut Db, sql: &str| db.connection().execute_batch(sql).unwrap();
        for sql in [
            include_str!("../../../migrations/sqlite/0001_tasks.sql"),
            include_str!("../../../migrations/sqlite/0002_leases.sql"),
            include_str!("../../../migrations/sqlite/0003_removals.sql"),
            "INSERT INTO tasks (seq, id, priority, max_iterations, status, iteration, log_bytes, pending, pending_tool_ms, \
             created_at) VALUES (7, 'told', 0, 9, 'queued', 2, 8, '{\"a\":1}', 5, 0), (8, 'called', 0, 9, 'queued', 1, 4, NULL, NULL, 0)",
            "INSERT INTO posted (seq, body) VALUES (7, '{}'), (8, '{}')",
            "INSERT INTO iterations (seq, iteration, log_end, line) VALUES (7, 1, 4, 'one\n'), (7, 2, 8, 'two\n'), (8, 1, 4, 'one\n')",
            include_str!("../../../migrations/sqlite/0004_steps.sql"),
            include_str!("../../../migrations/sqlite/0005_cached_tokens.sql"),
            include_str!("../../../migrations/sqlite/0006_workers.sql"),
        ] {
            migrate(&mut db, sql);
        }
        let claimed =
            claim(&db, &Claim { worker: "w".into(), limit: 9, which: Which::Any, now: Timestamp::from_millis(1) })
                .unwrap();
        let [told, called] = claimed.as_slice() else { panic!("{claimed:?}") };
        let pending = told.pending.as_ref().map(|pending| (pending.payload.as_str(), pending.tool_ms));
        assert_eq!((pending, told.last_line.as_deref()), (Some(("{\"a\":1}", Some(5))), Some("two\n")));
        assert_eq!((&called.pending, called.last_line.as_deref()), (&None, Some("one\n")));
        let lines = super::super::read::lines(&db, &told.task.id, 0, 9).unwrap();
        assert_eq!(
            lines.iter().map(|line| (line.end, line.line.as_str())).collect::<Vec<_>>(),
            [(4, "one\n"), (8, "two\n")]
        );
    }

    #[test]
    fn a_claim_reads_no_more_of_the_queue_than_it_takes() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        for migration in [
            include_str!("../../../migrations/sqlite/0001_tasks.sql"),
            include_str!("../../../migrations/sqlite/0005_cached_tokens.sql"),
            include_str!("../../../migrations/sqlite/0006_workers.sql"),
        ] {
            db.execute_batch(migration).unwrap();
        }
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
