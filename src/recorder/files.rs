//! The thread that all records are written by: in order, so that nobody needs a lock.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::{RecordError, file};
use crate::domain::{TaskId, Timestamp};
use crate::kill_point::kill_point;
use crate::store::{Store, StoreError, StoredLine};

/// Lines read from the store at a time while a file is repaired.
const LINES: u32 = 64;

/// Done before the store is told which files are complete: so many share a commit.
const BATCH: usize = 64;

/// Removed tasks that are remembered: what may still come of them was on its way when the client saw the end.
const REMOVED: usize = 64;

/// What there is to do.
pub(super) enum Job {
    Begin {
        id: TaskId,
    },
    /// `life`: when the task was accepted, if it has ended. It may have been deleted since, and another have got its name.
    Append {
        id: TaskId,
        line: Arc<str>,
        end: u64,
        life: Option<Timestamp>,
    },
    Refresh {
        id: TaskId,
        end: u64,
        meta: String,
        life: Option<Timestamp>,
    },
    Wish {
        id: TaskId,
        wish: Wish,
        answer: oneshot::Sender<Result<(), RecordError>>,
    },
    Close,
}

/// What somebody waits for.
pub(super) enum Wish {
    CatchUp(u64),
    Remove(Option<Timestamp>),
}

/// The files, and what they are written from.
pub(super) struct Files {
    dir: PathBuf,
    store: Arc<dyn Store>,
    /// To wait for the store with.
    runtime: Handle,
    /// Tasks whose files were removed last.
    removed: VecDeque<(TaskId, Timestamp)>,
}

/// Where a task's record lies.
pub(super) fn record(dir: &Path, id: &TaskId) -> PathBuf {
    dir.join(format!("{id}.jsonl"))
}

impl Files {
    pub(super) fn new(dir: PathBuf, store: Arc<dyn Store>, runtime: Handle) -> Self {
        Self { dir, store, runtime, removed: VecDeque::with_capacity(REMOVED) }
    }

    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let (mut batch, mut complete) = (Vec::with_capacity(BATCH), Vec::new());
        while self.runtime.block_on(jobs.recv_many(&mut batch, BATCH)) > 0 {
            for job in batch.drain(..) {
                match job {
                    Job::Begin { id } => behind(&id, self.begin(&id)),
                    Job::Append { id, life, .. } | Job::Refresh { id, life, .. } if self.is_removed(&id, life) => {}
                    Job::Append { id, line, end, .. } => behind(&id, self.append(&id, &line, end)),
                    Job::Refresh { id, end, meta, life } => match (self.refresh(&id, end, &meta), life) {
                        (Ok(()), Some(life)) => {
                            kill_point("meta-written");
                            complete.push((id, life));
                        }
                        (refreshed, _) => behind(&id, refreshed),
                    },
                    // Nobody there any more: it is done all the same.
                    Job::Wish { id, wish, answer } => drop(answer.send(self.grant(&id, &wish))),
                    Job::Close => jobs.close(),
                }
            }
            if !complete.is_empty() {
                self.mark_filed(std::mem::take(&mut complete));
            }
        }
    }

    /// Tasks that have been deleted meanwhile have no files, whoever came last.
    fn mark_filed(&self, complete: Vec<(TaskId, Timestamp)>) {
        match self.wait(self.store.mark_filed(complete)) {
            Ok(deleted) => {
                for id in deleted {
                    behind(&id, self.remove(&id));
                }
            }
            Err(error) => {
                // They are found again by whoever looks for such.
                tracing::warn!(error = &error as &dyn std::error::Error, "complete records are not known as such");
            }
        }
    }

    /// What is there before the first line is an earlier life's of this name.
    fn begin(&self, id: &TaskId) -> Result<(), RecordError> {
        let path = record(&self.dir, id);
        let failed = |source| RecordError::File { path: path.clone(), source };
        if file::len(&path).map_err(failed)? > 0 {
            self.hold()?;
            file::truncate(&path, 0).map_err(failed)?;
        }
        Ok(())
    }

    fn append(&self, id: &TaskId, line: &str, end: u64) -> Result<(), RecordError> {
        let start = end.saturating_sub(line.len() as u64);
        self.hold()?;
        let path = record(&self.dir, id);
        let failed = |source| RecordError::File { path: path.clone(), source };
        if file::append(&path, start, line).map_err(failed)? {
            return Ok(());
        }
        // Whoever reads may have come first: then it is there already.
        if file::holds(&path, start, line).map_err(failed)? {
            return Ok(());
        }
        if file::len(&path).map_err(failed)? > start {
            // The work of somebody else.
            file::truncate(&path, start).map_err(failed)?;
        }
        self.bring_to(id, end)
    }

    /// The file becomes exactly as long as the store says.
    fn refresh(&self, id: &TaskId, end: u64, meta: &str) -> Result<(), RecordError> {
        self.bring_to(id, end)?;
        self.hold()?;
        let path = self.meta(id);
        file::replace(&path, meta).map_err(|source| RecordError::File { path, source })
    }

    fn grant(&mut self, id: &TaskId, wish: &Wish) -> Result<(), RecordError> {
        match *wish {
            Wish::CatchUp(end) => {
                let path = record(&self.dir, id);
                let have = file::len(&path).map_err(|source| RecordError::File { path, source })?;
                if have >= end { Ok(()) } else { self.bring_to(id, end) }
            }
            Wish::Remove(life) => {
                if let Some(life) = life {
                    self.removed.truncate(REMOVED - 1);
                    self.removed.push_front((id.clone(), life));
                }
                // Another task that has got the name since writes its files here, too, before this or after it.
                let named = self.wait(self.store.task(id))?;
                if named.is_some() { Ok(()) } else { self.remove(id) }
            }
        }
    }

    /// Whether the task was deleted before its run had handed in the last of it.
    fn is_removed(&self, id: &TaskId, life: Option<Timestamp>) -> bool {
        life.is_some_and(|life| self.removed.iter().any(|(removed, of)| *of == life && removed == id))
    }

    fn bring_to(&self, id: &TaskId, end: u64) -> Result<(), RecordError> {
        let path = record(&self.dir, id);
        let failed = |source| RecordError::File { path: path.clone(), source };
        let length = file::len(&path).map_err(failed)?;
        let mut have = length;
        if have == end {
            return Ok(());
        }
        if have < end {
            // A last line that was cut off goes: the file is cut back to where a line of the store ends.
            have = self.line_start(id, have)?;
        } else {
            // More than was ever committed is the work of an earlier life of this id, or of somebody else.
            have = 0;
        }
        // A worker that stood still may find the file in another's hands.
        self.hold()?;
        // A task without lines (it has just been deleted) gets no file.
        let mut lines = self.lines(id, have, end)?;
        if lines.is_empty() && length == 0 {
            return Ok(());
        }
        file::truncate(&path, have).map_err(failed)?;
        while have < end {
            let Some(last) = lines.last() else { break };
            let (start, text) = (have, lines.iter().map(|line| line.line.as_str()).collect::<String>());
            have = last.end;
            if !file::append(&path, start, &text).map_err(failed)? {
                return Err(failed(std::io::Error::other("somebody else is writing to this file")));
            }
            lines = self.lines(id, have, end)?;
        }
        Ok(())
    }

    /// The next lines, no further than `end`: the task may have come further, and those lines are still to be appended.
    fn lines(&self, id: &TaskId, from: u64, end: u64) -> Result<Vec<StoredLine>, StoreError> {
        let mut lines = self.wait(self.store.lines(id, from, LINES))?;
        lines.retain(|line| line.end <= end);
        Ok(lines)
    }

    /// The last line boundary at or before `offset`.
    fn line_start(&self, id: &TaskId, offset: u64) -> Result<u64, StoreError> {
        let next = self.wait(self.store.lines(id, offset, 1))?;
        Ok(next.first().map_or(offset, |line| line.end - line.line.len() as u64))
    }

    fn remove(&self, id: &TaskId) -> Result<(), RecordError> {
        self.hold()?;
        for path in [record(&self.dir, id), self.meta(id), file::partial(&self.meta(id))] {
            file::remove(&path).map_err(|source| RecordError::File { path, source })?;
        }
        Ok(())
    }

    fn meta(&self, id: &TaskId) -> PathBuf {
        self.dir.join(format!("{id}.meta.json"))
    }

    fn hold(&self) -> Result<(), StoreError> {
        self.wait(self.store.hold_files())
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// What failed is no loss: the store has it, and the file is brought up to it when it is next looked at.
fn behind(id: &TaskId, done: Result<(), RecordError>) {
    if let Err(error) = done {
        tracing::warn!(task = %id, error = &error as &dyn std::error::Error, "the record's files are behind the store");
    }
}
