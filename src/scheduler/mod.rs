//! Claims queued tasks and keeps them running: at most so many at a time, each on a task of its own.
//!
//! ```text
//!   bells (queued, cancel) ─┐
//!   a slot is free ─────────┼─► look: claim as many as there is room for ─► run, spawned on the tracker
//!   about once a second ────┘         stop those that are to be cancelled; take up what dead workers left
//!   heart (its own file) ───► some times in a lease: I live, and hold these ─► those that are held no more let go
//!   drain ──► claim no more, wait for what runs          halt ──► what runs lets go at once
//! ```
//!
//! Beside it, `exports`: at set times one worker exports what has ended.
//!
//! Deliberately absent: what a step means (`run/`), and what may follow what (`domain/`).

mod exports;
mod heart;
mod housekeeping;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::exports::ScheduledExports;
use crate::domain::{Clock, ErrorCode, Outcome, TaskId, Timestamp, WorkerId};
use crate::kill_point::kill_point;
use crate::metrics::Metrics;
use crate::run::{RunError, Runner, Signals};
use crate::store::{Claim, Claimed, Fence, Recovered, Step, Store, StoreError, Which};

/// How often it looks without having been rung, in milliseconds: a missed ring costs this much. Never the same twice, so that
/// many workers do not all look at the same moment.
const POLL: RangeInclusive<u64> = 750..=1250;

/// How long after SIGTERM a question to the database is still waited for: whoever stops has more to do in its time.
const LAST: Duration = Duration::from_secs(2);

/// Tasks in one claim: enough that a claim's commit is shared, few enough that the first need not wait for the last.
const BATCH: u32 = 64;

/// Hands tasks to the runner.
pub struct Scheduler {
    store: Arc<dyn Store>,
    runner: Arc<Runner>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    worker: WorkerId,
    started_at: Timestamp,
    lease: Duration,
    max_running: u32,
    lost_limit: u32,
    retention: Option<Duration>,
    only: Option<TaskId>,
    running: Mutex<HashMap<Fence, Signals>>,
    /// Held while a claim is asked for: what comes of it is not among those that run yet.
    claiming: tokio::sync::Mutex<()>,
    freed: Notify,
    tracker: TaskTracker,
    drain: CancellationToken,
    halt: CancellationToken,
}

/// What a scheduler is made of.
pub struct SchedulerSettings {
    /// Where tasks come from.
    pub store: Arc<dyn Store>,
    /// Who runs them.
    pub runner: Arc<Runner>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Who this is.
    pub worker: WorkerId,
    /// `LEASE`
    pub lease: Duration,
    /// `MAX_RUNNING`
    pub max_running: u32,
    /// `LOST_LIMIT`
    pub lost_limit: u32,
    /// `RETENTION_DAYS`; `None`: for ever
    pub retention: Option<Duration>,
    /// Only this task, for one in the foreground.
    pub only: Option<TaskId>,
    /// Claim no more.
    pub drain: CancellationToken,
    /// Let go of what runs.
    pub halt: CancellationToken,
}

impl Scheduler {
    /// A scheduler of these parts.
    pub fn new(settings: SchedulerSettings) -> Arc<Self> {
        let SchedulerSettings { store, runner, clock, metrics, worker, lease, .. } = settings;
        let SchedulerSettings { max_running, lost_limit, retention, only, drain, halt, .. } = settings;
        Arc::new(Self {
            store,
            runner,
            started_at: clock.now(),
            clock,
            metrics,
            worker,
            lease,
            max_running,
            lost_limit,
            retention,
            only,
            running: Mutex::default(),
            claiming: tokio::sync::Mutex::default(),
            freed: Notify::new(),
            tracker: TaskTracker::new(),
            drain,
            halt,
        })
    }

    /// Works until drained and all that ran has come to rest.
    pub async fn run(self: Arc<Self>) -> Result<(), StoreError> {
        // What an earlier run of the process left is taken up before anything else: if that fails, so does the start.
        match self.recover().await {
            // Where others work as well, they look for it too, and this one does so again in a second.
            Err(error) if self.store.is_shared() && error.is_temporary() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "lost tasks could not be looked for");
            }
            recovered => recovered?,
        }
        kill_point("recovered");
        let rested = CancellationToken::new();
        let beating = self.beat_until(&rested);
        let looking = async { tokio::join!(self.work(), self.look_after()) };
        let drained = async {
            self.drain.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        let working = async {
            tokio::select! {
                _ = looking => {}
                // What still asks the database is left; whatever it claims is found when its lease is over.
                () = drained => tracing::warn!("the database does not answer: what is asked of it is left"),
            }
            self.tracker.close();
            self.tracker.wait().await;
            rested.cancel();
        };
        tokio::join!(beating, working);
        Ok(())
    }

    /// Claims and cancels until drained.
    async fn work(self: &Arc<Self>) {
        let mut look = Instant::now();
        while !self.drain.is_cancelled() {
            self.fill().await;
            tokio::select! {
                biased;
                () = self.drain.cancelled() => break,
                // Before the bells of the queue, which may ring without end.
                () = self.store.changes().cancel_requested() => self.cancel_requested().await,
                () = tokio::time::sleep_until(look) => {
                    self.cancel_requested().await;
                    look = next_look();
                }
                () = self.freed.notified() => {}
                () = self.store.changes().queued() => {}
            }
        }
    }

    /// Takes up what dead workers left and keeps house, beside the work: both may take a while.
    async fn look_after(&self) {
        let mut look = Instant::now();
        loop {
            tokio::select! {
                () = self.drain.cancelled() => return,
                () = tokio::time::sleep_until(look) => {}
            }
            if let Err(error) = self.recover().await {
                tracing::error!(error = &error as &dyn std::error::Error, "lost tasks cannot be looked for");
            }
            self.keep_house().await;
            look = next_look();
        }
    }

    async fn recover(&self) -> Result<(), StoreError> {
        let Recovered { requeued, given_up, cancelled } =
            self.store.recover(&self.worker, self.lost_limit, self.clock.now()).await?;
        self.metrics.requeued(requeued);
        self.metrics.given_up(given_up);
        if requeued + given_up + cancelled > 0 {
            tracing::info!(requeued, given_up, cancelled, "a worker that is gone left tasks unfinished");
        }
        Ok(())
    }

    /// Claims while there is room and something waits.
    async fn fill(self: &Arc<Self>) {
        loop {
            let running = u32::try_from(self.running().len()).unwrap_or(u32::MAX);
            let limit = self.max_running.saturating_sub(running).min(BATCH);
            if limit == 0 || self.drain.is_cancelled() {
                return;
            }
            let which = self.only.clone().map_or(Which::Any, Which::One);
            if self.claim(which, limit).await < limit as usize {
                return;
            }
        }
    }

    /// Claims and starts; how many there were.
    async fn claim(self: &Arc<Self>, which: Which, limit: u32) -> usize {
        let _claiming = self.claiming.lock().await;
        match self.store.claim(Claim { worker: self.worker.clone(), limit, which, now: self.clock.now() }).await {
            Ok(claimed) => {
                let got = claimed.len();
                for claimed in claimed {
                    self.start(claimed);
                }
                got
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no tasks can be claimed");
                0
            }
        }
    }

    fn start(self: &Arc<Self>, claimed: Claimed) {
        kill_point("claim-committed");
        let halt = self.halt.child_token();
        let signals = Signals { cancel: CancellationToken::new(), drain: self.drain.clone(), halt };
        self.running().insert(claimed.fence.clone(), signals.clone());
        let scheduler = Arc::clone(self);
        self.tracker.spawn(async move {
            let run = AssertUnwindSafe(scheduler.runner.run(&claimed, &signals)).catch_unwind();
            match run.await {
                Ok(Ok(())) => {}
                Ok(Err(RunError::Store(error @ (StoreError::Lost(_) | StoreError::Displaced)))) => {
                    scheduler.metrics.lease_lost();
                    tracing::warn!(%error, "let go");
                }
                // The worker stops, or has lost the task: whoever has it next goes on.
                Ok(Err(error)) if signals.halt.is_cancelled() => {
                    if !scheduler.halt.is_cancelled() {
                        scheduler.metrics.lease_lost();
                    }
                    tracing::error!(task = %claimed.task.id, error = &error as &dyn std::error::Error, "the run broke off");
                }
                Ok(Err(error)) => scheduler.fail(&claimed, &error).await,
                Err(_) => scheduler.fail(&claimed, &"a fault in the program (a panic)").await,
            }
            scheduler.running().remove(&claimed.fence);
            scheduler.freed.notify_one();
        });
    }

    /// A run that cannot go on for a reason of ours is a failed task, not a lost one.
    async fn fail(&self, claimed: &Claimed, reason: &(dyn std::fmt::Display + Sync)) {
        tracing::error!(task = %claimed.task.id, %reason, "the run broke off");
        let end = Outcome::failed(ErrorCode::Internal, reason.to_string());
        let iteration = match self.store.task(&claimed.task.id).await {
            Ok(task) => task.map_or(claimed.task.iteration, |task| task.iteration),
            Err(_) => claimed.task.iteration,
        };
        let step = Step {
            iteration,
            line: None,
            pending: None,
            intent: None,
            usage: None,
            end: Some(end.clone()),
            now: self.clock.now(),
        };
        match self.store.record(claimed.fence.clone(), step).await {
            Ok(_) => self.metrics.task_ended(&end),
            Err(error) => {
                tracing::error!(task = %claimed.task.id, error = &error as &dyn std::error::Error, "not even its failure could be recorded");
            }
        }
        self.runner.refresh(&claimed.task.id).await;
    }

    async fn cancel_requested(self: &Arc<Self>) {
        if self.only.is_none() {
            // Tasks that were handed back need a worker to tell the brain; that is short, and does not wait for a free slot.
            self.claim(Which::Cancelled, BATCH).await;
        }
        match self.store.cancel_requests(&self.worker).await {
            Ok(fences) => {
                let running = self.running();
                fences.iter().filter_map(|fence| running.get(fence)).for_each(|signals| signals.cancel.cancel());
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cancel requests cannot be read");
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Fence, Signals>> {
        // A panic cannot leave the map half changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_look() -> Instant {
    Instant::now() + Duration::from_millis(fastrand::u64(POLL))
}
