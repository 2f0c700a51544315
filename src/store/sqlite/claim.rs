//! How a worker gets tasks, gives them back, and takes up what another one left.

use rusqlite::params;

use super::columns::{RETURNING_TASK, task_row};
use super::db::Db;
use crate::domain::{ErrorCode, Intent, Json, Outcome, TaskEvent, TaskState, Timestamp, WorkerId};
use crate::store::row::{SELECT_LINE, TaskRow, line, unsigned};
use crate::store::{Claim, Claimed, Fence, Pending, Recovered, StoreError, Which};

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
        last_line = Some(line(last, 0, task.id.as_str())?.line);
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
            include_str!("../../../migrations/sqlite/0007_verdicts.sql"),
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
            include_str!("../../../migrations/sqlite/0007_verdicts.sql"),
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
