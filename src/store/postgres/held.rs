//! What this process knows of its leases without asking: how long it certainly has each task, and whether it may look for
//! those of others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Fence;

/// The tasks that are held here.
pub(super) struct Held {
    lease: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By place in the order of arrival: under which claim, and since when certainly.
    tasks: HashMap<i64, (i64, Instant)>,
    /// When the hold was renewed last.
    renewed: Option<Instant>,
    /// Since when it has been renewed in time, if it has not always been.
    steady: Option<Instant>,
}

impl Held {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, known: Mutex::default() }
    }

    /// The server has been asked at `since` and has said that the task is held by this claim. Its lease began later than
    /// that, so it does not end sooner.
    pub(super) fn renewed(&self, fence: &Fence, since: Instant) {
        self.known().tasks.insert(fence.seq, (fence.claim, since));
    }

    /// The same of one that is known to be held. One that has ended meanwhile is not taken in again.
    pub(super) fn renewed_again(&self, fence: &Fence, since: Instant) {
        if let Some((claim, renewed)) = self.known().tasks.get_mut(&fence.seq)
            && *claim == fence.claim
        {
            *renewed = since.max(*renewed);
        }
    }

    /// The task has ended, or is held no more; whether it was known to be held.
    pub(super) fn gone(&self, fence: &Fence) -> bool {
        let mut known = self.known();
        let held = known.tasks.get(&fence.seq).is_some_and(|(claim, _)| *claim == fence.claim);
        if held {
            known.tasks.remove(&fence.seq);
        }
        held
    }

    /// Whether nobody else can have got the task yet.
    pub(super) fn is_certain(&self, fence: &Fence) -> bool {
        self.left(fence).is_some()
    }

    /// Returns when that is not so any more: nothing has been heard of the server for a lease, or the task is gone.
    pub(super) async fn ends(&self, fence: &Fence) {
        while let Some(left) = self.left(fence) {
            tokio::time::sleep(left).await;
        }
    }

    /// How long it is so for, if nothing is renewed.
    fn left(&self, fence: &Fence) -> Option<Duration> {
        // The server counts whole milliseconds, and may be one behind.
        let certain = self.lease.saturating_sub(Duration::from_millis(1));
        let known = self.known();
        let (_, since) = known.tasks.get(&fence.seq).filter(|(claim, _)| *claim == fence.claim)?;
        certain.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }

    /// All that is held has been renewed at `since`.
    pub(super) fn beaten(&self, since: Instant) {
        let mut known = self.known();
        if known.renewed.is_some_and(|last| since.duration_since(last) > self.lease) {
            known.steady = Some(since);
        }
        known.renewed = Some(since);
    }

    /// Whether those whose leases have run out are to be taken for dead. A worker that could not renew its own (it stood
    /// still, or the server was away) cannot know whether others could: it lets them have their time first.
    pub(super) fn may_judge(&self) -> bool {
        let known = self.known();
        let current = known.renewed.is_none_or(|last| last.elapsed() <= self.lease);
        current && known.steady.is_none_or(|since| since.elapsed() >= self.lease)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic cannot leave it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn a_task_is_certain_for_a_lease_and_under_its_claim_alone() {
        let held = Held::new(LEASE);
        let fence = |claim| Fence { id: "t".parse().unwrap(), seq: 1, claim };
        assert!(!held.is_certain(&fence(1)));
        held.renewed(&fence(1), ago(29));
        assert!(held.is_certain(&fence(1)) && !held.is_certain(&fence(2)));
        held.renewed(&fence(2), ago(30));
        assert!(!held.is_certain(&fence(2)));
        held.gone(&fence(1));
        held.renewed(&fence(2), ago(0));
        assert!(held.is_certain(&fence(2)));
    }

    #[tokio::test]
    async fn a_hold_ends_a_lease_after_it_was_renewed_last_or_with_the_task() {
        let lease = Duration::from_millis(200);
        let (held, fence) = (Held::new(lease), Fence { id: "t".parse().unwrap(), seq: 1, claim: 1 });
        held.renewed(&fence, Instant::now());
        let begun = Instant::now();
        let renewed = async {
            tokio::time::sleep(lease / 2).await;
            held.renewed(&fence, Instant::now());
        };
        tokio::join!(held.ends(&fence), renewed);
        assert!(begun.elapsed() >= lease * 5 / 4, "{:?}", begun.elapsed());
        held.renewed(&fence, Instant::now());
        held.gone(&fence);
        held.ends(&fence).await;
    }

    #[test]
    fn who_was_away_for_longer_than_a_lease_judges_nobody_for_another() {
        let held = Held::new(LEASE);
        assert!(held.may_judge());
        held.beaten(ago(100));
        assert!(!held.may_judge());
        // It moves again.
        held.beaten(ago(50));
        held.beaten(ago(25));
        assert!(held.may_judge());
        let held = Held::new(LEASE);
        held.beaten(ago(100));
        held.beaten(ago(20));
        assert!(!held.may_judge());
    }
}
