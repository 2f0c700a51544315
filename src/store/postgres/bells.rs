//! Rings for what other processes have done: by the server's notifications, and by looking.
//!
//! ```text
//!  submit, cancel here ─► wish ─► at most one NOTIFY in so many milliseconds ─► LISTEN there ─► bell
//!  somebody waits for a task here ─► its revision is looked at, four times a second ─────────► bell
//! ```
//!
//! A notification is a hint. It takes a lock that all commits of the server share, so it is never part of a submission;
//! what it does not reach, polling does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clock::DatabaseClock;
use super::pool::{Pool, PostgresSettings};
use super::read;
use crate::domain::{Clock, SystemClock, TaskId};
use crate::store::{Changes, StoreError};

/// What is listened to. Its messages are the two below.
const CHANNEL: &str = "codex_agent";
const QUEUED: &str = "queued";
const CANCEL: &str = "cancel";

/// Wishes within that time share one notification.
const GATHER: Duration = Duration::from_millis(10);

/// How often tasks that somebody waits for are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How often the server is asked for its time, and the listening connection whether it lives.
const CHECK: Duration = Duration::from_secs(10);

/// How long a connection that listens may take to be made, and to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to tell others of the last things that were done here.
const LAST: Duration = Duration::from_secs(1);

/// The pause before it is made again.
const PAUSE: Duration = Duration::from_secs(1);

/// What others are to be told of.
#[derive(Clone, Default)]
pub(super) struct Wishes {
    inner: Arc<Wished>,
}

#[derive(Default)]
struct Wished {
    queued: AtomicBool,
    cancel: AtomicBool,
    any: Notify,
}

impl Wishes {
    /// There is something to be claimed.
    pub(super) fn queued(&self) {
        self.inner.queued.store(true, Ordering::Relaxed);
        self.inner.any.notify_one();
    }

    /// A running task is to be stopped.
    pub(super) fn cancel(&self) {
        self.inner.cancel.store(true, Ordering::Relaxed);
        self.inner.any.notify_one();
    }

    fn take(&self) -> Vec<String> {
        let taken = [(&self.inner.queued, QUEUED), (&self.inner.cancel, CANCEL)];
        let taken = taken.into_iter().filter(|(wish, _)| wish.swap(false, Ordering::Relaxed));
        taken.map(|(_, message)| message.to_owned()).collect()
    }
}

/// What rings.
pub(super) struct Bells {
    pub pool: Pool,
    pub changes: Changes,
    pub wishes: Wishes,
    pub clock: DatabaseClock,
    pub stop: CancellationToken,
}

impl Bells {
    /// Rings until told to stop.
    pub(super) async fn ring(self, settings: PostgresSettings) {
        let all = async { tokio::join!(self.listen(&settings), self.tell(), self.look(), self.learn_time()) };
        tokio::select! {
            () = self.stop.cancelled() => {}
            _ = all => {}
        }
        // What was wished last: a worker that goes hands back its tasks, and others are to take them at once.
        if tokio::time::timeout(LAST, self.tell_now()).await.is_err() {
            tracing::debug!("other workers could not be told: they find it by looking");
        }
    }

    async fn listen(&self, settings: &PostgresSettings) {
        loop {
            if let Err(error) = self.listen_once(settings).await {
                tracing::debug!(%error, "not listening for other workers: what they do is found by looking");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn listen_once(&self, settings: &PostgresSettings) -> Result<(), sqlx::Error> {
        let late = |_| sqlx::Error::PoolTimedOut;
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.acquire_timeout(PATIENCE).connect_lazy_with(settings.options.clone());
        let mut listener = tokio::time::timeout(PATIENCE, PgListener::connect_with(&pool)).await.map_err(late)??;
        tokio::time::timeout(PATIENCE, listener.listen(CHANNEL)).await.map_err(late)??;
        // Whatever came before this connection did.
        self.changes.ring_queued();
        self.changes.ring_cancels();
        let mut check = Instant::now() + CHECK;
        loop {
            tokio::select! {
                heard = listener.try_recv() => match heard?.as_ref().map(|heard| heard.payload().to_owned()).as_deref() {
                    Some(QUEUED) => self.changes.ring_queued(),
                    Some(CANCEL) => self.changes.ring_cancels(),
                    Some(_) => {}
                    // The connection was lost and made again.
                    None => {
                        self.changes.ring_queued();
                        self.changes.ring_cancels();
                    }
                },
                () = tokio::time::sleep_until(check) => {
                    tokio::time::timeout(PATIENCE, listener.execute("SELECT 1")).await.map_err(late)??;
                    check = Instant::now() + CHECK;
                }
            }
        }
    }

    async fn tell(&self) {
        loop {
            self.wishes.inner.any.notified().await;
            tokio::time::sleep(GATHER).await;
            self.tell_now().await;
        }
    }

    async fn tell_now(&self) {
        let messages = self.wishes.take();
        if messages.is_empty() {
            return;
        }
        let told = self.pool.ask(move |db| {
            Box::pin(async move {
                let notify = "SELECT pg_notify($1, message) FROM UNNEST($2::text[]) m (message)";
                sqlx::query(notify).bind(CHANNEL).bind(messages).execute(db).await?;
                Ok(())
            })
        });
        if let Err(error) = told.await {
            tracing::debug!(%error, "other workers could not be told: they find it by looking");
        }
    }

    async fn look(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: HashMap<TaskId, Option<i64>> = HashMap::new();
        loop {
            looks.tick().await;
            let watched = self.changes.watched();
            known.retain(|id, _| watched.contains(id));
            if watched.is_empty() {
                continue;
            }
            let names = watched.iter().map(TaskId::to_string).collect();
            let Ok(found) = self.pool.ask(|db| Box::pin(read::revisions(db, names))).await else { continue };
            let found: HashMap<TaskId, i64> = found.into_iter().collect();
            for id in watched {
                let revision = found.get(&id).copied();
                // One that is new here was looked at by whoever waits, perhaps before it changed.
                if known.insert(id.clone(), revision) != Some(revision) {
                    self.changes.ring_task(&id);
                }
            }
        }
    }

    async fn learn_time(&self) {
        let mut looks = interval(CHECK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = learn_time(&self.pool, &self.clock).await {
                tracing::debug!(%error, "the server does not tell its time");
            }
        }
    }
}

/// Asks the server for its time.
pub(super) async fn learn_time(pool: &Pool, clock: &DatabaseClock) -> Result<(), StoreError> {
    let asked = pool.ask(|db| {
        Box::pin(async move {
            // Once for the connection, and once for the time.
            read::time(db).await?;
            let before = SystemClock.now();
            Ok((before, read::time(db).await?, SystemClock.now()))
        })
    });
    let (before, server, after) = asked.await?;
    clock.learn(before, server, after);
    Ok(())
}
