//! What an export has come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sink::Split;

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Tasks.
    pub tasks: u64,
    /// Rows: lines of JSON.
    pub rows: u64,
    /// Tokens, by `o200k_base`.
    pub tokens: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What an export has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All that it has, with what was there before if it was added to.
    pub whole: Count,
    /// What is new.
    pub new: Count,
    /// The whole, by what it is for.
    pub splits: BTreeMap<Split, Count>,
    /// Tasks that were left out, by the reason's word.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Rows that were too long, of tasks that gave others.
    pub rows_too_long: u64,
    /// Secrets that were taken out, by rule.
    pub redacted: BTreeMap<String, u64>,
    /// A hash of the names and times of all tasks in it, in order.
    pub task_set: String,
    /// Of the new rows' tokens, the least, the quantiles of 50, 90, 95 and 99 percent, and the most; empty without rows.
    pub quantiles: Vec<u64>,
}

impl Totals {
    /// Which quantiles are told, in percent.
    pub const PERCENTS: [u32; 6] = [0, 50, 90, 95, 99, 100];

    /// Tasks that were left out.
    pub fn left_out(&self) -> u64 {
        self.rejected.values().sum()
    }
}

impl Count {
    pub(super) fn add(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.rows += other.rows;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }
}
