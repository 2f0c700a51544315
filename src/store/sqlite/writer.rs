//! The one task that writes, and commits in groups.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::lease::Lease;
use super::wal::Wal;
use crate::store::{Changes, StoreError};

/// Writes that may wait. Each belongs to a task or a request that is waiting itself, so this bounds nothing but memory.
const QUEUE: usize = 1024;

/// Writes in one commit: beyond this a longer group saves no more fsyncs worth naming, and makes the first one wait.
const GROUP: usize = 256;

/// The pause before a renewal that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The handle that everybody writes through.
pub(super) struct Writer {
    changes: Changes,
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    held: watch::Receiver<Held>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// How long the database is certainly ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Until(Instant),
    NoMore,
}

/// What a write does to the database; it may be called again after a rollback.
pub(super) type Apply<D, T> = for<'a> fn(&'a mut SqliteConnection, &'a D) -> BoxFuture<'a, Result<T, StoreError>>;

/// Tells those who wait, after the commit. It is the writer who rings: the caller may have gone away meanwhile.
pub(super) type Ring<D, T> = fn(&Changes, &D, &T);

impl Writer {
    #[expect(clippy::disallowed_methods, reason = "joined by close(), which the application awaits")]
    pub(super) fn start(db: SqliteConnection, lease: Lease, wal: Wal, changes: Changes) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (told, held) = watch::channel(Held::Until(lease.until()));
        let task = tokio::spawn(Writing { db, lease, wal, told }.run(queue));
        Self { changes, jobs: Mutex::new(Some(jobs)), held, task: tokio::sync::Mutex::new(Some(task)) }
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
        let jobs = self.jobs.lock().ok().and_then(|jobs| jobs.clone()).ok_or(StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job = Write { data, apply, ring, changes: self.changes.clone(), result: None, answer };
        jobs.send(Box::new(job)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Lets the waiting writes end and closes the connection.
    pub(super) async fn close(&self) {
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.take();
        }
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the store's writer ended badly");
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
    fn apply<'a>(&'a mut self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), ()>>;
    /// Tells the caller: the kept result after a commit, else why there was none.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

impl<D: Send + Sync, T: Send> Job for Write<D, T> {
    fn apply<'a>(&'a mut self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), ()>> {
        Box::pin(async move {
            let result = (self.apply)(db, &self.data).await;
            // Whatever went wrong, something may have been changed before it did.
            let sound = if result.is_ok() { Ok(()) } else { Err(()) };
            self.result = Some(result);
            sound
        })
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

/// What the writing task owns.
struct Writing {
    db: SqliteConnection,
    lease: Lease,
    wal: Wal,
    told: watch::Sender<Held>,
}

/// Why a group was not committed; nothing of it is there.
enum Refusal {
    /// One of the writes failed, and keeps its own error.
    Job,
    /// The database itself: it would refuse each of them alike.
    Database(sqlx::Error),
    /// The database is somebody else's.
    Displaced,
}

impl Writing {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let renewal = tokio::time::Instant::from_std(self.lease.due());
            tokio::select! {
                got = queue.recv_many(&mut group, GROUP) => if got == 0 { break },
                () = tokio::time::sleep_until(renewal) => {}
            }
            match self.commit(&mut group).await {
                Ok(()) => group.drain(..).for_each(|job| job.answer(None)),
                Err(Refusal::Job) => self.one_by_one(&mut group).await,
                Err(refusal) => {
                    if group.is_empty() {
                        // Tried again soon: there is time for more than one.
                        tracing::error!(error = %refusal.clone_error(), "the lease on the database could not be renewed");
                        tokio::time::sleep(RETRY).await;
                    }
                    group.drain(..).for_each(|job| job.answer(Some(refusal.clone_error())));
                }
            }
            if let Err(error) = self.wal.trim(&mut self.db).await {
                tracing::warn!(%error, "the write-ahead log could not be cut");
            }
            if *self.told.borrow() == Held::NoMore {
                // There is nothing to be renewed: whoever still comes is told so.
                while queue.recv_many(&mut group, GROUP).await > 0 {
                    group.drain(..).for_each(|job| job.answer(Some(StoreError::Displaced)));
                }
                break;
            }
        }
        if let Err(error) = self.close().await {
            tracing::error!(%error, "the database did not close cleanly");
        }
    }

    /// One bad write must not spoil the others: each for itself, and each hears its own error.
    async fn one_by_one(&mut self, group: &mut Vec<Box<dyn Job>>) {
        for job in group.drain(..) {
            let mut alone = [job];
            let refusal = self.commit(&mut alone).await.err();
            let [job] = alone;
            job.answer(refusal.and_then(|refusal| match refusal {
                Refusal::Job => None,
                refusal => Some(refusal.clone_error()),
            }));
        }
    }

    /// One transaction over all of `group`; with none it renews the lease.
    async fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Refusal> {
        let done = self.transaction(group).await;
        match &done {
            Ok(renewed) => {
                self.lease.kept(*renewed);
                let until = Held::Until(self.lease.until());
                self.told.send_if_modified(|held| std::mem::replace(held, until) != until);
            }
            Err(Refusal::Displaced) => {
                tracing::error!("{}", StoreError::Displaced);
                self.told.send_replace(Held::NoMore);
            }
            Err(_) => {}
        }
        done.map(|_| ())
    }

    /// Returns since when the lease is renewed.
    async fn transaction(&mut self, group: &mut [Box<dyn Job>]) -> Result<Instant, Refusal> {
        let db = &mut self.db;
        db.execute("BEGIN IMMEDIATE").await.map_err(Refusal::Database)?;
        let renewed = match self.lease.keep(db).await {
            Ok(renewed) => renewed,
            Err(error) => {
                rollback(db).await;
                return Err(match error {
                    StoreError::Displaced => Refusal::Displaced,
                    StoreError::Unavailable(error) | StoreError::Refused(error) => Refusal::Database(error),
                    other => Refusal::Database(sqlx::Error::Protocol(other.to_string())),
                });
            }
        };
        for job in group {
            if job.apply(db).await.is_err() {
                rollback(db).await;
                return Err(Refusal::Job);
            }
        }
        if let Err(error) = db.execute("COMMIT").await {
            rollback(db).await;
            return Err(Refusal::Database(error));
        }
        Ok(renewed)
    }

    async fn close(mut self) -> Result<(), StoreError> {
        if *self.told.borrow() != Held::NoMore {
            self.lease.release(&mut self.db).await?;
        }
        Ok(self.db.close().await?)
    }
}

impl Refusal {
    /// The same for each of the writes.
    fn clone_error(&self) -> StoreError {
        match self {
            Self::Displaced => StoreError::Displaced,
            Self::Database(error) => StoreError::Unavailable(sqlx::Error::Protocol(error.to_string())),
            Self::Job => StoreError::Closed,
        }
    }
}

async fn rollback(db: &mut SqliteConnection) {
    // Some errors (a full disk) end the transaction by themselves; then there is nothing to roll back.
    if let Err(error) = db.execute("ROLLBACK").await {
        tracing::debug!(%error, "nothing to roll back");
    }
}
