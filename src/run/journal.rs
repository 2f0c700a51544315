//! What a run puts on record: first in the store, then in the file.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::driver::{RunError, Runner};
use crate::domain::{Exchange, Intent, Json, Line, Reply, Task, TaskId, millis};
use crate::kill_point::kill_point;
use crate::recorder::Meta;
use crate::run::Write;
use crate::store::{DeleteAnswer, Fence, NewLine, Recorded, Step, StoreError};

/// The pause before a write that failed is tried again; doubled each time up to the second one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What is to be written as one.
pub(super) struct Entry {
    pub write: Write,
    /// The edit that the write's call is about to make.
    pub intent: Option<Intent>,
    /// The last iteration on record after it.
    pub iteration: u32,
    /// How long the brain took.
    pub step: Duration,
}

impl Runner {
    /// Writes one step. While the database does not take it, this waits: the step is held, and nothing further is done.
    pub(super) async fn journal(
        &self,
        fence: &Fence,
        entry: Entry,
        halt: &CancellationToken,
    ) -> Result<Recorded, RunError> {
        let Entry { write, intent, iteration, step } = entry;
        let now = self.clock.now();
        let reply = write.line.as_ref().and_then(|(_, reply)| reply.as_ref());
        let usage = reply.and_then(Reply::usage);
        let line = write.line.as_ref().map(|(sent, reply)| {
            let (agent_input, mcp_reply): (&Json, Option<&Json>) = (&sent.payload, reply.as_ref());
            let line =
                Line { iteration, agent_input, mcp_reply, at: now, step_ms: millis(step), tool_ms: sent.tool_ms };
            NewLine { text: line.render().into(), payload: write.known.then(|| line.payload()) }
        });
        let step = Step { iteration, line, pending: write.pending, intent, usage, end: write.end, now };
        let record = || self.store.record(fence.clone(), step.clone());
        let recorded = until_available(&fence.id, "a step", halt, record).await?;
        if let Some(line) = &step.line {
            self.metrics.iteration_recorded(line.text.len() as u64);
        }
        if let Some(outcome) = recorded.ended.as_ref().and_then(|task| task.state.outcome()) {
            self.metrics.task_ended(outcome);
        }
        let file = async {
            if let Some(line) = step.line {
                let ended = recorded.ended.as_deref();
                self.recorder.append(&fence.id, line.text, recorded.log_bytes, ended).await;
            }
            if let Some(task) = &recorded.ended {
                kill_point("end-recorded");
                self.refresh_of(task).await;
            }
        };
        tokio::select! {
            biased;
            () = file => {}
            // The disk that records are on hangs, perhaps. The store has it all.
            () = halt.cancelled() => {}
        }
        Ok(recorded)
    }

    /// Whether the files are as the store is, as far as is known here.
    pub(crate) fn files_are_idle(&self) -> bool {
        self.recorder.is_idle()
    }

    /// Brings both files of a task to what the store says of it. Only for whoever holds the task, or when nobody does.
    pub(crate) async fn refresh(&self, id: &TaskId) {
        let refreshed = match self.store.task(id).await {
            Ok(Some(task)) => {
                self.distrust_file(id).await;
                return self.refresh_of(&task).await;
            }
            // It has been deleted, perhaps just now.
            Ok(None) => self.recorder.remove(id, None).await.map_err(RunError::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = refreshed {
            tracing::warn!(task = %id, error = &error as &dyn std::error::Error, "the record's files are behind the store");
        }
    }

    /// Where others run tasks, too, what lies here under a task's name may be of an earlier task of that name, which was
    /// deleted elsewhere: it is written anew.
    pub(super) async fn distrust_file(&self, id: &TaskId) {
        if self.store.is_shared() {
            self.recorder.begin(id).await;
        }
    }

    /// The same, of a task as it has just been read.
    pub(super) async fn refresh_of(&self, task: &Task) {
        self.recorder.refresh(task, &Meta { task, tools: &self.tools, models: &self.models }).await;
    }

    /// Forgets an ended task with its files.
    pub(crate) async fn forget(&self, id: &TaskId) -> Result<(), RunError> {
        if let DeleteAnswer::Deleted(life) = self.store.delete(id).await? {
            self.recorder.remove(id, Some(life)).await?;
        }
        Ok(())
    }

    /// Removes what is left of a deleted task's files. Only when nobody holds the task: then nobody writes them again.
    pub(crate) async fn clear_away(&self, id: &TaskId) -> Result<(), RunError> {
        if self.store.is_shared() && self.recorder.has(id) && self.store.task(id).await?.is_some() {
            // Another task has got the name, at another worker perhaps, and what lies here is not to be kept.
            self.refresh(id).await;
        } else {
            self.recorder.remove(id, None).await?;
        }
        Ok(self.store.mark_removed(id).await?)
    }

    /// Waits until it is certain that this worker may act for the task; an error if it may not any more.
    pub(super) async fn hold(&self, fence: &Fence, halt: &CancellationToken) -> Result<(), RunError> {
        until_available(&fence.id, "a call", halt, || self.store.hold(fence)).await
    }

    /// Puts the task back in the queue. If the database does not take it in time, whoever looks for lost tasks will.
    pub(super) async fn hand_back(&self, fence: &Fence, halt: &CancellationToken) -> Result<(), RunError> {
        kill_point("handing-back");
        let mut tries = 0;
        let handed = until_available(&fence.id, "a task that is handed back", halt, || {
            tries += 1;
            self.store.hand_back(fence.clone())
        });
        match handed.await {
            Err(RunError::Store(error)) if error.is_temporary() => {
                tracing::warn!(task = %fence.id, error = &error as &dyn std::error::Error, "left for others to find");
                return Ok(());
            }
            // Only the answer was lost the first time, perhaps; in any case it is nobody's here any more.
            Err(RunError::Store(StoreError::Lost(_))) if tries > 1 => {}
            handed => handed?,
        }
        kill_point("handed-back");
        Ok(())
    }

    /// The task's iterations, for a brain that has lost them.
    pub(super) async fn history(&self, id: &TaskId, halt: &CancellationToken) -> Result<Vec<Exchange>, RunError> {
        let lines = until_available(id, "the history", halt, || self.store.lines(id, 0, u32::MAX)).await?;
        lines.iter().map(|line| Exchange::parse(&line.line)).collect::<Result<_, _>>().map_err(RunError::Line)
    }
}

/// Asks the store again and again while the database is not available: `what` waits, and nothing further is done.
async fn until_available<T, F>(
    id: &TaskId,
    what: &str,
    halt: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<T, RunError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let (mut pause, longest) = PAUSES;
    loop {
        let error = match ask().await {
            Err(error) if error.is_temporary() => error,
            done => return Ok(done?),
        };
        tracing::error!(task = %id, error = &error as &dyn std::error::Error, "{what} waits for the database");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
            () = halt.cancelled() => return Err(error.into()),
        }
    }
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
