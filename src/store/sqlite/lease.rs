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

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite, Transaction};

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

impl Lease {
    /// Takes the database, if nobody holds it who moves.
    pub(super) async fn take(db: &mut SqliteConnection, file: &Path, term: Duration) -> Result<Self, StoreError> {
        // Two who start at the same moment come one after the other.
        let mut transaction: Transaction<'_, Sqlite> = db.begin_with("BEGIN IMMEDIATE").await?;
        let sql = sqlx::AssertSqlSafe(format!("SELECT epoch, until > {NOW} FROM lease"));
        let (epoch, moves): (i64, bool) = sqlx::query_as(sql).fetch_one(&mut *transaction).await?;
        if moves && lives(&lock_file(file, epoch)).map_err(StoreError::Lock)? {
            return Err(StoreError::Held);
        }
        let (former, epoch) = (epoch, epoch + 1);
        let path = lock_file(file, epoch);
        let lock = File::create(&path).map_err(StoreError::Lock)?;
        lock.try_lock().map_err(|error| StoreError::Lock(error.into()))?;
        // Before the database looks at its clock: a slow commit must not make our time end later than the one on record.
        let renewed = Instant::now();
        let sql = sqlx::AssertSqlSafe(format!("UPDATE lease SET epoch = ?, until = {NOW} + ?"));
        sqlx::query(sql).bind(epoch).bind(time(term)).execute(&mut *transaction).await?;
        transaction.commit().await?;
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
    pub(super) async fn keep(&self, db: &mut SqliteConnection) -> Result<Instant, StoreError> {
        let now = Instant::now();
        let due = now >= self.due();
        let ours = if due {
            let sql = sqlx::AssertSqlSafe(format!("UPDATE lease SET until = {NOW} + ? WHERE epoch = ?"));
            sqlx::query(sql).bind(time(self.term)).bind(self.epoch).execute(db).await?.rows_affected() == 1
        } else {
            sqlx::query_scalar("SELECT epoch = ? FROM lease").bind(self.epoch).fetch_one(db).await?
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
    pub(super) async fn release(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query("UPDATE lease SET until = 0 WHERE epoch = ?").bind(self.epoch).execute(db).await?;
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
    super::row::signed(millis(duration))
}
