//! The JSONL records on disk: `{task_id}.jsonl`, and `{task_id}.meta.json` beside it.
//!
//! ```text
//!  run ── begin, append, refresh ──────┐  a short queue   one thread
//!  http ── catch_up, remove ───────────┴────────────────► files ◄── what the store has and a file has not
//! ```
//!
//! The store is the truth. The file follows it: a line is appended after it has been committed, and wherever the
//! file turns out to be shorter than the store says (a crash in between, a full disk, a file deleted by hand), the rest
//! is written again from the store. Nobody is ever shown more of the file than the store has, so a torn line is
//! never seen. A run does not wait for its file: whoever reads it does.
//!
//! Deliberately absent: fsync. What a power failure takes from the file is in the store.

mod file;
mod files;
mod meta;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

pub use meta::Meta;

use self::files::{Files, Job, Wish};
use crate::domain::{Task, TaskId, Timestamp};
use crate::kill_point::kill_point;
use crate::store::{Store, StoreError};

/// What may wait for the thread, besides as much that it has in hand: as many lines as tasks usually commit at a time. A line
/// may be as long as a payload and a reply, so more of them would be much memory where the disk is slow; the runs wait then.
const QUEUE: usize = 64;

/// Keeps the records of all tasks.
pub struct Recorder {
    dir: PathBuf,
    jobs: mpsc::Sender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why a record could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lines could not be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The recorder has been closed.
    #[error("the recorder is closed")]
    Closed,
}

impl Recorder {
    /// Keeps records in `output_dir/finetuning_data`, which is made if need be.
    pub fn open(output_dir: &Path, store: Arc<dyn Store>) -> Result<Self, RecordError> {
        let dir = output_dir.join("finetuning_data");
        let failed = |source| RecordError::File { path: dir.clone(), source };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        // A directory of another user would be noticed only when the first record is lost to the file.
        tempfile::tempfile_in(&dir).map_err(failed)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let files = Files::new(dir.clone(), store, Handle::current());
        let thread = std::thread::Builder::new().name("recorder".to_owned()).spawn(move || files.run(queue));
        let thread = Mutex::new(Some(thread.map_err(failed)?));
        Ok(Self { dir, jobs, thread })
    }

    /// Why no record could be written now, if none could.
    pub fn unfit(&self) -> Option<String> {
        let unfit = rustix::fs::access(&self.dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).err()?;
        Some(format!("OUTPUT_DIR: {}: {unfit}", self.dir.display()))
    }

    /// Where a task's record lies.
    pub fn path(&self, id: &TaskId) -> PathBuf {
        files::record(&self.dir, id)
    }

    /// Whether a record lies here.
    pub fn has(&self, id: &TaskId) -> bool {
        self.path(id).exists()
    }

    /// Makes sure that no line of an earlier life of this name is taken for one of the task's, which has none yet.
    pub async fn begin(&self, id: &TaskId) {
        self.send(Job::Begin { id: id.clone() }).await;
    }

    /// Whether nothing waits for the thread.
    pub fn is_idle(&self) -> bool {
        self.jobs.capacity() == QUEUE
    }

    /// Adds `line`, after which the record is `end` bytes long; it returns before that is done. `ended`: the task, if this is
    /// its last line.
    pub async fn append(&self, id: &TaskId, line: Arc<str>, end: u64, ended: Option<&Task>) {
        kill_point("reply-recorded");
        let ended = ended.map(|task| task.created_at);
        self.send(Job::Append { id: id.clone(), line, end, life: ended }).await;
    }

    /// Brings both files of a task to what is known of it, and notes in the store that they are complete if it has ended;
    /// it returns before that is done. Only for whoever holds the task, or when nobody does: nobody else adds to it.
    pub async fn refresh(&self, task: &Task, meta: &Meta<'_>) {
        let (id, end, meta) = (task.id.clone(), task.log_bytes, meta.render());
        let life = task.has_ended().then_some(task.created_at);
        self.send(Job::Refresh { id, end, meta, life }).await;
    }

    /// Makes the file at least as long as the store said it is; a file that is, is only looked at. The task may be
    /// further by now than the caller knows, so nothing is ever taken away here.
    pub async fn catch_up(&self, id: &TaskId, end: u64) -> Result<(), RecordError> {
        self.ask(id, Wish::CatchUp(end)).await
    }

    /// Removes both files, unless a task has that name; it is no error if they are gone already. With the time when the deleted task was accepted, what a
    /// run that is just ending has yet to write of it is not written any more.
    pub async fn remove(&self, id: &TaskId, life: Option<Timestamp>) -> Result<(), RecordError> {
        self.ask(id, Wish::Remove(life)).await
    }

    /// Does what is left to do, and ends.
    pub async fn close(&self) {
        self.send(Job::Close).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && !matches!(tokio::task::spawn_blocking(|| thread.join()).await, Ok(Ok(())))
        {
            tracing::error!("the recorder ended badly");
        }
    }

    async fn ask(&self, id: &TaskId, wish: Wish) -> Result<(), RecordError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Wish { id: id.clone(), wish, answer }).await;
        answered.await.map_err(|_| RecordError::Closed)?
    }

    async fn send(&self, job: Job) {
        if self.jobs.send(job).await.is_err() {
            // The store has what the files have not; the next start writes it.
            tracing::debug!("the recorder is closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Json, SpecLimits, TaskSpec};
    use crate::store::{NewTask, SqliteStore};

    #[tokio::test]
    async fn what_was_deleted_gets_no_files_again_and_who_has_its_name_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let lease = std::time::Duration::from_mins(10);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("test.db"), lease).await.unwrap());
        let recorder = Recorder::open(dir.path(), Arc::clone(&store)).unwrap();
        let (id, at) = ("t".parse::<TaskId>().unwrap(), Timestamp::from_millis);
        let posted = Json::parse(r#"{"instruction":"x"}"#).unwrap();
        let spec = TaskSpec::parse(posted, SpecLimits { default_iterations: 7, max_iterations: 200 }).unwrap();
        let record = async || {
            // It looks after all that was handed in before.
            recorder.catch_up(&id, 0).await.unwrap();
            std::fs::read_to_string(recorder.path(&id)).ok()
        };

        // Nobody has the name, and the last line of its first life comes late.
        let mut ended = NewTask { id: id.clone(), idempotency_key: None, spec, now: at(1), max_queued: 9 };
        recorder.append(&id, "one\n".into(), 4, None).await;
        recorder.remove(&id, Some(at(1))).await.unwrap();
        recorder.append(&id, "one\n".into(), 4, Some(&ended.task(at(1)))).await;
        assert_eq!(record().await, None);

        // It has got a second one before the files of the first are removed.
        ended.now = at(2);
        store.submit(ended.clone()).await.unwrap();
        recorder.append(&id, "two\n".into(), 4, Some(&ended.task(at(2)))).await;
        recorder.remove(&id, Some(at(1))).await.unwrap();
        assert_eq!(record().await.as_deref(), Some("two\n"));
        recorder.close().await;
        store.close().await;
    }
}
