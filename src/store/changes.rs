//! Who waits for what: bells that are rung after a commit, so that nobody has to poll.
//!
//! A bell is a hint. Whoever waits subscribes before it looks, and looks again after a ring; the scheduler also
//! looks from time to time, so that a ring that was missed costs time and nothing else.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::domain::TaskId;

/// The bells of a store.
#[derive(Clone, Default)]
pub struct Changes {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    queued: Notify,
    cancels: Notify,
    tasks: Mutex<HashMap<TaskId, Weak<Notify>>>,
}

/// A wait for the next change of one task.
pub struct Subscription {
    changes: Changes,
    id: TaskId,
    bell: Arc<Notify>,
}

impl Changes {
    /// Returns after a task has come into the queue.
    pub async fn queued(&self) {
        self.inner.queued.notified().await;
    }

    /// Returns after somebody asked for a running task to stop.
    pub async fn cancel_requested(&self) {
        self.inner.cancels.notified().await;
    }

    /// Prepares to wait for changes of one task. To be called before the task is looked at.
    pub fn subscribe(&self, id: &TaskId) -> Subscription {
        let mut tasks = self.tasks();
        let bell = tasks.get(id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let bell = Arc::new(Notify::new());
            tasks.insert(id.clone(), Arc::downgrade(&bell));
            bell
        });
        Subscription { changes: self.clone(), id: id.clone(), bell }
    }

    /// The tasks that somebody waits for.
    pub(super) fn watched(&self) -> HashSet<TaskId> {
        self.tasks().keys().cloned().collect()
    }

    pub(super) fn ring_queued(&self) {
        self.inner.queued.notify_one();
    }

    pub(super) fn ring_cancels(&self) {
        self.inner.cancels.notify_one();
    }

    pub(super) fn ring_task(&self, id: &TaskId) {
        if let Some(bell) = self.tasks().get(id).and_then(Weak::upgrade) {
            bell.notify_waiters();
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, Weak<Notify>>> {
        // A panic cannot leave the map half changed.
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// A future that is ready after the next change. It counts from the call, not from the first poll.
    pub fn next_change(&self) -> OwnedNotified {
        Arc::clone(&self.bell).notified_owned()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut tasks = self.changes.tasks();
        // Under the lock: of two who leave at the same moment the later one sees that nobody is left.
        drop(std::mem::take(&mut self.bell));
        if tasks.get(&self.id).is_some_and(|bell| bell.strong_count() == 0) {
            tasks.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_change_between_subscribing_and_waiting_is_not_missed() {
        let (changes, id) = (Changes::default(), "t".parse::<TaskId>().unwrap());
        let subscription = changes.subscribe(&id);
        let change = subscription.next_change();
        changes.ring_task(&id);
        change.await;
    }

    #[test]
    fn nothing_is_kept_when_the_last_waiter_has_gone() {
        let (changes, id) = (Changes::default(), "t".parse::<TaskId>().unwrap());
        let (one, two) = (changes.subscribe(&id), changes.subscribe(&id));
        drop(one);
        assert_eq!(changes.tasks().len(), 1);
        drop(two);
        assert!(changes.tasks().is_empty());
    }

    #[test]
    fn nothing_is_kept_when_two_leave_at_the_same_moment() {
        let (changes, here) = (Changes::default(), AtomicUsize::new(0));
        let come_and_go = || {
            for round in 1..=2000 {
                let waiting = changes.subscribe(&format!("t{round}").parse().unwrap());
                here.fetch_add(1, Ordering::SeqCst);
                while here.load(Ordering::SeqCst) < 2 * round {
                    std::hint::spin_loop();
                }
                drop(waiting);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(come_and_go);
            scope.spawn(come_and_go);
        });
        assert!(changes.tasks().is_empty());
    }
}
