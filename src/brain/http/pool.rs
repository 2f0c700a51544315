//! Connections that wait for their next question.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::exchange::is_open;
use crate::brain::connect::Stream;

/// A connection that nobody used for so long is closed; the brain's side, or something between, may forget it.
const KEPT: Duration = Duration::from_secs(90);

/// How often those are closed that are too old, or that the brain has closed.
const SWEEP: Duration = Duration::from_secs(5);

/// Connections to one brain, the one used last on top.
#[derive(Default)]
pub(super) struct Pool {
    idle: Arc<Mutex<Idle>>,
    tracker: TaskTracker,
}

#[derive(Default)]
struct Idle {
    kept: Vec<Kept>,
    /// Whether somebody sweeps; nobody does while there is nothing to close.
    swept: bool,
}

struct Kept {
    stream: Stream,
    since: Instant,
}

impl Pool {
    /// A connection that is open, as far as one can know.
    pub(super) fn take(&self) -> Option<Stream> {
        loop {
            // In a statement of its own, so that the lock is free while a socket is closed.
            let kept = lock(&self.idle).kept.pop();
            let mut kept = kept?;
            if kept.is_good() {
                return Some(kept.stream);
            }
        }
    }

    /// Keeps a connection.
    pub(super) fn put(&self, stream: Stream) {
        let mut idle = lock(&self.idle);
        idle.kept.push(Kept { stream, since: Instant::now() });
        if !std::mem::replace(&mut idle.swept, true) {
            // It ends by itself, or with the runtime: nobody waits for it.
            self.tracker.spawn(sweep(Arc::downgrade(&self.idle)));
        }
    }
}

impl Kept {
    fn is_good(&mut self) -> bool {
        self.since.elapsed() < KEPT && is_open(&mut self.stream)
    }
}

/// Closes what is of no use any more, until there is nothing left.
async fn sweep(pool: Weak<Mutex<Idle>>) {
    let mut left = true;
    while left {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let gone: Vec<Kept> = {
            let mut idle = lock(&pool);
            let gone = idle.kept.extract_if(.., |kept| !kept.is_good()).collect();
            left = !idle.kept.is_empty();
            idle.swept = left;
            // There may have been thousands.
            idle.kept.shrink_to_fit();
            gone
        };
        // Sockets are closed with the lock free.
        drop(gone);
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
