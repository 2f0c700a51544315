//! Adds up what processes have used that come and go, each thing once, and loses nothing that was seen.
//!
//! ```text
//!  parent ── own ─────────┐             a child that ends is either
//!     │      taken over ──┤◄── waited for ── taken over: the account of one above it grows by all that the child had,
//!   child ── own ─────────┤             or
//!            taken over ──┘◄── ignored ───── lost to the kernel's accounts, and kept in this one
//! ```
//!
//! Which of the two became of a child the kernel does not say. But what is taken over goes to a process above the child
//! and makes that one's account grow. So of what a vanished child had, only that much is taken for lost as nobody above it
//! has grown by: never too much, whoever waits for whom. It can be too little, if somebody above has grown by the time of
//! other children meanwhile: then that is in the sum.

use std::collections::HashMap;

/// What one process has used at a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub parent: i32,
    /// Tells two processes of the same number apart.
    pub started: u64,
    /// All that is in its account.
    pub total: u64,
    /// The part that children's accounts may have gone into.
    pub taken: u64,
}

/// A process that is no longer there.
#[derive(Debug)]
struct Gone {
    /// What nobody has grown by so far.
    left: u64,
    /// Those above it that were there when it had gone, the nearest first.
    above: Vec<i32>,
}

/// The account of all processes of a command.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    before: HashMap<i32, Entry>,
    /// Since the last look. A look takes a moment: a parent may be read before it takes its child over and the child
    /// after that, or the other way round. So the gone and the growth wait for each other until the next one.
    gone: Vec<Gone>,
    growth: HashMap<i32, u64>,
    lost: u64,
}

impl Ledger {
    /// All that has been used, given what each process has in its account now.
    pub fn look(&mut self, now: HashMap<i32, Entry>) -> u64 {
        let mut growth = HashMap::new();
        for (pid, entry) in &now {
            let before = self.before.get(pid).filter(|before| before.started == entry.started);
            growth.insert(*pid, entry.taken.saturating_sub(before.map_or(0, |before| before.taken)));
        }
        let mut gone = Vec::new();
        for (pid, entry) in &self.before {
            if entry.total > 0 && !is_there(&now, *pid, entry) {
                gone.push(Gone { left: entry.total, above: self.above(&now, *pid) });
            }
        }
        // The oldest first: for them it is the last time.
        for earlier in &mut self.gone {
            earlier.settle(&mut self.growth);
            earlier.settle(&mut growth);
            self.lost += earlier.left;
        }
        for newer in &mut gone {
            newer.settle(&mut self.growth);
            newer.settle(&mut growth);
        }
        (self.gone, self.growth, self.before) = (gone, growth, now);
        self.lost + self.before.values().map(|entry| entry.total).sum::<u64>()
    }

    /// The processes above `pid` at the last look that are still there.
    fn above(&self, now: &HashMap<i32, Entry>, pid: i32) -> Vec<i32> {
        let (mut found, mut at) = (Vec::new(), pid);
        // No chain is longer than there are processes; a number that is used again could close one to a ring.
        for _ in 0..self.before.len() {
            let Some(parent) = self.before.get(&at).map(|entry| entry.parent) else { break };
            if self.before.get(&parent).is_some_and(|entry| is_there(now, parent, entry)) {
                found.push(parent);
            }
            at = parent;
        }
        found
    }
}

impl Gone {
    /// Takes from the growth of those above what this one had. The nearest first: fewer others may take from it.
    fn settle(&mut self, growth: &mut HashMap<i32, u64>) {
        for pid in &self.above {
            if let Some(growth) = growth.get_mut(pid) {
                let taken = self.left.min(*growth);
                *growth -= taken;
                self.left -= taken;
            }
        }
    }
}

fn is_there(now: &HashMap<i32, Entry>, pid: i32, entry: &Entry) -> bool {
    now.get(&pid).is_some_and(|now| now.started == entry.started)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes as (pid, parent, own, taken over).
    fn look(ledger: &mut Ledger, processes: &[(i32, i32, u64, u64)]) -> u64 {
        let entry = |(pid, parent, own, taken): (i32, i32, u64, u64)| {
            (pid, Entry { parent, started: 1, total: own + taken, taken })
        };
        ledger.look(processes.iter().copied().map(entry).collect())
    }

    #[test]
    fn what_a_parent_took_over_counts_once() {
        let mut ledger = Ledger::default();
        assert_eq!(look(&mut ledger, &[(1, 0, 1, 0), (2, 1, 1, 0), (3, 2, 50, 0), (4, 2, 20, 7)]), 79);
        // Both ended, and one that was never seen.
        assert_eq!(look(&mut ledger, &[(1, 0, 1, 0), (2, 1, 1, 90)]), 92);
        assert_eq!(look(&mut ledger, &[(1, 0, 1, 0), (2, 1, 1, 90)]), 92);
        // The parent as well.
        assert_eq!(look(&mut ledger, &[(1, 0, 1, 91)]), 92);
        assert_eq!(look(&mut ledger, &[(1, 0, 1, 91)]), 92);
    }

    #[test]
    fn what_nobody_took_over_stays_in_the_sum() {
        let mut ledger = Ledger::default();
        look(&mut ledger, &[(1, 0, 0, 0), (2, 1, 1, 0), (3, 2, 50, 0)]);
        look(&mut ledger, &[(1, 0, 0, 0), (2, 1, 1, 0), (4, 2, 30, 0)]);
        assert_eq!(look(&mut ledger, &[(1, 0, 0, 0), (2, 1, 1, 0), (5, 2, 9, 0)]), 60);
        look(&mut ledger, &[(1, 0, 0, 0), (2, 1, 1, 0)]);
        assert_eq!(look(&mut ledger, &[(1, 0, 0, 0), (2, 1, 1, 0)]), 90);
        // A whole branch is lost, only its top is taken over.
        look(&mut ledger, &[(1, 0, 0, 0), (6, 1, 5, 0), (7, 6, 40, 0), (8, 7, 2, 0)]);
        look(&mut ledger, &[(1, 0, 0, 6)]);
        assert_eq!(look(&mut ledger, &[(1, 0, 0, 6)]), 1 + 89 + 47);
    }

    #[test]
    fn a_number_that_is_used_again_is_somebody_else() {
        let mut ledger = Ledger::default();
        let at = |started, total| HashMap::from([(2, Entry { parent: 1, started, total, taken: 0 })]);
        ledger.look(at(1, 30));
        ledger.look(at(9, 4));
        assert_eq!(ledger.look(at(9, 4)), 34);
    }

    #[test]
    fn an_orphan_is_taken_over_further_up() {
        let mut ledger = Ledger::default();
        look(&mut ledger, &[(1, 0, 0, 0), (2, 1, 1, 0), (3, 2, 50, 0)]);
        assert_eq!(look(&mut ledger, &[(1, 0, 0, 1), (3, 1, 55, 0)]), 56);
        look(&mut ledger, &[(1, 0, 0, 60)]);
        assert_eq!(look(&mut ledger, &[(1, 0, 0, 60)]), 60);
    }

    #[test]
    fn it_does_not_matter_who_is_read_first() {
        // The parent before it took over, the child after that.
        let mut ledger = Ledger::default();
        look(&mut ledger, &[(1, 0, 1, 0), (2, 1, 50, 0)]);
        look(&mut ledger, &[(1, 0, 1, 0)]);
        assert_eq!(look(&mut ledger, &[(1, 0, 1, 50)]), 51);
        assert_eq!(look(&mut ledger, &[(1, 0, 1, 50)]), 51);
        // The parent after it took over, the child before it was gone.
        let mut ledger = Ledger::default();
        look(&mut ledger, &[(1, 0, 1, 0), (2, 1, 50, 0)]);
        look(&mut ledger, &[(1, 0, 1, 50), (2, 1, 50, 0)]);
        look(&mut ledger, &[(1, 0, 1, 50)]);
        assert_eq!(look(&mut ledger, &[(1, 0, 1, 50)]), 51);
    }
}
