//! `POST /tasks`: a new task, or the one that is known already.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use crate::domain::{FieldError, Json, Task, TaskSpec};
use crate::http::body;
use crate::http::linger::linger;
use crate::http::params::Params;
use crate::http::problem::{Problem, Refusals};
use crate::http::view::{TaskView, with_etag};
use crate::http::{Api, health, wait};
use crate::store::{NewTask, Submitted};

/// The longest `Idempotency-Key`, in characters.
const MAX_KEY: usize = 255;

/// A task to be done. Fields that are not listed here go to the brain untouched, as does the whole object.
#[derive(ToSchema)]
#[schema(as = NewTask)]
#[expect(dead_code, reason = "only described; domain::TaskSpec reads it")]
pub(in crate::http) struct Posted {
    /// What is to be done.
    #[schema(pattern = r"\S")]
    instruction: String,
    /// A name of the client's choice. The same name with the same body again is the same task.
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    task_id: Option<String>,
    /// The directory that the tools may see, relative to `CODE_DIR`.
    #[schema(min_length = 1, max_length = 1024, pattern = r"^[^/\x00][^\x00]*$")]
    workspace: Option<String>,
    /// How many times the brain is asked at most; the service has a limit of its own.
    #[schema(minimum = 1, maximum = 200)]
    max_iterations: Option<u32>,
    /// How long the task may run, in seconds from its first start.
    #[schema(minimum = 1, maximum = 2_592_000)]
    deadline_seconds: Option<u32>,
    /// Higher goes first.
    #[schema(minimum = -1000, maximum = 1000)]
    priority: Option<i32>,
    /// Words of the client's own; at most 64.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    labels: Option<()>,
}

/// Submit a task. It is on disk before the answer leaves.
#[utoipa::path(
    post, path = "/tasks", tag = "tasks",
    params(
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key with the same body again is the same task."),
        ("Prefer" = Option<String>, Header, description = "`wait=N` holds the answer until the task has ended or N seconds have passed."),
    ),
    request_body(content = Posted, description = "The task."),
    responses(
        (status = 202, description = "Accepted.", body = TaskView, headers(("location" = String, description = "Where the task is."))),
        (status = 200, description = "Known already: this is how it stands.", body = TaskView),
        (status = 404, description = "There is no such workspace.", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The task_id or the Idempotency-Key came with another body before.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too long.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not application/json.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field is at fault.", body = Problem, content_type = "application/problem+json"),
        Refusals,
    )
)]
pub(in crate::http) async fn submit(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let (parts, mut sent) = request.into_parts();
    let wait = preferred_wait(&parts.headers);
    let (idempotency_key, posted) = match taken(&api, &parts, &mut sent).await {
        Ok(taken) => taken,
        Err(problem) => {
            linger(sent).await;
            return Err(problem);
        }
    };
    let spec = TaskSpec::parse(posted, api.limits).map_err(|errors| Problem::fields("the task", errors))?;
    // A task that is known is answered for even when it would not be taken any more.
    let refusal = match check_workspace(&api, &spec).await {
        Ok(()) if api.drain.is_cancelled() => Some(Problem::busy("the service is stopping", 5)),
        Ok(()) => health::disk_full(&api.output_dir).map(|reason| Problem::busy(reason, 60)),
        Err(problem) => Some(problem),
    };
    let max_queued = if refusal.is_some() { 0 } else { api.max_queued };

    let id = spec.id.clone().unwrap_or_else(api.new_id);
    let new = NewTask { id, idempotency_key, spec, now: api.clock.now(), max_queued };
    let (status, mut task) = match api.store.submit(new).await? {
        Submitted::Created(task) => {
            api.metrics.task_submitted();
            (StatusCode::ACCEPTED, task)
        }
        Submitted::Known(task) => (StatusCode::OK, task),
        Submitted::Conflict => {
            let detail = "the task_id or the Idempotency-Key was used before, with another body";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        Submitted::QueueFull => {
            let full = || Problem::busy("as many tasks wait as may (MAX_QUEUED)", 10);
            return Err(refusal.unwrap_or_else(full));
        }
    };
    // It is stored; whatever goes wrong while waiting, that is the answer.
    if let Some(seconds) = wait {
        task = wait::until(&api, &task.id, seconds, Task::has_ended).await.ok().flatten().unwrap_or(task);
    }
    Ok(answer(status, task, wait))
}

/// The request as far as it can be judged without knowing what a task is.
async fn taken(api: &Api, parts: &Parts, sent: &mut Body) -> Result<(Option<String>, Json), Problem> {
    Params::parse(&parts.uri, &[])?;
    body::check_media_type(&parts.headers)?;
    let key = idempotency_key(&parts.headers)?;
    Ok((key, body::object(&parts.headers, sent, api.max_body_bytes).await?))
}

fn answer(status: StatusCode, task: Task, waited: Option<u32>) -> Response {
    let location = HeaderValue::from_str(&format!("/tasks/{}", task.id));
    let mut response = (status, with_etag(task)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    if let Some(applied) = waited.and_then(|seconds| HeaderValue::from_str(&format!("wait={seconds}")).ok()) {
        response.headers_mut().insert(HeaderName::from_static("preference-applied"), applied);
    }
    response
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().map(str::trim).filter(|key| !key.is_empty() && key.len() <= MAX_KEY);
    let detail = format!("must be 1 to {MAX_KEY} printable ASCII characters");
    key.map(|key| Some(key.to_owned())).ok_or_else(|| Problem::parameter("Idempotency-Key", detail))
}

/// A preference that cannot be understood is no error (RFC 7240).
fn preferred_wait(headers: &HeaderMap) -> Option<u32> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';']));
    let wait = preferences.find_map(|one| one.trim().strip_prefix("wait=")?.trim_matches('"').parse::<u32>().ok())?;
    Some(wait.min(wait::LONGEST))
}

async fn check_workspace(api: &Api, spec: &TaskSpec) -> Result<(), Problem> {
    let Some(below) = spec.workspace.clone() else { return Ok(()) };
    let toolbox = std::sync::Arc::clone(&api.toolbox);
    let opened = tokio::task::spawn_blocking(move || toolbox.workspace(Some(&below)).map(drop)).await;
    match opened {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.is_not_found() => {
            let detail = format!("there is no such directory below CODE_DIR: {error}");
            Err(Problem::missing("/workspace", detail))
        }
        Ok(Err(error)) => {
            let detail = format!("must be a directory below CODE_DIR: {error}");
            Err(Problem::fields("the task", vec![FieldError::new("/workspace", detail)]))
        }
        Err(_) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the workspace could not be looked at")),
    }
}
