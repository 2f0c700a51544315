//! The JSONL records on disk: `{task_id}.jsonl`, and `{task_id}.meta.json` beside it.
//!
//! The store is the truth. The file follows it: a line is appended after it has been committed, and wherever the
//! file turns out to be shorter than the store says (a crash in between, a full disk, a file deleted by hand), the rest
//! is written again from the store. Nobody is ever shown more of the file than the store has, so a torn line is
//! never seen.
//!
//! Deliberately absent: fsync. What a power failure takes from the file is in the store.

mod file;
mod meta;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

pub use meta::Meta;

use crate::domain::TaskId;
use crate::kill_point::kill_point;
use crate::store::{Store, StoreError};

/// Locks for the files: two tasks seldom share one, and no lock has to be forgotten when a task ends.
const LOCKS: usize = 64;

/// Lines read from the store at a time while a file is repaired.
const LINES: u32 = 64;

/// Keeps the records of all tasks.
pub struct Recorder {
    dir: PathBuf,
    store: Arc<dyn Store>,
    locks: Vec<Mutex<()>>,
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
}

impl Recorder {
    /// Keeps records in `output_dir/finetuning_data`, which is made if need be.
    pub fn open(output_dir: &Path, store: Arc<dyn Store>) -> Result<Self, RecordError> {
        let dir = output_dir.join("finetuning_data");
        let failed = |source| RecordError::File { path: dir.clone(), source };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        // A directory of another user would be noticed only when the first record is lost to the file.
        tempfile::tempfile_in(&dir).map_err(failed)?;
        Ok(Self { dir, store, locks: (0..LOCKS).map(|_| Mutex::new(())).collect() })
    }

    /// Why no record could be written now, if none could.
    pub fn unfit(&self) -> Option<String> {
        let unfit = rustix::fs::access(&self.dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).err()?;
        Some(format!("OUTPUT_DIR: {}: {unfit}", self.dir.display()))
    }

    /// Where a task's record lies.
    pub fn path(&self, id: &TaskId) -> PathBuf {
        self.dir.join(format!("{id}.jsonl"))
    }

    fn meta_path(&self, id: &TaskId) -> PathBuf {
        self.dir.join(format!("{id}.meta.json"))
    }

    /// Adds `line`, after which the record is `end` bytes long.
    pub async fn append(&self, id: &TaskId, line: Arc<str>, end: u64) -> Result<(), RecordError> {
        kill_point("reply-recorded");
        let start = end.saturating_sub(line.len() as u64);
        let _lock = self.lock(id).await;
        self.store.hold().await?;
        let path = self.path(id);
        if file::append(&path, start, line).await.map_err(|source| RecordError::File { path, source })? {
            return Ok(());
        }
        self.catch_up_locked(id, end).await
    }

    /// Makes the file at least as long as the store said it is; a file that is, is only looked at. The task may be
    /// further by now than the caller knows, so nothing is ever taken away here.
    pub async fn catch_up(&self, id: &TaskId, end: u64) -> Result<(), RecordError> {
        let _lock = self.lock(id).await;
        let path = self.path(id);
        if file::len(&path).await.map_err(|source| RecordError::File { path, source })? >= end {
            return Ok(());
        }
        self.catch_up_locked(id, end).await
    }

    /// Makes the file exactly as long as the store says. For the run that holds the task: nobody else adds to it.
    pub async fn repair(&self, id: &TaskId, end: u64) -> Result<(), RecordError> {
        let _lock = self.lock(id).await;
        self.catch_up_locked(id, end).await
    }

    async fn catch_up_locked(&self, id: &TaskId, end: u64) -> Result<(), RecordError> {
        let path = self.path(id);
        let failed = |source| RecordError::File { path: path.clone(), source };
        let length = file::len(&path).await.map_err(failed)?;
        let mut have = length;
        if have == end {
            return Ok(());
        }
        if have < end {
            // A last line that was cut off goes: the file is cut back to where a line of the store ends.
            have = self.line_start(id, have).await?;
        } else {
            // More than was ever committed is the work of an earlier life of this id, or of somebody else.
            have = 0;
        }
        // A worker that stood still may find the file in another's hands.
        self.store.hold().await?;
        // A task without lines (it has just been deleted) gets no file.
        let mut lines = self.store.lines(id, have, LINES).await?;
        if lines.is_empty() && length == 0 {
            return Ok(());
        }
        file::truncate(&path, have).await.map_err(failed)?;
        while have < end {
            let Some(last) = lines.last() else { break };
            let (start, text) = (have, lines.iter().map(|line| line.line.as_str()).collect::<String>());
            have = last.end;
            if !file::append(&path, start, text).await.map_err(failed)? {
                return Err(failed(io::Error::other("somebody else is writing to this file")));
            }
            lines = self.store.lines(id, have, LINES).await?;
        }
        Ok(())
    }

    /// The last line boundary at or before `offset`.
    async fn line_start(&self, id: &TaskId, offset: u64) -> Result<u64, RecordError> {
        let next = self.store.lines(id, offset, 1).await?;
        Ok(next.first().map_or(offset, |line| line.end - line.line.len() as u64))
    }

    /// Writes what is known of the whole task; replaces the file in one step.
    pub async fn write_meta(&self, id: &TaskId, meta: &Meta<'_>) -> Result<(), RecordError> {
        let path = self.meta_path(id);
        let _lock = self.lock(id).await;
        self.store.hold().await?;
        file::replace(&path, meta.render()).await.map_err(|source| RecordError::File { path, source })
    }

    /// Removes both files; it is no error if they are gone already.
    pub async fn remove(&self, id: &TaskId) -> Result<(), RecordError> {
        let _lock = self.lock(id).await;
        self.store.hold().await?;
        let partial = file::partial(&self.meta_path(id));
        for path in [self.path(id), self.meta_path(id), partial] {
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RecordError::File { path, source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn lock(&self, id: &TaskId) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        self.locks[index].lock().await
    }
}
