//! The one task that writes, and commits in groups.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::store::{Changes, StoreError};

/// Writes that may wait. Each belongs to a task or a request that is waiting itself, so this bounds nothing but memory.
const QUEUE: usize = 1024;

/// Writes in one commit: beyond this a longer group saves no more fsyncs worth naming, and makes the first one wait.
const GROUP: usize = 256;

/// The handle that everybody writes through.
pub(super) struct Writer {
    changes: Changes,
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What a write does to the database; it may be called again after a rollback.
pub(super) type Apply<D, T> = for<'a> fn(&'a mut SqliteConnection, &'a D) -> BoxFuture<'a, Result<T, StoreError>>;

/// Tells those who wait, after the commit. It is the writer who rings: the caller may have gone away meanwhile.
pub(super) type Ring<D, T> = fn(&Changes, &D, &T);

impl Writer {
    #[expect(clippy::disallowed_methods, reason = "joined by close(), which the application awaits")]
    pub(super) fn start(connection: SqliteConnection, changes: Changes) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(connection, queue));
        Self { changes, jobs: Mutex::new(Some(jobs)), task: tokio::sync::Mutex::new(Some(task)) }
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

async fn run(mut db: SqliteConnection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut group, GROUP).await > 0 {
        match commit(&mut db, &mut group).await {
            Ok(()) => group.drain(..).for_each(|job| job.answer(None)),
            // The database itself refused: it would refuse each of them alike.
            Err(Some(error)) => {
                let text = error.to_string();
                let failed = || Some(StoreError::Unavailable(sqlx::Error::Protocol(text.clone())));
                group.drain(..).for_each(|job| job.answer(failed()));
            }
            // One bad write must not spoil the others: each for itself, and each hears its own error.
            Err(None) => {
                for job in group.drain(..) {
                    let mut alone = [job];
                    let failed = commit(&mut db, &mut alone).await.err().flatten();
                    let [job] = alone;
                    job.answer(failed.map(StoreError::Unavailable));
                }
            }
        }
    }
    if let Err(error) = db.close().await {
        tracing::error!(%error, "the database did not close cleanly");
    }
}

/// One transaction over all of `group`; after an error nothing of it is there. The error is the database's, or
/// `None` where a job failed and keeps its own.
async fn commit(db: &mut SqliteConnection, group: &mut [Box<dyn Job>]) -> Result<(), Option<sqlx::Error>> {
    db.execute("BEGIN IMMEDIATE").await.map_err(Some)?;
    for job in group {
        if job.apply(db).await.is_err() {
            rollback(db).await;
            return Err(None);
        }
    }
    if let Err(error) = db.execute("COMMIT").await {
        rollback(db).await;
        return Err(Some(error));
    }
    Ok(())
}

async fn rollback(db: &mut SqliteConnection) {
    // Some errors (a full disk) end the transaction by themselves; then there is nothing to roll back.
    if let Err(error) = db.execute("ROLLBACK").await {
        tracing::debug!(%error, "nothing to roll back");
    }
}
