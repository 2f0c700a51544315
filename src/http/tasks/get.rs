//! `GET /tasks/{id}`: one task.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;

use super::{TaskPath, named};
use crate::domain::Task;
use crate::http::params::Params;
use crate::http::problem::{Problem, Refusals};
use crate::http::view::{TaskView, etag, names_tag, with_etag};
use crate::http::{Api, wait};

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described; Params reads them")]
pub(in crate::http) struct GetParams {
    /// Hold the answer until the task changes or so many seconds have passed. With `If-None-Match`, until it differs
    /// from that state.
    #[param(minimum = 0, maximum = 300)]
    wait: Option<u32>,
}

/// One task, as it stands or as soon as it changes.
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(TaskPath, GetParams,
    ("If-None-Match" = Option<String>, Header, description = "The ETag of a state that is known already."),
), responses(
    (status = 200, description = "The task.", body = TaskView, headers(("etag" = String, description = "Names this state."))),
    (status = 304, description = "It stands as the client knows it."),
    (status = 404, description = "No such task.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(in crate::http) async fn get(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = named(path)?;
    let seconds = Params::parse(&uri, &["wait"])?.number("wait", 0..=wait::LONGEST)?.unwrap_or(0);
    let known = headers.get(IF_NONE_MATCH);
    // Without a state that the client knows, the one found first is what a change is measured by.
    let first = std::sync::OnceLock::new();
    let changed = |task: &Task| match known {
        Some(_) => !names_tag(known, &etag(task)),
        None => *first.get_or_init(|| task.revision) != task.revision,
    };
    let done = |task: &Task| changed(task) || task.has_ended();
    let task = wait::until(&api, &id, seconds, done).await?.ok_or_else(Problem::no_such_task)?;
    if known.is_some() && !changed(&task) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(&task))]).into_response());
    }
    Ok(with_etag(task))
}
