//! Tells the store that the worker lives and what it holds, and lets go of what it has lost.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Scheduler;
use crate::store::{Fence, Heartbeat, StoreError};

/// How many times within its term a lease is renewed: some may fail.
const BEATS: u32 = 3;

/// The longest time between two beats: who asks how many workers there are should not hear of long gone ones.
const SLOWEST: Duration = Duration::from_secs(5);

/// How long the answer to a beat is waited for at least.
const PATIENCE: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Beats until all that ran has come to rest, and says goodbye.
    pub(super) async fn beat_until(self: &Arc<Self>, rested: &CancellationToken) {
        let between = (self.lease / BEATS).min(SLOWEST);
        let mut pause = tokio::time::interval(between);
        pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drained = false;
        loop {
            tokio::select! {
                biased;
                () = rested.cancelled() => break,
                // At once, so that nobody counts on this worker.
                () = self.drain.cancelled(), if !drained => drained = true,
                _ = pause.tick() => {}
            }
            // A beat that hangs must hold up neither the end nor the next one, which goes another way.
            match tokio::time::timeout(between.max(PATIENCE), self.beat()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the hold on what runs could not be renewed"
                    );
                }
                Err(_) => tracing::error!("the hold on what runs could not be renewed: the database does not answer"),
            }
        }
        match tokio::time::timeout(PATIENCE, self.store.retire(&self.worker)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the worker could not say that it stops");
            }
            Err(_) => tracing::warn!("the worker could not say that it stops: the database does not answer"),
        }
    }

    async fn beat(&self) -> Result<(), StoreError> {
        // The time first: what is held is known to be so no earlier.
        let now = self.clock.now();
        let claiming = self.claiming.try_lock();
        let held: Vec<Fence> = self.running().keys().cloned().collect();
        let complete = claiming.is_ok();
        drop(claiming);
        let capacity = if self.drain.is_cancelled() { 0 } else { self.max_running };
        let (worker, started_at) = (self.worker.clone(), self.started_at);
        let lost = self.store.beat(Heartbeat { worker, capacity, started_at, held, complete, now }).await?;
        let running = self.running();
        // One that has ended meanwhile is not held any more either, and is not here.
        for (fence, signals) in lost.iter().filter_map(|fence| Some((fence, running.get(fence)?))) {
            tracing::warn!(task = %fence.id, claim = fence.claim, "the task is another worker's by now");
            signals.halt.cancel();
        }
        Ok(())
    }
}
