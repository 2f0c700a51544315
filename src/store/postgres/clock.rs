//! The time, as the database has it: all who share a database go by its clock, whatever their own says.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::{Clock, SystemClock, Timestamp};

/// The server's time in milliseconds, for SQL.
macro_rules! now {
    () => {
        "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint"
    };
}
pub(super) use now;

/// This machine's clock, put right.
#[derive(Clone, Default)]
pub struct DatabaseClock {
    /// How far the server's clock is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().millis().saturating_add(self.ahead.load(Ordering::Relaxed)))
    }
}

impl DatabaseClock {
    /// Learns that between two moments of this machine's clock the server's said `server`. What is known already is kept
    /// if it may be right: an answer that was long on its way must not move the time.
    pub(super) fn learn(&self, before: Timestamp, server: i64, after: Timestamp) {
        let (least, most) = (server - after.millis(), server - before.millis());
        let known = self.ahead.load(Ordering::Relaxed);
        // If this machine's clock was set meanwhile, the two may have changed places.
        let right = known.max(least.min(most)).min(most.max(least));
        if right != known {
            self.ahead.store(right, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_no_further_than_it_must() {
        let (clock, at) = (DatabaseClock::default(), Timestamp::from_millis);
        let ahead = |clock: &DatabaseClock| clock.ahead.load(Ordering::Relaxed);
        clock.learn(at(1000), 1010, at(1020));
        assert_eq!(ahead(&clock), 0);
        clock.learn(at(1000), 3_601_010, at(1020));
        assert_eq!(ahead(&clock), 3_599_990);
        clock.learn(at(2000), 3_602_001, at(2005));
        assert_eq!(ahead(&clock), 3_599_996);
        clock.learn(at(3000), 3000, at(3000));
        assert_eq!(ahead(&clock), 0);
    }
}
