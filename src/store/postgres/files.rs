//! What is known of files: which are complete, and which nobody wants any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::PgConnection;

use super::clock::now;
use super::read::ids;
use crate::domain::{TaskId, Timestamp};
use crate::store::StoreError;
use crate::store::row::{Columns, parse_id};

/// How long a removal is told of, in milliseconds: whoever is away for longer finds out otherwise, or never.
const TOLD: i64 = 24 * 60 * 60 * 1000;

/// Removals are numbered before they are committed: for so long, in milliseconds, one with a lower number may still come.
const SETTLED: i64 = 60 * 1000;

/// Removals forgotten at a time.
const FORGOTTEN: i64 = 100;

/// Which removals this process has dealt with.
#[derive(Default)]
pub(super) struct Removed {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// All up to here are done.
    settled: i64,
    /// Behind that, those that have been read, and whether they are done.
    open: BTreeMap<i64, (TaskId, bool)>,
}

impl Removed {
    pub(super) fn settled(&self) -> i64 {
        self.known().settled
    }

    pub(super) fn done(&self, id: &TaskId) {
        self.known().open.values_mut().filter(|(of, _)| of == id).for_each(|(_, done)| *done = true);
    }

    /// Takes in what was read, and says what of it is to be done. `old`: the last one that is long committed.
    fn take_in(&self, rows: Vec<(i64, TaskId)>, old: i64) -> Vec<TaskId> {
        let mut known = self.known();
        for (row, id) in rows {
            known.open.entry(row).or_insert((id, false));
        }
        while let Some(first) = known.open.first_entry().filter(|first| *first.key() <= old && first.get().1) {
            let row = *first.key();
            first.remove();
            known.settled = row;
        }
        let wanted: BTreeSet<_> = known.open.values().filter(|(_, done)| !done).map(|(id, _)| id.clone()).collect();
        wanted.into_iter().collect()
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
    // Those that are done and not settled are read again; there are few.
    let read =
        concat!("SELECT row, id, removed_at < ", now!(), " - $2 FROM removals WHERE row > $1 ORDER BY row LIMIT $3");
    let rows =
        sqlx::query(read).bind(removed.settled()).bind(SETTLED).bind(i64::from(limit).max(1024)).fetch_all(db).await?;
    let (mut read, mut old) = (Vec::with_capacity(rows.len()), 0);
    for row in &rows {
        let (number, is_old): (i64, bool) = (row.number(0)?, sqlx::Row::try_get(row, 2)?);
        if is_old {
            old = number;
        }
        read.push((number, parse_id(&row.text(1)?)?));
    }
    let mut wanted = removed.take_in(read, old);
    wanted.truncate(limit as usize);
    Ok(wanted)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_told_until_it_is_done_and_one_that_is_committed_late_is_not_missed() {
        let (removed, id) = (Removed::default(), |name: &str| name.parse::<TaskId>().unwrap());
        let told = |rows: &[(i64, &str)], old| {
            let rows = rows.iter().map(|(row, name)| (*row, id(name))).collect();
            removed.take_in(rows, old).iter().map(TaskId::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&[(1, "a"), (3, "c")], 0), ["a", "c"]);
        removed.done(&id("a"));
        removed.done(&id("c"));
        assert!(told(&[(1, "a"), (3, "c")], 1).is_empty());
        assert_eq!(removed.settled(), 1);
        // The second one comes late.
        assert_eq!(told(&[(2, "b"), (3, "c")], 1), ["b"]);
        removed.done(&id("b"));
        assert!(told(&[(2, "b"), (3, "c")], 3).is_empty());
        assert_eq!(removed.settled(), 3);
    }
}
