//! The store in a PostgreSQL database that many processes share.
//!
//! ```text
//!  each step ─► one statement, on one of a few connections (pool) ─► the server: commits, locks, time
//!  bells ◄──── LISTEN, and a look four times a second ◄───────────── what other processes have done
//!  held ─────► how long this process certainly has each of its tasks, without asking
//! ```
//!
//! A step is one statement wherever it can be, so that no transaction is ever left open, and the answer that is lost is the
//! only doubt there is: then the same step is asked again and finds its own work done. The new status always comes from
//! [`TaskState::on`](crate::domain::TaskState::on) and the old one stands in the WHERE.
//!
//! Deliberately absent: a leader, advisory locks, and anything that outlives a statement on a connection.

mod archive;
mod bells;
mod chores;
mod claim;
mod clock;
mod columns;
mod files;
mod held;
mod label;
mod list;
mod pool;
mod queue;
mod read;
mod record;
mod submit;
mod taken;
mod words;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::archive::PostgresArchive;
use self::bells::{Bells, Wishes, learn_time};
pub use self::clock::DatabaseClock;
use self::files::Removed;
use self::held::Held;
use self::pool::Pool;
pub use self::pool::PostgresSettings;
use self::queue::Queue;
use super::row::signed;
use super::{
    Archive, CancelAnswer, Changes, Chore, Claim, Claimed, DeleteAnswer, Fence, Heartbeat, LabelAnswer, ListQuery,
    Listed, NewTask, Recorded, Recovered, Stats, Step, Store, StoreError, StoredLine, Submitted,
};
use crate::domain::{Task, TaskId, Timestamp, Verdict, WorkerId, millis};
use crate::kill_point::kill_point;
use crate::metrics::Database;

/// A query whose text is made of the constants of the tables.
macro_rules! sql {
    ($($text:tt)*) => { sqlx::query(sqlx::AssertSqlSafe(format!($($text)*))) };
}
use sql;

/// The implementation on PostgreSQL.
pub struct PostgresStore {
    pool: Pool,
    beats: Pool,
    changes: Changes,
    wishes: Wishes,
    clock: DatabaseClock,
    held: Arc<Held>,
    queue: Queue,
    removed: Arc<Removed>,
    lease: i64,
    grace: i64,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl PostgresStore {
    /// Connects, and brings the tables up to date. Of several that do so at the same time one does it and the others wait.
    pub async fn open(settings: PostgresSettings) -> Result<Self, StoreError> {
        let opening = |error: sqlx::Error| StoreError::Open(error.into());
        let mut migrating = Pool::first(&settings).await?;
        let mut migrator = sqlx::migrate!("migrations/postgres");
        // A later version has been here: its tables have more than this one knows, and nothing less.
        migrator.set_ignore_missing(true);
        read::refuse_encoding(&mut migrating).await?;
        migrator.run(&mut migrating).await.map_err(StoreError::Migrate)?;
        words::catch_up(&mut migrating).await?;
        migrating.close().await.map_err(opening)?;

        let (pool, beats) = (Pool::for_all(&settings), Pool::for_beats(&settings));
        let clock = DatabaseClock::default();
        learn_time(&pool, &clock).await?;
        let (changes, wishes, stop) = (Changes::default(), Wishes::default(), CancellationToken::new());
        let bells = Bells {
            pool: pool.clone(),
            changes: changes.clone(),
            wishes: wishes.clone(),
            clock: clock.clone(),
            stop: stop.clone(),
        };
        let (lease, grace) = (signed(millis(settings.lease)), signed(millis(settings.grace)));
        let held = Arc::new(Held::new(settings.lease));
        let tracker = TaskTracker::new();
        tracker.spawn(bells.ring(settings));
        tracker.close();
        let (queue, removed) = (Queue::default(), Arc::default());
        Ok(Self { pool, beats, changes, wishes, clock, held, queue, removed, lease, grace, tracker, stop })
    }

    /// The server's time.
    pub fn clock(&self) -> DatabaseClock {
        self.clock.clone()
    }

    async fn ask<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.pool.ask(ask).await
    }

    /// Something is to be claimed, here or elsewhere.
    fn ring_queued(&self) {
        self.changes.ring_queued();
        self.wishes.queued();
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // Otherwise what rings would go on, and keep the connections.
        self.stop.cancel();
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn submit(&self, new: NewTask) -> Result<Submitted, StoreError> {
        let full = if let Some(full) = self.queue.is_full(new.max_queued) {
            full
        } else {
            let queued = self.ask(|db| Box::pin(read::queued(db))).await?;
            self.queue.counted(queued);
            queued >= new.max_queued
        };
        let submitted = self.ask(move |db| Box::pin(submit::submit(db, new, full))).await?;
        if let Submitted::Created(_) = submitted {
            self.queue.more(1);
            self.ring_queued();
        }
        kill_point("submit-committed");
        Ok(submitted)
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        let id = id.clone();
        self.ask(|db| Box::pin(read::task(db, id))).await
    }

    async fn list(&self, query: ListQuery) -> Result<Listed, StoreError> {
        self.ask(|db| Box::pin(list::list(db, query))).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        let (held, lease) = (Arc::clone(&self.held), self.lease);
        let claimed = self.ask(move |db| Box::pin(async move { claim::claim(db, claim, lease, &held).await })).await?;
        self.queue.less(claimed.len());
        for claimed in &claimed {
            self.changes.ring_task(&claimed.task.id);
        }
        Ok(claimed)
    }

    async fn record(&self, fence: Fence, step: Step) -> Result<Recorded, StoreError> {
        let (id, held, lease) = (fence.id.clone(), Arc::clone(&self.held), self.lease);
        let record = async move |db: &mut PgConnection| record::record(db, fence, step, lease, &held).await;
        let recorded = self.ask(move |db| Box::pin(async move { record(db).await })).await?;
        self.changes.ring_task(&id);
        Ok(recorded)
    }

    async fn hand_back(&self, fence: Fence) -> Result<(), StoreError> {
        self.held.gone(&fence);
        let id = fence.id.clone();
        self.ask(|db| Box::pin(claim::hand_back(db, fence))).await?;
        self.queue.more(1);
        self.ring_queued();
        self.changes.ring_task(&id);
        Ok(())
    }

    async fn recover(&self, _: &WorkerId, lost_limit: u32, now: Timestamp) -> Result<Recovered, StoreError> {
        if !self.held.may_judge() {
            return Ok(Recovered::default());
        }
        let grace = self.grace;
        let recovered = self.ask(move |db| Box::pin(claim::recover(db, lost_limit, now, grace))).await?;
        if recovered.requeued > 0 {
            self.queue.forget();
            self.ring_queued();
        }
        Ok(recovered)
    }

    async fn beat(&self, beat: Heartbeat) -> Result<Vec<Fence>, StoreError> {
        let (held, lease) = (Arc::clone(&self.held), self.lease);
        self.beats.ask(move |db| Box::pin(async move { claim::beat(db, beat, lease, &held).await })).await
    }

    async fn retire(&self, worker: &WorkerId) -> Result<(), StoreError> {
        let worker = worker.clone();
        self.ask(|db| Box::pin(claim::retire(db, worker))).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        // Between two beats of one that lives.
        let lease = self.lease;
        self.ask(move |db| Box::pin(read::stats(db, lease))).await
    }

    async fn request_cancel(&self, id: &TaskId, now: Timestamp) -> Result<CancelAnswer, StoreError> {
        let cancelled = id.clone();
        let answer = self.ask(move |db| Box::pin(submit::request_cancel(db, cancelled, now))).await?;
        // It may have been cancelled while it waited.
        self.queue.forget();
        self.changes.ring_cancels();
        self.wishes.cancel();
        self.changes.ring_task(id);
        kill_point("cancel-committed");
        Ok(answer)
    }

    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<Fence>, StoreError> {
        let worker = worker.clone();
        self.ask(|db| Box::pin(read::cancel_requests(db, worker))).await
    }

    async fn label(&self, id: &TaskId, verdict: Verdict) -> Result<LabelAnswer, StoreError> {
        let labelled = id.clone();
        let answer = self.ask(|db| Box::pin(label::label(db, labelled, verdict))).await?;
        self.changes.ring_task(id);
        Ok(answer)
    }

    async fn delete(&self, id: &TaskId) -> Result<DeleteAnswer, StoreError> {
        let deleted = id.clone();
        // With all the lines of its record.
        let answer = self.pool.ask_long(|db| Box::pin(submit::delete(db, deleted))).await?;
        self.changes.ring_task(id);
        Ok(answer)
    }

    async fn expired(&self, before: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.ask(move |db| Box::pin(read::expired(db, before, limit))).await
    }

    async fn unfiled(&self, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        self.ask(move |db| Box::pin(read::unfiled(db, limit))).await
    }

    async fn mark_filed(&self, ended: Vec<(TaskId, Timestamp)>) -> Result<Vec<TaskId>, StoreError> {
        self.ask(|db| Box::pin(files::mark_filed(db, ended))).await
    }

    async fn removals(&self, limit: u32) -> Result<Vec<TaskId>, StoreError> {
        let removed = Arc::clone(&self.removed);
        self.ask(move |db| Box::pin(async move { files::removals(db, limit, &removed).await })).await
    }

    /// Each process keeps for itself what it has done; the others have files of their own.
    async fn mark_removed(&self, id: &TaskId) -> Result<(), StoreError> {
        self.removed.done(id);
        Ok(())
    }

    async fn lines(&self, id: &TaskId, from: u64, limit: u32) -> Result<Vec<StoredLine>, StoreError> {
        let id = id.clone();
        self.ask(move |db| Box::pin(read::lines(db, id, from, limit))).await
    }

    async fn offset_after(&self, id: &TaskId, iteration: u32) -> Result<u64, StoreError> {
        let id = id.clone();
        self.ask(move |db| Box::pin(read::offset_after(db, id, iteration))).await
    }

    fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(PostgresArchive::beside(&self.pool))
    }

    async fn begin_chore(&self, chore: Chore, _: Timestamp) -> Result<bool, StoreError> {
        let lease = self.lease;
        self.ask(move |db| Box::pin(chores::begin(db, chore, lease))).await
    }

    async fn keep_chore(&self, chore: Chore, _: Timestamp) -> Result<bool, StoreError> {
        let lease = self.lease;
        self.ask(move |db| Box::pin(chores::keep(db, chore, lease))).await
    }

    async fn end_chore(&self, chore: Chore, done: bool) -> Result<(), StoreError> {
        self.ask(move |db| Box::pin(chores::end(db, chore, done))).await
    }

    async fn last_chore(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let name = name.to_owned();
        self.ask(|db| Box::pin(chores::last(db, name))).await
    }

    fn database(&self) -> Option<Database> {
        let (idle, used) = self.pool.connections();
        Some(Database::Pool { idle: idle as u64, used: used as u64 })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.ask(|db| Box::pin(read::ping(db))).await
    }

    async fn hold(&self, fence: &Fence) -> Result<(), StoreError> {
        if self.held.is_certain(fence) {
            return Ok(());
        }
        let (fence, held, lease) = (fence.clone(), Arc::clone(&self.held), self.lease);
        self.ask(move |db| Box::pin(async move { claim::hold(db, fence, lease, &held).await })).await
    }

    async fn hold_ends(&self, fence: &Fence) {
        self.held.ends(fence).await;
    }

    /// Each process has files of its own.
    async fn hold_files(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Nobody takes a process's place: each has its own tasks.
    async fn displaced(&self) {
        std::future::pending::<()>().await;
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn close(&self) {
        self.stop.cancel();
        self.tracker.wait().await;
        tokio::join!(self.pool.close(), self.beats.close());
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }
}
