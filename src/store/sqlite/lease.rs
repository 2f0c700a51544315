//! Whose the database is: one service's at a time.
//!
//! ```text
//!  start ── nobody lives that held it (its lock is free) ─────────► ours at once
//!        ── the holder lives, and has renewed in time ────────────► refused
//!        ── the holder lives, and stands still (SIGSTOP, a hang) ─► ours: the epoch grows
//!  every commit ── the epoch is still ours? ── no ─► nothing is written, ever again
//! ```
//!
//! The lock tells on this machine, and without a clock, whether the holder lives: the kernel lets go of it when the process
//! ends, however it ends. The time in the table tells whether it moves.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};

use crate::domain::millis;
use crate::store::StoreError;

/// The database's clock; every service on the file reads the same.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// How many times within its term a lease is renewed: some may fail.
const RENEWALS: u32 = 3;

/// A database that is ours.
#[derive(Debug)]
pub(super) struct Lease {
    epoch: i64,
    term: Duration,
    renewed: Instant,
    /// Held as long as the process lives.
    _lock: File,
}

/// Refuses a database that another service holds, before anything is changed in it: its tables may be made new by a later
/// version than the one that works with them.
pub(super) fn refuse_if_held(file: &Path) -> Result<(), StoreError> {
    if !file.exists() {
        return Ok(());
    }
    let db = super::connect(file)?;
    let leases = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'lease'";
    if !db.prepare(leases)?.exists([])? {
        return Ok(());
    }
    let (former, moves) = former(&db)?;
    let held = moves && lives(&lock_file(file, former)).map_err(StoreError::Lock)?;
    if held { Err(StoreError::Held) } else { Ok(()) }
}

/// Who held it last, and whether its lease still runs.
fn former(db: &Connection) -> rusqlite::Result<(i64, bool)> {
    db.query_row(&format!("SELECT epoch, until > {NOW} FROM lease"), [], |row| Ok((row.get(0)?, row.get(1)?)))
}

impl Lease {
    /// Takes the database, if nobody holds it who moves.
    pub(super) fn take(db: &mut Connection, file: &Path, term: Duration) -> Result<Self, StoreError> {
        // Two who start at the same moment come one after the other.
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Read before the term begins: it must not seem longer here than it is to others.
        let renewed = Instant::now();
        let (former, moves) = former(&transaction)?;
        if moves && lives(&lock_file(file, former)).map_err(StoreError::Lock)? {
            return Err(StoreError::Held);
        }
        let epoch = former + 1;
        let lock = File::create(lock_file(file, epoch)).map_err(StoreError::Lock)?;
        lock.try_lock().map_err(|error| StoreError::Lock(error.into()))?;
        transaction.execute(&format!("UPDATE lease SET epoch = ?, until = {NOW} + ?"), params![epoch, time(term)])?;
        transaction.commit()?;
        // Whoever still has it open keeps the lock on a file without a name.
        if let Err(error) = std::fs::remove_file(lock_file(file, former))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a lock of an earlier service is left");
        }
        Ok(Self { epoch, term, renewed, _lock: lock })
    }

    /// Inside a transaction: makes sure that the database is still ours, and renews the lease if it is time. What it
    /// returns is to be told to [`Lease::kept`] after the commit.
    pub(super) fn keep(&self, db: &Connection) -> Result<Instant, StoreError> {
        let now = Instant::now();
        let due = now >= self.due();
        let ours = if due {
            let sql = format!("UPDATE lease SET until = {NOW} + ? WHERE epoch = ?");
            db.prepare_cached(&sql)?.execute(params![time(self.term), self.epoch])? == 1
        } else {
            db.prepare_cached("SELECT epoch = ? FROM lease")?.query_row([self.epoch], |row| row.get(0))?
        };
        match (ours, due) {
            (false, _) => Err(StoreError::Displaced),
            (true, true) => Ok(now),
            (true, false) => Ok(self.renewed),
        }
    }

    /// The transaction is on disk.
    pub(super) fn kept(&mut self, renewed: Instant) {
        self.renewed = renewed;
    }

    /// When it is to be renewed.
    pub(super) fn due(&self) -> Instant {
        self.renewed + self.term / RENEWALS
    }

    /// Until when nobody else can have taken the database. Its clock counts whole milliseconds and may be one behind.
    pub(super) fn until(&self) -> Instant {
        self.renewed + self.term.saturating_sub(Duration::from_millis(1))
    }

    /// Lets go, so that the next one need not wait.
    pub(super) fn release(&self, db: &Connection) -> Result<(), StoreError> {
        db.execute("UPDATE lease SET until = 0 WHERE epoch = ?", [self.epoch])?;
        Ok(())
    }
}

/// Each epoch has a lock of its own, so that one who was displaced and still lives locks out nobody.
fn lock_file(database: &Path, epoch: i64) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".{epoch}.lock"));
    name.into()
}

/// Whether a process holds the lock. If somebody has removed the file, nobody can tell, and the time alone decides.
fn lives(lock: &Path) -> io::Result<bool> {
    let file = match File::open(lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn time(duration: Duration) -> i64 {
    crate::store::row::signed(millis(duration))
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use super::*;

    #[tokio::test]
    async fn tables_are_not_changed_under_a_service_of_an_earlier_version() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.db");
        let db = super::super::connect(&file).unwrap();
        db.execute_batch(include_str!("../../../migrations/sqlite/0001_tasks.sql")).unwrap();
        db.execute_batch(include_str!("../../../migrations/sqlite/0002_leases.sql")).unwrap();
        db.execute("UPDATE lease SET epoch = 1, until = 9000000000000", []).unwrap();
        let lock = File::create(lock_file(&file, 1)).unwrap();
        lock.try_lock().unwrap();
        let opened = SqliteStore::open(&file, Duration::from_secs(30)).await;
        assert!(matches!(opened, Err(StoreError::Held)));
        assert!(db.prepare("SELECT pending FROM tasks").is_ok());
    }
}
