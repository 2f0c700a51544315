//! Waiting for a task to come to something.

use std::time::Duration;

use super::Api;
use crate::domain::{Task, TaskId};
use crate::store::StoreError;

/// The longest a request may wait, in seconds: proxies seldom hold a silent connection longer.
pub(super) const LONGEST: u32 = 300;

/// The task as soon as `done` holds, or as it stands after `seconds`, or when the service stops. `None` if there is
/// no such task.
pub(super) async fn until(
    api: &Api,
    id: &TaskId,
    seconds: u32,
    done: impl Fn(&Task) -> bool,
) -> Result<Option<Task>, StoreError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds.into());
    let subscription = api.store.changes().subscribe(id);
    loop {
        // Before the look, so that a change in between is not missed.
        let change = subscription.next_change();
        let Some(task) = api.store.task(id).await? else { return Ok(None) };
        if seconds == 0 || done(&task) {
            return Ok(Some(task));
        }
        tokio::select! {
            () = change => {}
            () = tokio::time::sleep_until(deadline) => return Ok(Some(task)),
            () = api.drain.cancelled() => return Ok(Some(task)),
        }
    }
}
