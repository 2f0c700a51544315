//! What the store answers.

use super::Cursor;
use crate::domain::{Status, Task, Timestamp, WorkerId};

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// It is new, and on disk.
    Created(Task),
    /// The same id or key came with the same body before: this is how it stands.
    Known(Task),
    /// The same id or key came with another body before.
    Conflict,
    /// As many tasks wait as may.
    QueueFull,
}

/// A page of the list.
#[derive(Debug)]
pub struct Listed {
    /// The tasks; fewer than asked for if they are very long, or if many had to be looked at that are not meant.
    pub tasks: Vec<Task>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// A step is on record.
#[derive(Debug)]
pub struct Recorded {
    /// Somebody asked for the task to stop.
    pub cancel_requested: bool,
    /// The length of the record now, in bytes.
    pub log_bytes: u64,
    /// The task as it has ended, if it has.
    pub ended: Option<Box<Task>>,
}

/// How much there is to do, and who does it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tasks that wait.
    pub queued: u64,
    /// Tasks that run.
    pub running: u64,
    /// When the one that has waited longest was accepted.
    pub oldest: Option<Timestamp>,
    /// The workers that live, by their ids.
    pub workers: Vec<WorkerStats>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerStats {
    /// Who.
    pub id: WorkerId,
    /// How many tasks it can run at a time.
    pub capacity: u32,
    /// How many it runs.
    pub running: u64,
    /// Since when it lives.
    pub started_at: Timestamp,
    /// When it last said so.
    pub seen_at: Timestamp,
}

/// What was found of workers that have died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Tasks that are in the queue again.
    pub requeued: u64,
    /// Tasks that have failed, because worker after worker died over them.
    pub given_up: u64,
    /// The same where somebody had asked for the task to stop: they are cancelled.
    pub cancelled: u64,
}

/// What became of a wish to cancel.
#[derive(Debug)]
pub enum CancelAnswer {
    /// It had not begun, and has ended by this.
    Cancelled(Task),
    /// It is cancelled already, or will be as soon as its worker has stopped it.
    Accepted(Task),
    /// It ended otherwise before.
    Ended(Task),
    /// No such task.
    Missing,
}

/// What became of a verdict.
#[derive(Debug)]
pub enum LabelAnswer {
    /// The task bears it.
    Labelled(Box<Task>),
    /// The task has not ended.
    NotEnded(Status),
    /// No such task.
    Missing,
}

/// What became of a wish to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteAnswer {
    /// It is gone. It was the one that was accepted at this time.
    Deleted(Timestamp),
    /// It has not ended.
    NotEnded(Status),
    /// No such task.
    Missing,
}

/// A line of a record and where it ends.
#[derive(Clone, Debug)]
pub struct StoredLine {
    /// The offset behind its line feed, in bytes from the start of the record.
    pub end: u64,
    /// The line with its line feed.
    pub line: String,
}
