//! The calls on tasks, one file each.

pub(super) mod cancel;
pub(super) mod delete;
pub(super) mod events;
pub(super) mod filter;
mod follow;
pub(super) mod get;
pub(super) mod label;
pub(super) mod list;
pub(super) mod log;
mod range;
pub(super) mod submit;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use utoipa::IntoParams;

use super::problem::Problem;
use crate::domain::TaskId;

/// The task's name in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described; see named()")]
struct TaskPath {
    /// The task's name.
    #[param(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    id: String,
}

/// A name that cannot be a task's is the name of no task.
fn named(path: Result<Path<String>, PathRejection>) -> Result<TaskId, Problem> {
    let Ok(Path(id)) = path else { return Err(Problem::no_such_task()) };
    id.parse().map_err(|_| Problem::no_such_task())
}
