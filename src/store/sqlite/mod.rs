//! The store in one SQLite file.
//!
//! ```text
//!  writes ─► writer (one connection, one thread, commits what has gathered) ─► WAL, synchronous=FULL
//!  reads  ─► readers (a few connections that cannot write)
//! ```
//!
//! SQLite has one writer at a time; here it is one thread that owns the only writing connection, so nobody ever waits
//! for a lock, and one fsync answers everybody who came during the one before. SQLite is called directly (rusqlite): through
//! sqlx each statement is handed to a thread and back, which cost more than the statement. sqlx makes the tables.

mod archive;
mod chores;
mod claim;
mod columns;
mod db;
mod lease;
mod list;
mod read;
mod readers;
mod wal;
mod words;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _};

pub(super) use self::archive::SqliteArchive;
use self::readers::Readers;
use self::writer::{Apply, Ring, Writer};
use super::{
    Archive, CancelAnswer, Changes, Chore, Claim, Claimed, DeleteAnswer, Fence, Heartbeat, LabelAnswer, ListQuery,
    Listed, NewTask, Recorded, Recovered, Stats, Step, Store, StoreError, StoredLine, Submitted, WorkerStats,
};
use crate::domain::{Task, TaskId, Timestamp, Verdict, WorkerId};
use crate::kill_point::kill_point;
use crate::metrics::Database;

/// Where the write-ahead log is cut to when it begins anew, in bytes. It stays that long afterwards: to grow a file costs
/// more than to write into it.
const WAL_KEPT: u32 = 16 * 1024 * 1024;

/// Statements that the writer keeps prepared: all of them.
const STATEMENTS: usize = 64;

/// How long another process (a backup, an inspection by hand) may hold the file before a write fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The implementation on SQLite.
pub struct SqliteStore {
    file: PathBuf,
    writer: Writer,
    readers: Readers,
    changes: Changes,
    lease: Duration,
    /// The worker that has been heard of last: there is one at a time.
    worker: Mutex<Option<WorkerStats>>,
}

impl SqliteStore {
    /// Opens the file, makes it if need be, and brings its tables up to date. It is this process's then, for as long as it
    /// never stands still for longer than `lease`.
    pub async fn open(file: &Path, lease: Duration) -> Result<Self, StoreError> {
        let opening = |error: sqlx::Error| StoreError::Open(error.into());
        let asked = file.to_owned();
        tokio::task::spawn_blocking(move || lease::refuse_if_held(&asked)).await.map_err(|_| StoreError::Closed)??;
        let mut migrating = options(file).create_if_missing(true).connect().await.map_err(opening)?;
        sqlx::migrate!("migrations/sqlite").run(&mut migrating).await.map_err(StoreError::Migrate)?;
        migrating.close().await.map_err(opening)?;
        let behind = file.to_owned();
        tokio::task::spawn_blocking(move || words::catch_up(&behind)).await.map_err(|_| StoreError::Closed)??;
        let readers = Readers::open(file).map_err(|error| StoreError::Open(error.into()))?;
        let changes = Changes::default();
        let writer = Writer::start(file.to_owned(), lease, changes.clone()).await?;
        Ok(Self { file: file.to_owned(), writer, readers, changes, lease, worker: Mutex::default() })
    }
}

impl SqliteStore {
    fn worker(&self) -> MutexGuard<'_, Option<WorkerStats>> {
        // A panic cannot leave it half changed.
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that writes.
fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(file)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // It answers with a row.
    db.query_row(&format!("PRAGMA journal_size_limit = {WAL_KEPT}"), [], |_| Ok(()))?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// How the file is made, and brought up to date.
fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

#[async_trait]
impl Store for SqliteStore {
    async fn submit(&self, new: NewTask) -> Result<Submitted, StoreError> {
        let ring: Ring<_, _> = |changes, _, submitted| {
            if let Submitted::Created(_) = submitted {
                changes.ring_queued();
            }
        };
        let submitted = self.writer.write(new, write::submit, ring).await?;
        kill_point("submit-committed");
        Ok(submitted)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        let id = id.clone();
        self.readers.read(move |db| read::task(db, &id)).await
    }

    async fn list(&self, query: ListQuery) -> Result<Listed, StoreError> {
        self.readers.read(move |db| list::list(db, &query)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        let ring: Ring<_, Vec<Claimed>> =
            |changes, _, claimed| claimed.iter().for_each(|claimed| changes.ring_task(&claimed.task.id));
        self.writer.write(claim, claim::claim, ring).await
    }

    async fn record(&self, fence: Fence, step: Step) -> Result<Recorded, StoreError> {
        let apply: Apply<(Fence, Step), _> = |db, (fence, step)| write::record(db, fence, step);
        self.writer.write((fence, step), apply, |changes, (fence, _), _| changes.ring_task(&fence.id)).await
    }

    async fn hand_back(&self, fence: Fence) -> Result<(), StoreError> {
        let ring: Ring<Fence, _> = |changes, fence, ()| {
            changes.ring_queued();
            changes.ring_task(&fence.id);
        };
        self.writer.write(fence, claim::hand_back, ring).await
    }

    async fn recover(&self, worker: &WorkerId, lost_limit: u32, now: Timestamp) -> Result<Recovered, StoreError> {
        let apply: Apply<(WorkerId, u32, Timestamp), _> =
            |db, (worker, limit, now)| claim::recover(db, worker, *limit, *now);
        let ring: Ring<_, Recovered> = |changes, _, recovered| {
            if recovered.requeued > 0 {
                changes.ring_queued();
            }
        };
        self.writer.write((worker.clone(), lost_limit, now), apply, ring).await
    }

    /// The file is held as a whole, by whoever writes to it.
    async fn beat(&self, beat: Heartbeat) -> Result<Vec<Fence>, StoreError> {
        let Heartbeat { worker: id, capacity, started_at, held, now, .. } = beat;
        let heard = WorkerStats { id, capacity, running: held.len() as u64, started_at, seen_at: now };
        *self.worker() = Some(heard);
        Ok(Vec::new())
    }

    async fn retire(&self, worker: &WorkerId) -> Result<(), StoreError> {
        self.worker().take_if(|heard| heard.id == *worker);
        Ok(())
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let mut stats = self.readers.read(read::stats).await?;
        stats.workers.extend(self.worker().clone());
        // It has said how many it ran some time ago.
        stats.workers.iter_mut().for_each(|worker| worker.running = stats.running);
        Ok(stats)
    }

    async fn request_cancel(&self, id: &TaskId, now: Timestamp) -> Result<CancelAnswer, StoreError> {
        let apply: Apply<(TaskId, Timestamp), _> = |db, (id, now)| write::request_cancel(db, id, *now);
        let ring: Ring<(TaskId, Timestamp), _> = |changes, (id, _), _| {
            changes.ring_cancels();
            changes.ring_task(id);
        };
        let answer = self.writer.write((id.clone(), now), apply, ring).await?;
        kill_point("cancel-committed");
        Ok(answer)
    }

    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<Fence>, StoreError> {
        let worker = worker.clone();
        self.readers.read(move |db| read::cancel_requests(db, &worker)).await
    }

    async fn label(&self, id: &TaskId, verdict: Verdict) -> Result<LabelAnswer, StoreError> {
        let apply: Apply<(TaskId, Verdict), _> = |db, (id, verdict)| write::label(db, id, verdict);
        self.writer.write((id.clone(), verdict), apply, |changes, (id, _), _| changes.ring_task(id)).await
    }

    async fn delete(&self, id: &TaskId) -> Result<DeleteAnswer, StoreError> {
        let ring: Ring<TaskId, _> = |changes, id, _| changes.ring_task(id);
        self.writer.write(id.clone(), write::delete, ring).await
    }

    async fn expired(&self, before: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.readers.read(move |db| read::expired(db, before, limit)).await
    }

    async fn unfiled(&self, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.readers.read(move |db| read::unfiled(db, limit)).await
    }

    async fn mark_filed(&self, ended: Vec<(TaskId, Timestamp)>) -> Result<Vec<TaskId>, StoreError> {
        let apply: Apply<Vec<(TaskId, Timestamp)>, _> = |db, ended| write::mark_filed(db, ended);
        self.writer.write(ended, apply, |_, _, _| {}).await
    }

    async fn removals(&self, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.readers.read(move |db| read::removals(db, limit)).await
    }

    async fn mark_removed(&self, id: &TaskId) -> Result<(), StoreError> {
        self.writer.write(id.clone(), write::mark_removed, |_, _, ()| {}).await
    }

    async fn lines(&self, id: &TaskId, from: u64, limit: u32) -> Result<Vec<StoredLine>, StoreError> {
        let id = id.clone();
        self.readers.read(move |db| read::lines(db, &id, from, limit)).await
    }

    async fn offset_after(&self, id: &TaskId, iteration: u32) -> Result<u64, StoreError> {
        let id = id.clone();
        self.readers.read(move |db| read::offset_after(db, &id, iteration)).await
    }

    fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(SqliteArchive::beside(&self.readers))
    }

    async fn begin_chore(&self, chore: Chore, now: Timestamp) -> Result<bool, StoreError> {
        self.writer.write((chore, now, self.lease), chores::begin, |_, _, _| {}).await
    }

    async fn keep_chore(&self, chore: Chore, now: Timestamp) -> Result<bool, StoreError> {
        self.writer.write((chore, now, self.lease), chores::keep, |_, _, _| {}).await
    }

    async fn end_chore(&self, chore: Chore, done: bool) -> Result<(), StoreError> {
        self.writer.write((chore, done), chores::end, |_, _, ()| {}).await
    }

    async fn last_chore(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |db| chores::last(db, &name)).await
    }

    fn database(&self) -> Option<Database> {
        let bytes = self.file.metadata().ok()?.len();
        Some(Database::File { bytes, log_bytes: wal::length(&wal::file(&self.file)) })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.readers.read(read::ping).await?;
        // A write that changes nothing still has to get the lock.
        self.writer.write((), |_, ()| Ok(()), |_, (), ()| {}).await
    }

    async fn hold(&self, _: &Fence) -> Result<(), StoreError> {
        self.hold_files().await
    }

    /// Nobody takes a single task from its worker. Who takes the whole database is told of by [`Store::displaced`].
    async fn hold_ends(&self, _: &Fence) {
        std::future::pending::<()>().await;
    }

    async fn hold_files(&self) -> Result<(), StoreError> {
        if self.writer.is_held() {
            return Ok(());
        }
        // Every commit finds out.
        self.writer.write((), |_, ()| Ok(()), |_, (), ()| {}).await
    }

    async fn displaced(&self) {
        self.writer.displaced().await;
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn close(&self) {
        self.readers.close();
        self.writer.close().await;
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }
}
