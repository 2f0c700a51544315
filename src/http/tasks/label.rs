//! `PUT /tasks/{id}/label`: a verdict on an ended task.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{TaskPath, named};
use crate::domain::{Json, Status, Verdict};
use crate::http::linger::linger;
use crate::http::params::Params;
use crate::http::problem::{Problem, Refusals};
use crate::http::view::{TaskView, VerdictWord, with_etag};
use crate::http::{Api, body};
use crate::store::LabelAnswer;

/// What is thought of a task: an outcome, or a reward, or both.
struct Posted;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described; domain::Verdict reads it")]
struct WithOutcome {
    /// Whether the task was done as it should be.
    #[schema(value_type = VerdictWord)]
    outcome: String,
    /// How good it is, on a scale of the client's own.
    reward: Option<f64>,
    /// Why.
    #[schema(max_length = 4096)]
    note: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described; domain::Verdict reads it")]
struct WithReward {
    /// Whether the task was done as it should be.
    #[schema(value_type = Option<VerdictWord>)]
    outcome: Option<String>,
    /// How good it is, on a scale of the client's own.
    reward: f64,
    /// Why.
    #[schema(max_length = 4096)]
    note: Option<String>,
}

impl PartialSchema for Posted {
    fn schema() -> RefOr<Schema> {
        let either = AnyOfBuilder::new().item(WithOutcome::schema()).item(WithReward::schema());
        either.description(Some("What is thought of a task: an outcome, or a reward, or both.")).into()
    }
}

impl ToSchema for Posted {
    fn name() -> std::borrow::Cow<'static, str> {
        "NewLabel".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        WithReward::schemas(schemas);
    }
}

/// Put a verdict on an ended task, in place of the one it had. The same again changes nothing.
#[utoipa::path(put, path = "/tasks/{id}/label", tag = "tasks", params(TaskPath),
    request_body(content = Posted, description = "The verdict."),
    responses(
        (status = 200, description = "The task with the verdict.", body = TaskView, headers(("etag" = String, description = "Names this state."))),
        (status = 404, description = "No such task.", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has not ended.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not application/json.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field is at fault.", body = Problem, content_type = "application/problem+json"),
        Refusals,
    )
)]
pub(in crate::http) async fn label(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, mut sent) = request.into_parts();
    let posted = match taken(&api, &parts, &mut sent).await {
        Ok(posted) => posted,
        Err(problem) => {
            linger(sent).await;
            return Err(problem);
        }
    };
    let id = named(path)?;
    let verdict = Verdict::parse(&posted, api.clock.now()).map_err(|errors| Problem::fields("the verdict", errors))?;
    match api.store.label(&id, verdict).await? {
        LabelAnswer::Labelled(task) => Ok(with_etag(*task)),
        LabelAnswer::NotEnded(status) => Err(not_ended(status)),
        LabelAnswer::Missing => Err(Problem::no_such_task()),
    }
}

async fn taken(api: &Api, parts: &Parts, sent: &mut Body) -> Result<Json, Problem> {
    Params::parse(&parts.uri, &[])?;
    body::check_media_type(&parts.headers)?;
    body::object(&parts.headers, sent, api.max_body_bytes).await
}

fn not_ended(status: Status) -> Problem {
    Problem::new(StatusCode::CONFLICT, format!("the task is {status}; a verdict is on one that has ended"))
}
