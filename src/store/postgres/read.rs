//! Questions to the tables; none of them changes anything.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::clock::now;
use super::sql;
use crate::domain::{Task, TaskId, Timestamp, WorkerId};
use crate::store::row::{Columns, SELECT_LINE, SELECT_TASK, TaskRow, count, line, parse_id, signed, unsigned};
use crate::store::{Fence, Stats, StoreError, StoredLine, WorkerStats};

/// The task's row, by its name.
pub(super) async fn by_id(db: &mut PgConnection, id: &TaskId) -> Result<Option<TaskRow>, StoreError> {
    let row = sql!("{SELECT_TASK} WHERE t.id = $1").bind(id.as_str()).fetch_optional(db).await?;
    Ok(row.map(|row| TaskRow::read(&row)).transpose()?)
}

pub(super) async fn task(db: &mut PgConnection, id: TaskId) -> Result<Option<Task>, StoreError> {
    by_id(db, &id).await?.map(|row| row.task()).transpose()
}

pub(super) async fn cancel_requests(db: &mut PgConnection, worker: WorkerId) -> Result<Vec<Fence>, StoreError> {
    // By the index of what is to be stopped: a planner that has not heard of any might go through all that runs.
    let asked = "SELECT id, seq, claim FROM tasks \
                 WHERE cancel_requested = 1 AND finished_at IS NULL AND worker = $1 AND status || '' = 'running'";
    let rows = sqlx::query(asked).bind(worker.as_str()).fetch_all(db).await?;
    readable(&rows, |row| Ok(Fence { id: parse_id(&row.text(0)?)?, seq: row.number(1)?, claim: row.number(2)? }))
}

/// Tasks whose files nobody has completed in the time that their last worker had for it.
pub(super) async fn unfiled(db: &mut PgConnection, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    let unfiled = concat!(
        "SELECT id FROM tasks WHERE filed = 0 AND finished_at IS NOT NULL AND (lease_until IS NULL OR lease_until < ",
        now!(),
        ") ORDER BY seq LIMIT $1"
    );
    ids(&sqlx::query(unfiled).bind(i64::from(limit)).fetch_all(db).await?)
}

pub(super) async fn expired(db: &mut PgConnection, before: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    let expired = "SELECT id FROM tasks WHERE finished_at < $1 AND filed = 1 ORDER BY finished_at LIMIT $2";
    ids(&sqlx::query(expired).bind(before.millis()).bind(i64::from(limit)).fetch_all(db).await?)
}

/// What can be read of these rows. What cannot is left out and told of, so that the others are dealt with.
pub(super) fn readable<T>(
    rows: &[PgRow],
    read: impl Fn(&PgRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut readable = Vec::with_capacity(rows.len());
    for row in rows {
        match read(row) {
            Ok(good) => readable.push(good),
            Err(error @ StoreError::BadRow { .. }) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a row is left out");
            }
            Err(other) => return Err(other),
        }
    }
    Ok(readable)
}

/// The names in these rows.
pub(super) fn ids(rows: &[PgRow]) -> Result<Vec<TaskId>, StoreError> {
    readable(rows, |row| parse_id(&row.text(0)?))
}

pub(super) async fn lines(
    db: &mut PgConnection,
    id: TaskId,
    from: u64,
    limit: u32,
) -> Result<Vec<StoredLine>, StoreError> {
    let lines = sql!(
        "{SELECT_LINE} WHERE i.seq = (SELECT seq FROM tasks WHERE id = $1) AND i.log_end > $2 ORDER BY i.iteration LIMIT $3"
    );
    let rows = lines.bind(id.as_str()).bind(signed(from)).bind(i64::from(limit)).fetch_all(db).await?;
    rows.iter().map(|row| line(row, 0, id.as_str())).collect()
}

pub(super) async fn offset_after(db: &mut PgConnection, id: TaskId, iteration: u32) -> Result<u64, StoreError> {
    // Iterations have no gaps: the last one up to there is where the record ends, if it is not that long.
    let end = "SELECT log_end FROM iterations WHERE seq = (SELECT seq FROM tasks WHERE id = $1) AND iteration <= $2 \
               ORDER BY iteration DESC LIMIT 1";
    let row = sqlx::query(end).bind(id.as_str()).bind(i64::from(iteration)).fetch_optional(db).await?;
    Ok(row.map(|row| row.number(0)).transpose()?.map_or(0, unsigned))
}

/// Whether it can be written to: a standby cannot, and a database may be set not to be.
pub(super) async fn ping(db: &mut PgConnection) -> Result<(), StoreError> {
    let read_only = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, \
                     (SELECT 1 FROM tasks ORDER BY seq LIMIT 1)";
    let read_only: bool = sqlx::query(read_only).fetch_one(db).await?.try_get(0)?;
    if read_only { Err(StoreError::Unavailable("the server takes no writes".into())) } else { Ok(()) }
}

/// What clients, brains and commands say may have any character in it.
pub(super) async fn refuse_encoding(db: &mut PgConnection) -> Result<(), StoreError> {
    let encoding = sqlx::query("SHOW server_encoding").fetch_one(db).await?.text(0)?;
    if encoding == "UTF8" {
        Ok(())
    } else {
        Err(StoreError::Open(format!("its encoding is {encoding}, and has to be UTF8").into()))
    }
}

/// The server's time.
pub(super) async fn time(db: &mut PgConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query(concat!("SELECT ", now!())).fetch_one(db).await?.number(0)?)
}

/// The revisions of those that are there.
pub(super) async fn revisions(db: &mut PgConnection, ids: Vec<String>) -> Result<Vec<(TaskId, i64)>, StoreError> {
    let rows = sqlx::query("SELECT id, revision FROM tasks WHERE id = ANY($1)").bind(ids).fetch_all(db).await?;
    rows.iter().map(|row| Ok((parse_id(&row.text(0)?)?, row.number(1)?))).collect()
}

/// How many tasks wait.
pub(super) async fn queued(db: &mut PgConnection) -> Result<u32, StoreError> {
    let queued = sqlx::query("SELECT COUNT(*) FROM tasks WHERE status = 'queued'").fetch_one(db).await?;
    Ok(count(queued.number(0)?))
}

pub(super) async fn stats(db: &mut PgConnection, lease: i64) -> Result<Stats, StoreError> {
    // Each from an index that has only these, or that begins with these; the oldest as in a list, so that what has ended
    // before it is not gone through.
    let tasks = "SELECT (SELECT COUNT(*) FROM tasks WHERE status = 'queued'), \
                 (SELECT COUNT(*) FROM tasks WHERE status = 'running'), \
                 (SELECT created_at FROM tasks WHERE (status, seq) > ('queued', 0) AND status <= 'queued' \
                     ORDER BY status, seq LIMIT 1)";
    let tasks = sqlx::query(tasks).fetch_one(&mut *db).await?;
    // What runs is gone through once, and not once for each worker.
    let workers = concat!(
        "SELECT id, capacity, started_at, seen_at, COALESCE(running, 0) FROM workers LEFT JOIN ( \
             SELECT worker, COUNT(*) AS running FROM tasks WHERE status = 'running' GROUP BY worker) of ON of.worker = id \
         WHERE seen_at >= ",
        now!(),
        " - $1 ORDER BY id"
    );
    let workers = sqlx::query(workers).bind(lease).fetch_all(db).await?;
    let worker = |row: &PgRow| -> Result<_, StoreError> {
        Ok(WorkerStats {
            id: row.text(0)?.as_str().into(),
            capacity: count(row.number(1)?),
            running: unsigned(row.number(4)?),
            started_at: Timestamp::from_millis(row.number(2)?),
            seen_at: Timestamp::from_millis(row.number(3)?),
        })
    };
    Ok(Stats {
        queued: unsigned(tasks.number(0)?),
        running: unsigned(tasks.number(1)?),
        oldest: tasks.maybe_number(2)?.map(Timestamp::from_millis),
        workers: workers.iter().map(worker).collect::<Result<_, _>>()?,
    })
}
