//! What one worker at a time does at set times.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::db::Db;
use crate::domain::{Timestamp, millis};
use crate::store::row::signed;
use crate::store::{Chore, StoreError};

/// A chore, when it is asked for, and how long it is held.
pub(super) type Asked = (Chore, Timestamp, Duration);

pub(super) fn begin(db: &Db, (chore, now, lease): &Asked) -> Result<bool, StoreError> {
    let sql = "INSERT INTO chores (name, slot, worker, until) VALUES (?1, ?2, ?3, ?4 + ?5) \
               ON CONFLICT (name) DO UPDATE SET slot = excluded.slot, worker = excluded.worker, until = excluded.until \
               WHERE (done IS NULL OR done < excluded.slot) \
                   AND (worker IS NULL OR until <= ?4 OR (worker = excluded.worker AND slot = excluded.slot))";
    let (now, lease) = (now.millis(), signed(millis(*lease)));
    let values = params![chore.name, chore.slot.millis(), chore.worker.as_str(), now, lease];
    Ok(db.prepare_cached(sql)?.execute(values)? == 1)
}

pub(super) fn keep(db: &Db, (chore, now, lease): &Asked) -> Result<bool, StoreError> {
    let sql = "UPDATE chores SET until = ?4 + ?5 WHERE name = ?1 AND slot = ?2 AND worker = ?3";
    let (now, lease) = (now.millis(), signed(millis(*lease)));
    let values = params![chore.name, chore.slot.millis(), chore.worker.as_str(), now, lease];
    Ok(db.prepare_cached(sql)?.execute(values)? == 1)
}

pub(super) fn end(db: &Db, (chore, done): &(Chore, bool)) -> Result<(), StoreError> {
    let sql = "UPDATE chores SET worker = NULL, until = NULL, done = CASE WHEN ?4 THEN slot ELSE done END \
               WHERE name = ?1 AND slot = ?2 AND worker = ?3";
    let values = params![chore.name, chore.slot.millis(), chore.worker.as_str(), done];
    db.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

pub(super) fn last(db: &Connection, name: &str) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT done FROM chores WHERE name = ?";
    let done: Option<Option<i64>> = db.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
    Ok(done.flatten().map(Timestamp::from_millis))
}
