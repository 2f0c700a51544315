//! What a command may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many more processes than its limit a command may start before it is noticed.
pub(super) const PROCESSES_UNSEEN: u64 = 64;

/// How much a command may use, all of its processes together unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time.
    pub cpu: Duration,
    /// Memory, in bytes; the private temporary directory's own memory comes on top, at most as much again.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u64,
    /// The length of a file, in bytes.
    pub file_size: u64,
    /// What is written to disk, in bytes.
    pub disk: u64,
    /// Open files of one process.
    pub open_files: u64,
}

/// The limit that ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Time by the clock: the call's `timeout`.
    Wall,
    /// `CMD_MAX_CPU`
    Cpu,
    /// `CMD_MAX_MEMORY`
    Memory,
    /// `CMD_MAX_PROCESSES`
    Processes,
    /// `CMD_MAX_FILE_SIZE`
    FileSize,
    /// `CMD_MAX_DISK`
    Disk,
    /// More output than anybody could want.
    Output,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_mins(10),
            memory: 2 << 30,
            processes: 256,
            file_size: 1 << 30,
            disk: 2 << 30,
            open_files: 1024,
        }
    }
}
