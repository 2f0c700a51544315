//! What is known of files: which are complete, and which nobody wants any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::clock::now;
use super::read::{ids, readable};
use crate::domain::{TaskId, Timestamp};
use crate::store::StoreError;
use crate::store::row::{Columns, parse_id};

/// How long a removal is told of, in milliseconds: whoever is away for longer keeps the files.
const TOLD: i64 = 24 * 60 * 60 * 1000;

/// Removals forgotten at a time.
const FORGOTTEN: i64 = 100;

/// Removals read ahead of what is done.
const AHEAD: usize = 4096;

/// Which removals this process has dealt with.
#[derive(Default)]
pub(super) struct Removed {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The place behind which nothing has been read: the transaction that removed, and the row.
    read: (i64, i64),
    /// What has been read and is not done, in order.
    open: BTreeMap<(i64, i64), TaskId>,
}

impl Removed {
    pub(super) fn done(&self, id: &TaskId) {
        self.known().open.retain(|_, open| open != id);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic cannot leave it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn removals(db: &mut PgConnection, limit: u32, removed: &Removed) -> Result<Vec<TaskId>, StoreError> {
    let forget = concat!(
        "DELETE FROM removals WHERE row IN ( \
             SELECT row FROM (SELECT row, removed_at FROM removals ORDER BY row LIMIT $1) first WHERE removed_at < ",
        now!(),
        " - $2)"
    );
    sqlx::query(forget).bind(FORGOTTEN).bind(TOLD).execute(&mut *db).await?;
    let ((transaction, row), ahead) = {
        let known = removed.known();
        (known.read, AHEAD.saturating_sub(known.open.len()))
    };
    // Numbers are given before the commit, so that a lower one may come later. Of transactions before the first that is
    // still open nothing comes any more.
    let read = "SELECT transaction::text::bigint, row, id FROM removals \
                WHERE (transaction, row) > ($1::text::xid8, $2) AND transaction < pg_snapshot_xmin(pg_current_snapshot()) \
                ORDER BY transaction, row LIMIT $3";
    let rows = sqlx::query(read)
        .bind(transaction.to_string())
        .bind(row)
        .bind(i64::from(limit).min(i64::try_from(ahead).unwrap_or(i64::MAX)))
        .fetch_all(db)
        .await?;
    let mut known = removed.known();
    let place = |row: &PgRow| -> Result<(i64, i64), StoreError> { Ok((row.number(0)?, row.number(1)?)) };
    known.open.extend(readable(&rows, |row| Ok((place(row)?, parse_id(&row.text(2)?)?)))?);
    if let Some(last) = rows.last() {
        known.read = place(last)?;
    }
    // A name may have been given anew and deleted again.
    let wanted: BTreeSet<_> = known.open.values().take(limit as usize).cloned().collect();
    Ok(wanted.into_iter().collect())
}

/// Which of the names no task has.
pub(super) async fn mark_filed(
    db: &mut PgConnection,
    mut ended: Vec<(TaskId, Timestamp)>,
) -> Result<Vec<TaskId>, StoreError> {
    // In one order, so that two workers do not wait for each other.
    ended.sort_unstable();
    let (names, lives): (Vec<String>, Vec<i64>) =
        ended.iter().map(|(id, life)| (id.as_str().to_owned(), life.millis())).unzip();
    // No new revision: nothing that a user sees has changed.
    let mark = "WITH known AS MATERIALIZED ( \
                    SELECT t.seq FROM tasks t JOIN UNNEST($1::text[], $2::bigint[]) e (id, life) \
                    ON t.id = e.id AND t.created_at = e.life WHERE t.finished_at IS NOT NULL AND t.filed = 0 ORDER BY t.seq FOR UPDATE OF t) \
                UPDATE tasks SET filed = 1 WHERE seq = ANY(ARRAY(SELECT seq FROM known))";
    sqlx::query(mark).bind(&names).bind(&lives).execute(&mut *db).await?;
    let missing = "SELECT DISTINCT e.id FROM UNNEST($1::text[]) e (id) WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = e.id)";
    ids(&sqlx::query(missing).bind(&names).fetch_all(db).await?)
}
