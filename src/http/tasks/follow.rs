//! A client that follows a task: it looks, takes what is new to it, and waits for the next change.

use tokio::sync::futures::OwnedNotified;

use crate::domain::{Task, TaskId, Timestamp};
use crate::http::Api;
use crate::store::{StoreError, Subscription};

/// One client, until the task has ended, is gone, or the service stops.
pub(super) struct Follower {
    pub(super) api: Api,
    pub(super) id: TaskId,
    /// When the task was accepted: another one may get its name after it has been deleted.
    life: Timestamp,
    subscription: Subscription,
}

/// The task as it was found.
pub(super) struct Look {
    pub(super) task: Task,
    /// Ready after the next change.
    change: OwnedNotified,
}

impl Follower {
    pub(super) fn of(api: Api, task: &Task) -> Self {
        let subscription = api.store.changes().subscribe(&task.id);
        Self { api, id: task.id.clone(), life: task.created_at, subscription }
    }

    /// The task as it stands; `None` when it has been deleted.
    pub(super) async fn look(&self) -> Result<Option<Look>, StoreError> {
        // Before the look, so that a change in between is not missed.
        let change = self.subscription.next_change();
        let task = self.api.store.task(&self.id).await?.filter(|task| task.created_at == self.life);
        Ok(task.map(|task| Look { task, change }))
    }

    /// Waits for what comes after that look; whether anything may come.
    pub(super) async fn wait(&self, look: Look) -> bool {
        let Look { task, change } = look;
        if task.has_ended() || self.api.drain.is_cancelled() {
            return false;
        }
        // It may be a megabyte, and a wait hours.
        drop(task);
        tokio::select! {
            () = change => {}
            () = self.api.drain.cancelled() => {}
        }
        true
    }
}
