//! Where tasks and their iterations are kept: the truth that everything else follows.
//!
//! ```text
//!  http ── submit, task, list, label, request_cancel, delete ─┐
//!  scheduler ── recover, claim, beat, … ──────────────────────┤► trait Store ─► sqlite (one service), postgres (many workers)
//!  run ── record, hold, hand_back ────────────────────────────┤      │
//!  recorder ── lines, hold_files, mark_filed ─────────────────┘      ├─ changes: who waits for what
//!  export ── ended, records ──────────────────────────────────────────┴─ archive: what has ended, page by page
//! ```
//!
//! Every method is a whole business step: when it returns, its effect is on disk, and when it fails, nothing of
//! it is. Each write of a worker names the claim it was made under (the [`Fence`]), so that a worker which has
//! lost its task changes nothing any more.
//!
//! Deliberately absent: policy. What may follow what is said by [`TaskState::on`](crate::domain::TaskState::on).

mod answers;
mod archive;
mod changes;
mod error;
mod listing;
mod postgres;
mod row;
mod scratch;
mod sqlite;
mod words;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

pub use answers::{
    CancelAnswer, DeleteAnswer, LabelAnswer, Listed, Recorded, Recovered, Stats, StoredLine, Submitted, WorkerStats,
};
pub use archive::{Archive, Ended, Records, open_postgres, open_sqlite};
pub use changes::{Changes, Subscription};
pub use error::StoreError;
pub use postgres::{PostgresSettings, PostgresStore};
pub use scratch::{Member, Scratch};
pub use sqlite::SqliteStore;

use crate::domain::{
    Intent, Json, Outcome, Task, TaskFilter, TaskId, TaskSpec, TaskState, Timestamp, Usage, Verdict, WorkerId,
};
use crate::metrics::Database;

/// Bytes of posted tasks on a page: enough for any page of ordinary tasks, and far from what a few clients listing the
/// longest ones could fill the memory with.
const MAX_PAGE: usize = 4 * 1024 * 1024;

/// The steps that the service takes on its tasks.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes a new task, unless it is known already.
    async fn submit(&self, new: NewTask) -> Result<Submitted, StoreError>;
    /// One task; `None` if there is none of that name.
    async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError>;
    /// A page of tasks, newest first.
    async fn list(&self, query: ListQuery) -> Result<Listed, StoreError>;
    /// Hands queued tasks to a worker: higher priority first, then the older.
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError>;
    /// Puts on record what a run has come to; tells whether the task is to be stopped.
    async fn record(&self, fence: Fence, step: Step) -> Result<Recorded, StoreError>;
    /// Puts an unfinished task back in the queue; no attempt is counted for it.
    async fn hand_back(&self, fence: Fence) -> Result<(), StoreError>;
    /// Puts back in the queue what workers that are gone left running, some of it at a time; ends what was lost `lost_limit`
    /// times without a new iteration. `worker` is who asks, and lives.
    async fn recover(&self, worker: &WorkerId, lost_limit: u32, now: Timestamp) -> Result<Recovered, StoreError>;
    /// Says that a worker lives, and renews its hold on its tasks; returns those that it holds no more.
    async fn beat(&self, beat: Heartbeat) -> Result<Vec<Fence>, StoreError>;
    /// Says that a worker has stopped.
    async fn retire(&self, worker: &WorkerId) -> Result<(), StoreError>;
    /// How much there is to do, and who does it.
    async fn stats(&self) -> Result<Stats, StoreError>;
    /// Ends a queued task, or notes that a running one is to be stopped.
    async fn request_cancel(&self, id: &TaskId, now: Timestamp) -> Result<CancelAnswer, StoreError>;
    /// The tasks of a worker that are to be stopped, as it holds them now.
    async fn cancel_requests(&self, worker: &WorkerId) -> Result<Vec<Fence>, StoreError>;
    /// Puts a verdict on an ended task, in place of the one it had. One that says the same again changes nothing.
    async fn label(&self, id: &TaskId, verdict: Verdict) -> Result<LabelAnswer, StoreError>;
    /// Forgets an ended task; notes that its files are to be removed.
    async fn delete(&self, id: &TaskId) -> Result<DeleteAnswer, StoreError>;
    /// Tasks that ended before that time and whose files are complete, the oldest first.
    async fn expired(&self, before: Timestamp, limit: u32) -> Result<Vec<TaskId>, StoreError>;
    /// Ended tasks whose files are not known to be complete, the oldest first.
    async fn unfiled(&self, limit: u32) -> Result<Vec<TaskId>, StoreError>;
    /// Notes that the files of ended tasks are complete, of those that were accepted at these times: others may have got
    /// their names. Returns the names that no task has, whose files nobody wants.
    async fn mark_filed(&self, ended: Vec<(TaskId, Timestamp)>) -> Result<Vec<TaskId>, StoreError>;
    /// Deleted tasks whose files here are not known to be gone.
    async fn removals(&self, limit: u32) -> Result<Vec<TaskId>, StoreError>;
    /// Notes that the files of a deleted task are gone here.
    async fn mark_removed(&self, id: &TaskId) -> Result<(), StoreError>;
    /// The lines of a task's record that end behind `from` bytes, in order, at most `limit` of them.
    async fn lines(&self, id: &TaskId, from: u64, limit: u32) -> Result<Vec<StoredLine>, StoreError>;
    /// Where in the record the first iteration after `iteration` begins, in bytes.
    async fn offset_after(&self, id: &TaskId, iteration: u32) -> Result<u64, StoreError>;
    /// What ended tasks have left.
    fn archive(&self) -> Arc<dyn Archive>;
    /// Begins a chore, which one worker at a time does at set times, for the time `slot`: true if it is `worker`'s now. It is
    /// not if it has been done for that time or a later one, or if another one does it and has not let its lease run out.
    async fn begin_chore(&self, chore: Chore, now: Timestamp) -> Result<bool, StoreError>;
    /// Renews a worker's hold on a chore for a lease; false if it is another's now.
    async fn keep_chore(&self, chore: Chore, now: Timestamp) -> Result<bool, StoreError>;
    /// Lets go of a chore that is still the worker's, and notes whether it has been done.
    async fn end_chore(&self, chore: Chore, done: bool) -> Result<(), StoreError>;
    /// The last time that a chore was done for.
    async fn last_chore(&self, name: &str) -> Result<Option<Timestamp>, StoreError>;
    /// What is worth watching of the database, as far as it is known here without asking it; `None` if it is not.
    fn database(&self) -> Option<Database>;
    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;
    /// Makes sure that the task is still held by this claim, before something is done that cannot be taken back.
    async fn hold(&self, fence: &Fence) -> Result<(), StoreError>;
    /// Returns when it is not certain any more that the task is held by this claim: what cannot be taken back has to stop.
    async fn hold_ends(&self, fence: &Fence);
    /// Makes sure that the files of records are still this process's to write.
    async fn hold_files(&self) -> Result<(), StoreError>;
    /// Returns when somebody else has taken this process's place.
    async fn displaced(&self);
    /// Whether other processes work with it, too. Then what lies in files here may be of an earlier time, and may be elsewhere.
    fn is_shared(&self) -> bool;
    /// Writes what is left and closes.
    async fn close(&self);
    /// Who waits for what.
    fn changes(&self) -> &Changes;
}

/// A checked task on its way in.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Its name, the client's or ours.
    pub id: TaskId,
    /// The client's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// What was posted.
    pub spec: TaskSpec,
    /// When.
    pub now: Timestamp,
    /// `MAX_QUEUED`: refuse when that many wait already.
    pub max_queued: u32,
}

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only those.
    pub filter: TaskFilter,
    /// Only those older than the one here.
    pub before: Option<Cursor>,
    /// At most so many.
    pub limit: u32,
}

/// A place in the list of tasks: their order of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub i64);

/// How many tasks a worker can take.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who takes them.
    pub worker: WorkerId,
    /// At most so many.
    pub limit: u32,
    /// Which of those that wait.
    pub which: Which,
    /// When.
    pub now: Timestamp,
}

/// Which tasks to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Any.
    Any,
    /// This one, for a task in the foreground.
    One(TaskId),
    /// Those that were handed back and are to be cancelled: the brain has to be told.
    Cancelled,
}

/// A task in a worker's hand, with what is needed to go on where it stopped.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The task, running.
    pub task: Task,
    /// To be named with each write.
    pub fence: Fence,
    /// A payload that waits to be sent.
    pub pending: Option<Pending>,
    /// The last line on record.
    pub last_line: Option<String>,
    /// The edit that the last line's call was about to make.
    pub intent: Option<Intent>,
}

/// A task and the number of the claim it is held by; the number grows with each claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The task.
    pub id: TaskId,
    /// Its place in the order of arrival: what it is found by.
    pub seq: i64,
    /// The claim.
    pub claim: i64,
}

/// A payload that is on record before it is sent, so that it is the same when it is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The payload.
    pub payload: Json,
    /// How long the tool took whose result it bears, in milliseconds.
    pub tool_ms: Option<u64>,
}

/// What a run has come to, written as one.
#[derive(Clone, Debug)]
pub struct Step {
    /// The last iteration on record after this step.
    pub iteration: u32,
    /// The line of that iteration, if the step brings one.
    pub line: Option<NewLine>,
    /// The payload to be sent next.
    pub pending: Option<Pending>,
    /// The edit that the line's call is about to make.
    pub intent: Option<Intent>,
    /// Tokens to be added.
    pub usage: Option<Usage>,
    /// How the task ends, if it does.
    pub end: Option<Outcome>,
    /// When.
    pub now: Timestamp,
}

/// A line on its way into the record.
#[derive(Clone, Debug)]
pub struct NewLine {
    /// The whole of it, with its line feed.
    pub text: Arc<str>,
    /// Where the payload stands in it, in bytes, if that is on record already as what was to be sent.
    pub payload: Option<Range<usize>>,
}

/// What one worker at a time does at set times.
#[derive(Clone, Debug)]
pub struct Chore {
    /// Its name.
    pub name: &'static str,
    /// The time that it is done for.
    pub slot: Timestamp,
    /// Who does it. Asked again, it is given the same answer.
    pub worker: WorkerId,
}

impl NewTask {
    /// The task as it is when it has been accepted.
    pub(crate) fn task(&self, created_at: Timestamp) -> Task {
        Task {
            id: self.id.clone(),
            posted: self.spec.posted.clone(),
            workspace: self.spec.workspace.clone(),
            state: TaskState::NEW,
            cancel_requested: false,
            attempt: 0,
            iteration: 0,
            max_iterations: self.spec.max_iterations,
            deadline: self.spec.deadline,
            log_bytes: 0,
            revision: 1,
            usage: None,
            verdict: None,
            created_at,
            started_at: None,
            finished_at: None,
        }
    }
}

impl Step {
    /// The last iteration on record before it: a step that comes twice finds another.
    fn before(&self) -> i64 {
        i64::from(self.iteration) - i64::from(self.line.is_some())
    }

    /// By how much the record grows, in bytes.
    fn grown(&self) -> u64 {
        self.line.as_ref().map_or(0, |line| line.text.len() as u64)
    }
}

impl NewLine {
    /// A line that is kept as it is.
    pub fn whole(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), payload: None }
    }

    /// What is left to be kept, and where the payload belongs in it.
    fn without_payload(&self) -> (Cow<'_, str>, Option<usize>) {
        match &self.payload {
            Some(payload) => {
                let (head, tail) = (&self.text[..payload.start], &self.text[payload.end..]);
                (Cow::Owned([head, tail].concat()), Some(payload.start))
            }
            None => (Cow::Borrowed(&self.text), None),
        }
    }
}

/// A worker lives.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// Who.
    pub worker: WorkerId,
    /// How many tasks it can run at a time; none if it is stopping.
    pub capacity: u32,
    /// Since when.
    pub started_at: Timestamp,
    /// What it runs.
    pub held: Vec<Fence>,
    /// Whether that is all it has: it waits for the answer to no claim.
    pub complete: bool,
    /// When.
    pub now: Timestamp,
}
