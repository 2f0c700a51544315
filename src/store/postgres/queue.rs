//! About how many tasks wait: to count them for each submission would cost the server more than the submission.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a count is good for: other workers submit and claim meanwhile, so that `MAX_QUEUED` is overstepped by what comes
/// in that time.
const GOOD: Duration = Duration::from_secs(1);

/// How long it is good for refusing: whoever is refused comes again.
const GOOD_FOR_REFUSING: Duration = Duration::from_millis(100);

/// The last count, and what this process has done since.
#[derive(Default)]
pub(super) struct Queue(Mutex<Option<(Instant, u32)>>);

impl Queue {
    /// Whether `most` wait, if that is known.
    pub(super) fn is_full(&self, most: u32) -> Option<bool> {
        let (counted, queued) = (*self.last())?;
        let full = queued >= most;
        let good = if full { GOOD_FOR_REFUSING } else { GOOD };
        (counted.elapsed() < good).then_some(full)
    }

    pub(super) fn counted(&self, queued: u32) {
        *self.last() = Some((Instant::now(), queued));
    }

    /// Something has changed, who knows how.
    pub(super) fn forget(&self) {
        *self.last() = None;
    }

    pub(super) fn more(&self, count: usize) {
        self.change(|queued| queued.saturating_add(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    pub(super) fn less(&self, count: usize) {
        self.change(|queued| queued.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    fn change(&self, change: impl FnOnce(u32) -> u32) {
        if let Some((_, queued)) = &mut *self.last() {
            *queued = change(*queued);
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, u32)>> {
        // A panic cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
