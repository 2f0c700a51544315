//! The one thread that writes, and commits in groups.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::db::Db;
use super::lease::Lease;
use super::wal::Wal;
use crate::store::{Changes, StoreError};

/// Writes in one commit: beyond this a longer group saves no more fsyncs worth naming, and makes the first one wait.
const GROUP: usize = 256;

/// The pause before a renewal that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The handle that everybody writes through.
pub(super) struct Writer {
    changes: Changes,
    /// Without a bound: each write belongs to a task or a request that waits for it.
    jobs: Mutex<Option<Sender<Box<dyn Job>>>>,
    held: watch::Receiver<Held>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How long the database is certainly ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Until(Instant),
    NoMore,
}

/// What a write does to the database; it may be called again after a rollback.
pub(super) type Apply<D, T> = fn(&Db, &D) -> Result<T, StoreError>;

/// Tells those who wait, after the commit. It is the writer who rings: the caller may have gone away meanwhile.
pub(super) type Ring<D, T> = fn(&Changes, &D, &T);

impl Writer {
    /// Opens the file, which has its tables, and takes it.
    pub(super) async fn start(file: PathBuf, lease: Duration, changes: Changes) -> Result<Self, StoreError> {
        let open = move || {
            let mut db = Db::open(&file)?;
            let lease = Lease::take(db.connection(), &file, lease)?;
            let wal = Wal::of(&file);
            let (told, held) = watch::channel(Held::Until(lease.until()));
            Ok((Writing { db, lease, wal, told }, held))
        };
        let opened = tokio::task::spawn_blocking(open).await.map_err(|_| StoreError::Closed)?;
        let (writing, held) = opened.map_err(|error: StoreError| match error {
            StoreError::Unavailable(cause) => StoreError::Open(cause),
            other => other,
        })?;
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writing.run(&queue));
        let thread = Mutex::new(Some(thread.map_err(|error| StoreError::Open(error.into()))?));
        Ok(Self { changes, jobs: Mutex::new(Some(jobs)), held, thread })
    }

    /// Whether nobody else can have taken the database yet; otherwise a write finds out.
    pub(super) fn is_held(&self) -> bool {
        matches!(*self.held.borrow(), Held::Until(until) if Instant::now() < until)
    }

    /// Returns when somebody else has taken the database.
    pub(super) async fn displaced(&self) {
        if self.held.clone().wait_for(|held| *held == Held::NoMore).await.is_err() {
            // The writer is gone, and was not displaced.
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the write is on disk. The write itself goes on if the caller is dropped meanwhile.
    pub(super) async fn write<D, T>(&self, data: D, apply: Apply<D, T>, ring: Ring<D, T>) -> Result<T, StoreError>
    where
        D: Send + Sync + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Write { data, apply, ring, changes: self.changes.clone(), result: None, answer };
        {
            let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let jobs = jobs.as_ref().ok_or(StoreError::Closed)?;
            jobs.send(Box::new(job)).map_err(|_| StoreError::Closed)?;
        }
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Lets the waiting writes end and closes the connection.
    pub(super) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && !matches!(tokio::task::spawn_blocking(|| thread.join()).await, Ok(Ok(())))
        {
            tracing::error!("the store's writer ended badly");
        }
    }
}

struct Write<D, T> {
    data: D,
    apply: Apply<D, T>,
    ring: Ring<D, T>,
    changes: Changes,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

/// A write whose types are hidden, so that different ones share a queue.
trait Job: Send {
    /// Does it inside the open transaction and keeps the result; an error asks for a rollback.
    fn apply(&mut self, db: &Db) -> Result<(), ()>;
    /// Tells the caller: the kept result after a commit, else why there was none.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

impl<D: Send + Sync, T: Send> Job for Write<D, T> {
    fn apply(&mut self, db: &Db) -> Result<(), ()> {
        let result = (self.apply)(db, &self.data);
        // Whatever went wrong, something may have been changed before it did.
        let sound = if result.is_ok() { Ok(()) } else { Err(()) };
        self.result = Some(result);
        sound
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let result = match failed {
            Some(error) => Err(error),
            None => self.result.unwrap_or(Err(StoreError::Closed)),
        };
        if let Ok(value) = &result {
            (self.ring)(&self.changes, &self.data, value);
        }
        // Nobody there any more: the write stands all the same.
        drop(self.answer.send(result));
    }
}

/// What the writing thread owns.
struct Writing {
    db: Db,
    lease: Lease,
    wal: Wal,
    told: watch::Sender<Held>,
}

/// Why a group was not committed; nothing of it is there.
enum Refusal {
    /// One of the writes failed, and keeps its own error.
    Job,
    /// The database itself: it would refuse each of them alike.
    Database(String),
    /// The database is somebody else's.
    Displaced,
}

impl Writing {
    fn run(mut self, queue: &Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            match queue.recv_timeout(self.lease.due().saturating_duration_since(Instant::now())) {
                Ok(job) => group.push(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            group.extend(queue.try_iter().take(GROUP - group.len()));
            match self.commit(&mut group) {
                Ok(()) => group.drain(..).for_each(|job| job.answer(None)),
                Err(Refusal::Job) => self.one_by_one(&mut group),
                Err(refusal) => {
                    if group.is_empty() {
                        // Tried again soon: there is time for more than one.
                        tracing::error!(error = %refusal.told(), "the lease on the database could not be renewed");
                        std::thread::sleep(RETRY);
                    }
                    group.drain(..).for_each(|job| job.answer(Some(refusal.told())));
                }
            }
            if *self.told.borrow() == Held::NoMore {
                // Whoever still comes is told so.
                for job in queue {
                    job.answer(Some(StoreError::Displaced));
                }
                return;
            }
            if let Err(error) = self.wal.trim(&self.db) {
                tracing::warn!(%error, "the write-ahead log could not be cut");
            }
        }
        if let Err(error) = self.lease.release(&self.db) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the lease on the database could not be given back"
            );
        }
    }

    /// One bad write must not spoil the others: each for itself, and each hears its own error.
    fn one_by_one(&mut self, group: &mut Vec<Box<dyn Job>>) {
        for job in group.drain(..) {
            let mut alone = [job];
            let refusal = self.commit(&mut alone).err();
            let [job] = alone;
            job.answer(refusal.and_then(|refusal| match refusal {
                Refusal::Job => None,
                refusal => Some(refusal.told()),
            }));
        }
    }

    /// One transaction over all of `group`; with none it renews the lease.
    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Refusal> {
        let done = self.transaction(group);
        match &done {
            Ok(renewed) => {
                self.lease.kept(*renewed);
                let until = Held::Until(self.lease.until());
                self.told.send_if_modified(|held| std::mem::replace(held, until) != until);
            }
            Err(refusal) => {
                self.db.rolled_back();
                // Some errors (a full disk) end the transaction by themselves; then there is nothing to roll back.
                if let Err(error) = self.execute("ROLLBACK") {
                    tracing::debug!(%error, "nothing to roll back");
                }
                if let Refusal::Displaced = refusal {
                    tracing::error!("{}", StoreError::Displaced);
                    self.told.send_replace(Held::NoMore);
                }
            }
        }
        done.map(|_| ())
    }

    /// Returns since when the lease is renewed. What it leaves open after an error is to be rolled back.
    fn transaction(&self, group: &mut [Box<dyn Job>]) -> Result<Instant, Refusal> {
        let database = |error: rusqlite::Error| Refusal::Database(error.to_string());
        self.execute("BEGIN IMMEDIATE").map_err(database)?;
        let renewed = self.lease.keep(&self.db).map_err(|error| match error {
            StoreError::Displaced => Refusal::Displaced,
            StoreError::Unavailable(cause) | StoreError::Refused(cause) => Refusal::Database(cause.to_string()),
            other => Refusal::Database(other.to_string()),
        })?;
        for job in group {
            job.apply(&self.db).map_err(|()| Refusal::Job)?;
        }
        self.execute("COMMIT").map_err(database)?;
        Ok(renewed)
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(|_| ())
    }
}

impl Refusal {
    /// The same for each of the writes.
    fn told(&self) -> StoreError {
        match self {
            Self::Displaced => StoreError::Displaced,
            Self::Database(text) => StoreError::Unavailable(text.clone().into()),
            Self::Job => StoreError::Closed,
        }
    }
}
