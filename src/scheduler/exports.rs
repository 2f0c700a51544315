//! Exports at set times, by one worker at a time.
//!
//! Whoever finds that a time is due says so in the store, and renews that while it is at it. If it dies, its lease runs out and
//! another one begins anew. Each export adds to the one before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::domain::{Clock, Json, Timestamp, WorkerId};
use crate::export::{Directory, Export, ExportError, Mode, Options, Schedule, Totals};
use crate::store::{Chore, Store, StoreError};

/// What the chore is called in the store.
const NAME: &str = "export";

/// After a failure, this long before the next try: a full disk is not emptied in seconds, and a night should not be lost.
const AGAIN: Duration = Duration::from_mins(5);

/// The longest that is slept: clocks are set, and another worker may have died over it.
const LOOK: Duration = Duration::from_mins(1);

/// Renewals of a lease before it runs out.
const BEATS: u32 = 3;

/// What is exported when, and where to.
pub struct ScheduledExports {
    /// When.
    pub schedule: Schedule,
    /// Where to. Workers that share a database share this directory, or each has what it did itself.
    pub dir: PathBuf,
    /// What.
    pub options: Options,
    /// Where the tasks are, and who does it.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who asks.
    pub worker: WorkerId,
    /// How long another one holds it without renewing.
    pub lease: Duration,
    /// The tools' descriptions.
    pub tools: Json,
    /// This process's own secrets.
    pub secrets: Vec<String>,
    /// Ends it.
    pub stop: CancellationToken,
}

impl ScheduledExports {
    /// Exports whenever it is due, until it is stopped.
    pub async fn run(&self) {
        let started = self.clock.now();
        while !self.stop.is_cancelled() {
            let pause = self.look(started).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "it cannot be told whether an export is due");
                LOOK
            });
            self.sleep(pause).await;
        }
    }

    /// Does it if it is due; how long until the next look.
    async fn look(&self, started: Timestamp) -> Result<Duration, StoreError> {
        let now = self.clock.now();
        let Some(done) = self.store.last_chore(NAME).await? else {
            // Times before the first service was started are nobody's to make up for; all later ones are. So it is noted.
            let first = self.chore(started);
            if !self.store.begin_chore(first.clone(), now).await? {
                return Ok(LOOK.min(self.lease));
            }
            self.store.end_chore(first, true).await?;
            return Ok(Duration::from_millis(1));
        };
        let Some(due) = self.schedule.last_until(now).filter(|due| *due > done) else {
            let next = self.schedule.next_after(now).map_or(LOOK, |next| next.since(now));
            return Ok(next.clamp(Duration::from_millis(1), LOOK));
        };
        let chore = self.chore(due);
        if !self.store.begin_chore(chore.clone(), now).await? {
            // Another one is at it.
            return Ok(self.lease.min(LOOK));
        }
        let exported = self.held(&chore).await;
        match &exported {
            Ok(totals) => {
                let (new, whole) = (totals.new, totals.whole);
                tracing::info!(%due, tasks = new.tasks, rows = new.rows, all_tasks = whole.tasks, "exported to {}", self.dir.display());
            }
            Err(ExportError::Stopped) => {}
            Err(error) => {
                tracing::error!(%due, error = error as &dyn std::error::Error, "the scheduled export failed");
                // It is kept meanwhile: what stands in its way stands in the way of all others.
                self.keep_for(&chore, AGAIN).await;
            }
        }
        self.store.end_chore(chore, exported.is_ok()).await?;
        Ok(Duration::from_millis(1))
    }

    /// Exports as long as the chore is held.
    async fn held(&self, chore: &Chore) -> Result<Totals, ExportError> {
        let stop = self.stop.child_token();
        let (export, dir) = (self.export(stop.clone()), self.dir.clone());
        let working = tokio::task::spawn_blocking(move || {
            let mut sink = Directory::create(&dir, Mode::Incremental)?;
            export.run(&mut sink, &mut |_, _| {})
        });
        tokio::pin!(working);
        loop {
            tokio::select! {
                done = &mut working => return done.unwrap_or_else(|error| Err(ExportError::Panicked(error.to_string()))),
                () = tokio::time::sleep(self.lease / BEATS) => {
                    if !self.is_kept(chore).await {
                        tracing::warn!("another worker has taken the scheduled export over");
                        stop.cancel();
                    }
                }
            }
        }
    }

    /// Holds the chore for a while without doing anything.
    async fn keep_for(&self, chore: &Chore, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        while !self.stop.is_cancelled() && tokio::time::Instant::now() < until && self.is_kept(chore).await {
            self.sleep(self.lease / BEATS).await;
        }
    }

    /// Renews the hold. Where nobody can be asked, the lease may still hold; the next time it is told.
    async fn is_kept(&self, chore: &Chore) -> bool {
        !matches!(self.store.keep_chore(chore.clone(), self.clock.now()).await, Ok(false))
    }

    async fn sleep(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn chore(&self, slot: Timestamp) -> Chore {
        Chore { name: NAME, slot, worker: self.worker.clone() }
    }

    fn export(&self, stop: CancellationToken) -> Export {
        Export {
            options: self.options.clone(),
            archive: self.store.archive(),
            tools: self.tools.clone(),
            secrets: self.secrets.clone(),
            runtime: Handle::current(),
            stop,
        }
    }
}
