//! `POST /tasks/{id}/cancel`: stop a task.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::{TaskPath, named};
use crate::domain::Outcome;
use crate::http::Api;
use crate::http::params::Params;
use crate::http::problem::{Problem, Refusals};
use crate::http::view::{TaskView, with_etag};
use crate::store::CancelAnswer;

/// Stop a task: a running command is killed and the brain is told. Again: the same answer.
#[utoipa::path(post, path = "/tasks/{id}/cancel", tag = "tasks", params(TaskPath), responses(
    (status = 202, description = "It is cancelled, or will be as soon as its worker has stopped it.", body = TaskView),
    (status = 404, description = "No such task.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It ended otherwise before.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(in crate::http) async fn cancel(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, Problem> {
    let id = named(path)?;
    Params::parse(&uri, &[])?;
    match api.store.request_cancel(&id, api.clock.now()).await? {
        CancelAnswer::Cancelled(task) => {
            api.metrics.task_ended(&Outcome::Cancelled);
            Ok((StatusCode::ACCEPTED, with_etag(task)).into_response())
        }
        CancelAnswer::Accepted(task) => Ok((StatusCode::ACCEPTED, with_etag(task)).into_response()),
        CancelAnswer::Ended(task) => {
            let detail = format!("the task has ended: {}", task.state.status());
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        CancelAnswer::Missing => Err(Problem::no_such_task()),
    }
}
