//! What one worker at a time does at set times. Whatever a worker takes the time for, the server's clock counts.

use sqlx::PgConnection;

use super::clock::now;
use super::sql;
use crate::domain::Timestamp;
use crate::store::row::Columns;
use crate::store::{Chore, StoreError};

pub(super) async fn begin(db: &mut PgConnection, chore: Chore, lease: i64) -> Result<bool, StoreError> {
    let now = now!();
    let begin = sql!(
        "INSERT INTO chores AS c (name, slot, worker, until) VALUES ($1, $2, $3, {now} + $4) \
         ON CONFLICT (name) DO UPDATE SET slot = excluded.slot, worker = excluded.worker, until = excluded.until \
         WHERE (c.done IS NULL OR c.done < excluded.slot) \
             AND (c.worker IS NULL OR c.until <= {now} OR (c.worker = excluded.worker AND c.slot = excluded.slot))"
    );
    let begin = begin.bind(chore.name).bind(chore.slot.millis()).bind(chore.worker.as_str()).bind(lease);
    Ok(begin.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn keep(db: &mut PgConnection, chore: Chore, lease: i64) -> Result<bool, StoreError> {
    let keep = concat!("UPDATE chores SET until = ", now!(), " + $4 WHERE name = $1 AND slot = $2 AND worker = $3");
    let keep = sqlx::query(keep).bind(chore.name).bind(chore.slot.millis()).bind(chore.worker.as_str()).bind(lease);
    Ok(keep.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn end(db: &mut PgConnection, chore: Chore, done: bool) -> Result<(), StoreError> {
    let end = "UPDATE chores SET worker = NULL, until = NULL, done = CASE WHEN $4 THEN slot ELSE done END \
               WHERE name = $1 AND slot = $2 AND worker = $3";
    let end = sqlx::query(end).bind(chore.name).bind(chore.slot.millis()).bind(chore.worker.as_str()).bind(done);
    end.execute(db).await?;
    Ok(())
}

pub(super) async fn last(db: &mut PgConnection, name: String) -> Result<Option<Timestamp>, StoreError> {
    let last = sqlx::query("SELECT done FROM chores WHERE name = $1").bind(name).fetch_optional(db).await?;
    Ok(last.map(|row| row.maybe_number(0)).transpose()?.flatten().map(Timestamp::from_millis))
}
