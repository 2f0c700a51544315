//! How the tasks of a list are found: by what, and how far one question goes.
//!
//! ```text
//!  a label, a workspace ── the first word ─┐
//!  else a status ── each status ───────────┤─► candidates, newest first ─► those that are all the rest, too ─► a page
//!  else ── all tasks ──────────────────────┘       (so many at most)
//! ```
//!
//! Whatever has ended, a page reads what it shows. Where more than one thing is asked for, few of many candidates may be the
//! rest, too: then a page ends after so many candidates, with fewer tasks than asked for, and the next one goes on from there.

use std::time::Duration;

use super::{ListQuery, words};
use crate::domain::{Status, Timestamp};

/// Candidates that are looked at for one page: hundredths of a second, and a hundred times the usual page.
pub(super) const CANDIDATES: u32 = 5_000;

/// How far the times at which tasks were accepted may be out of the order of their arrival, at most. Where many workers take
/// tasks, one that has waited for a connection (5 s), for the server (10 s) and for both once more comes behind a later one;
/// and clocks differ.
const DISORDER: Duration = Duration::from_mins(2);

/// What candidates are found by.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum By {
    /// A word that they have.
    Word(String),
    /// How they stand.
    Status,
    /// Nothing.
    Place,
}

/// A list that is asked for.
#[derive(Debug)]
pub(super) struct Way {
    /// What candidates are found by.
    pub(super) by: By,
    /// How they may stand.
    pub(super) status: Vec<Status>,
    /// The other words that they have to have.
    pub(super) words: Vec<String>,
    /// When they were accepted: from then on, and before.
    pub(super) accepted: (Option<Timestamp>, Option<Timestamp>),
    /// Before this place.
    pub(super) before: i64,
    /// Tasks on the page.
    pub(super) limit: usize,
    /// The most candidates.
    pub(super) candidates: u32,
}

impl Way {
    pub(super) fn new(query: &ListQuery) -> Self {
        let ListQuery { filter, before, limit } = query;
        let mut words = words::asked(filter);
        let status: Vec<_> = Status::ALL.iter().copied().filter(|status| filter.status.contains(status)).collect();
        let by = match (words.is_empty(), status.is_empty()) {
            (false, _) => By::Word(words.remove(0)),
            (true, false) => By::Status,
            (true, true) => By::Place,
        };
        let accepted = (filter.since, filter.until);
        let by_status = by == By::Status || status.is_empty();
        let alone = by_status && words.is_empty() && accepted == (None, None);
        // One more than asked for tells whether there is a next page.
        let page = limit.saturating_add(1);
        let candidates = if alone { page } else { page.max(CANDIDATES) };
        let before = before.map_or(i64::MAX, |cursor| cursor.0);
        Self { by, status, words, accepted, before, limit: *limit as usize, candidates }
    }

    /// Any task that was accepted before this is before those that are asked for, in the order of arrival as well.
    pub(super) fn surely_before(&self) -> Option<Timestamp> {
        self.accepted.0.map(|since| since.before(DISORDER))
    }

    /// Any task that was accepted then or later is behind those that are asked for.
    pub(super) fn surely_behind(&self) -> Option<Timestamp> {
        self.accepted.1.map(|until| until.after(DISORDER))
    }
}
