//! Questions to the tables; none of them changes anything.

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::columns::task_row;
use crate::domain::{Task, TaskId, Timestamp, WorkerId};
use crate::store::row::{SELECT_LINE, SELECT_TASK, line, parse_id, signed, unsigned};
use crate::store::{Fence, Stats, StoreError, StoredLine};

pub(super) fn task(db: &Connection, id: &TaskId) -> Result<Option<Task>, StoreError> {
    let mut select = db.prepare_cached(&format!("{SELECT_TASK} WHERE id = ?"))?;
    select.query_row([id.as_str()], task_row).optional()?.map(|row| row.task()).transpose()
}

pub(super) fn cancel_requests(db: &Connection, worker: &WorkerId) -> Result<Vec<Fence>, StoreError> {
    let sql = "SELECT id, seq, claim FROM tasks WHERE status = 'running' AND cancel_requested = 1 AND worker = ?";
    let mut select = db.prepare_cached(sql)?;
    let rows = select.query_map([worker.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    rows.map(|row| {
        let (id, seq, claim) = row?;
        Ok(Fence { id: parse_id(&id)?, seq, claim })
    })
    .collect()
}

/// What the tables tell; of workers they know nothing.
pub(super) fn stats(db: &Connection) -> Result<Stats, StoreError> {
    // Each from an index that has only these, or that begins with these.
    let counted = |sql| db.prepare_cached(sql)?.query_row([], |row| row.get(0)).map(unsigned);
    let oldest = "SELECT created_at FROM tasks INDEXED BY tasks_by_status WHERE status = 'queued' ORDER BY seq LIMIT 1";
    let oldest: Option<i64> = db.prepare_cached(oldest)?.query_row([], |row| row.get(0)).optional()?;
    Ok(Stats {
        queued: counted("SELECT COUNT(*) FROM tasks INDEXED BY tasks_queue WHERE status = 'queued'")?,
        running: counted("SELECT COUNT(*) FROM tasks INDEXED BY tasks_running WHERE status = 'running'")?,
        oldest: oldest.map(Timestamp::from_millis),
        workers: Vec::new(),
    })
}

pub(super) fn unfiled(db: &Connection, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    ids(db, "SELECT id FROM tasks WHERE filed = 0 AND finished_at IS NOT NULL ORDER BY seq LIMIT ?", [limit])
}

pub(super) fn expired(db: &Connection, before: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    let sql = "SELECT id FROM tasks INDEXED BY tasks_finished WHERE finished_at < ? AND filed = 1 \
               ORDER BY finished_at LIMIT ?";
    ids(db, sql, params![before.millis(), limit])
}

pub(super) fn removals(db: &Connection, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    ids(db, "SELECT id FROM removals LIMIT ?", [limit])
}

fn ids(db: &Connection, sql: &str, values: impl Params) -> Result<Vec<TaskId>, StoreError> {
    let mut select = db.prepare_cached(sql)?;
    let rows = select.query_map(values, |row| row.get::<_, String>(0))?;
    rows.map(|id| parse_id(&id?)).collect()
}

pub(super) fn lines(db: &Connection, id: &TaskId, from: u64, limit: u32) -> Result<Vec<StoredLine>, StoreError> {
    let sql = format!(
        "{SELECT_LINE} WHERE i.seq = (SELECT seq FROM tasks WHERE id = ?) AND i.log_end > ? ORDER BY i.iteration LIMIT ?"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(params![id.as_str(), signed(from), limit])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(line(row, 0, id.as_str())?);
    }
    Ok(lines)
}

pub(super) fn offset_after(db: &Connection, id: &TaskId, iteration: u32) -> Result<u64, StoreError> {
    // Iterations have no gaps: the last one up to there is where the record ends, if it is not that long.
    let sql = "SELECT log_end FROM iterations WHERE seq = (SELECT seq FROM tasks WHERE id = ?) AND iteration <= ? \
               ORDER BY iteration DESC LIMIT 1";
    let end = db.prepare_cached(sql)?.query_row(params![id.as_str(), iteration], |row| row.get(0)).optional()?;
    Ok(end.map_or(0, unsigned))
}

pub(super) fn ping(db: &Connection) -> Result<(), StoreError> {
    db.prepare_cached("SELECT 1 FROM tasks LIMIT 1")?.query_row([], |_| Ok(())).optional()?;
    Ok(())
}
