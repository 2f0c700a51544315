//! What nobody waits for: a little of it at each look, so that nobody has to wait because of it.

use futures_util::future::join_all;

use super::{BATCH, Scheduler};
use crate::domain::TaskId;
use crate::run::RunError;
use crate::store::StoreError;

/// Old tasks in one commit: with all their lines they are much to delete, and who submits a task at that moment waits for
/// the same commit.
const FORGOTTEN: usize = 4;

impl Scheduler {
    pub(super) async fn keep_house(&self) {
        self.file_ended().await;
        self.forget_expired().await;
        self.clear_away_deleted().await;
    }

    /// Completes the files of tasks whose run could not: it crashed right after the end, the disk was full, or there was no
    /// run because they were cancelled while they waited.
    async fn file_ended(&self) {
        if !self.runner.files_are_idle() {
            // Perhaps it is these that wait there. At the next look.
            return;
        }
        for id in at_hand(self.store.unfiled(BATCH).await, "unfiled") {
            if !self.is_running(&id) && !self.drain.is_cancelled() {
                self.runner.refresh(&id).await;
            }
        }
    }

    /// Forgets tasks that are old enough.
    async fn forget_expired(&self) {
        let Some(retention) = self.retention else { return };
        let before = self.clock.now().before(retention);
        let ids = at_hand(self.store.expired(before, BATCH).await, "expired");
        for few in ids.chunks(FORGOTTEN) {
            for_all(few, "forgotten", |id| self.runner.forget(id)).await;
        }
    }

    /// Removes the files of deleted tasks once more: a crash came before they were gone, or a run that was just ending has
    /// written them again.
    async fn clear_away_deleted(&self) {
        let mut ids = at_hand(self.store.removals(BATCH).await, "deleted");
        ids.retain(|id| !self.is_running(id));
        for_all(&ids, "cleared away", |id| self.runner.clear_away(id)).await;
    }

    fn is_running(&self, id: &TaskId) -> bool {
        self.running().keys().any(|fence| fence.id == *id)
    }
}

/// The tasks that there is something to do for; none if they cannot be had now.
fn at_hand(ids: Result<Vec<TaskId>, StoreError>, what: &str) -> Vec<TaskId> {
    ids.unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "{what} tasks cannot be read");
        Vec::new()
    })
}

/// Does it for all at once, for one commit.
async fn for_all<'a, F>(ids: &'a [TaskId], what: &str, act: impl Fn(&'a TaskId) -> F)
where
    F: Future<Output = Result<(), RunError>>,
{
    for (id, done) in ids.iter().zip(join_all(ids.iter().map(act)).await) {
        if let Err(error) = done {
            tracing::error!(task = %id, error = &error as &dyn std::error::Error, "a task cannot be {what}");
        }
    }
}
