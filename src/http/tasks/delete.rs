//! `DELETE /tasks/{id}`: forget an ended task.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};

use super::{TaskPath, named};
use crate::domain::{Status, TaskId, Timestamp};
use crate::http::Api;
use crate::http::params::Params;
use crate::http::problem::{Problem, Refusals};
use crate::kill_point::kill_point;
use crate::recorder::RecordError;
use crate::store::DeleteAnswer;

/// Forget an ended task, its record and its files.
#[utoipa::path(delete, path = "/tasks/{id}", tag = "tasks", params(TaskPath), responses(
    (status = 204, description = "It is gone."),
    (status = 404, description = "No such task.", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It has not ended.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(in crate::http) async fn delete(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    let id = named(path)?;
    Params::parse(&uri, &[])?;
    match api.store.delete(&id).await? {
        DeleteAnswer::Deleted(life) => {
            kill_point("delete-committed");
            // If this breaks off, the store knows of it, and the scheduler does it.
            remove_files(&api, &id, life).await?;
            kill_point("delete-done");
            Ok(StatusCode::NO_CONTENT)
        }
        DeleteAnswer::NotEnded(status) => Err(not_ended(status)),
        DeleteAnswer::Missing => Err(Problem::no_such_task()),
    }
}

async fn remove_files(api: &Api, id: &TaskId, life: Timestamp) -> Result<(), Problem> {
    api.recorder.remove(id, Some(life)).await.map_err(|error| match error {
        // Whether another task has got the name cannot be asked just now.
        RecordError::Store(error) => error.into(),
        error => {
            tracing::error!(task = %id, error = &error as &dyn std::error::Error, "files of a task cannot be removed");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the task's files cannot be removed")
        }
    })
}

fn not_ended(status: Status) -> Problem {
    Problem::new(StatusCode::CONFLICT, format!("the task is {status}; cancel it first"))
}
