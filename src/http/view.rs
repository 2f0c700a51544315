//! A task as users see it.

use axum::Json as JsonBody;
use axum::http::HeaderValue;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Json, Outcome, Task, Timestamp, Usage, Verdict, VerdictOutcome};

/// A task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    #[schema(value_type = String, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    task_id: String,
    /// `queued` → `running` → `succeeded`, `failed` or `cancelled`.
    #[schema(value_type = StatusWord)]
    status: &'static str,
    /// The object as posted.
    #[schema(required, value_type = Object)]
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Json>,
    /// How many times a worker took it up.
    attempt: u32,
    /// The last iteration on record; 0 before the first.
    iteration: u32,
    /// How many times the brain is asked at most.
    #[schema(minimum = 1)]
    max_iterations: u32,
    /// What the brain said at the end.
    #[schema(required)]
    summary: Option<String>,
    /// Why it failed.
    #[schema(required)]
    error: Option<ErrorView>,
    /// Tokens that the brain said it used.
    #[schema(required)]
    usage: Option<UsageView>,
    /// What somebody thinks of it; left out where nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<LabelView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// Where a task stands.
#[derive(ToSchema)]
#[schema(as = Status, rename_all = "snake_case")]
#[expect(dead_code, reason = "only described; the words are domain::Status's")]
pub(super) enum StatusWord {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// Why a task failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TaskError)]
pub(super) struct ErrorView {
    /// For programs.
    #[schema(value_type = ErrorCodeWord)]
    code: &'static str,
    /// For people.
    message: String,
}

#[derive(ToSchema)]
#[schema(as = ErrorCode, rename_all = "snake_case")]
#[expect(dead_code, reason = "only described; the words are domain::ErrorCode's")]
enum ErrorCodeWord {
    MaxIterations,
    UnknownEvent,
    BrainUnreachable,
    BrainProtocol,
    DeadlineExceeded,
    LostTooOften,
    Internal,
}

/// Tokens, as the brain counts them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
#[expect(clippy::struct_field_names, reason = "these are the field's names for them")]
pub(super) struct UsageView {
    #[schema(minimum = 0)]
    prompt_tokens: u64,
    #[schema(minimum = 0)]
    completion_tokens: u64,
    /// Of the prompt's tokens, those that the model's server had in its cache; left out where the brain says nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
}

/// What somebody thinks of a task that has ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Label)]
pub(super) struct LabelView {
    #[schema(required, value_type = Option<VerdictWord>)]
    outcome: Option<&'static str>,
    /// How good it is, on a scale of whoever says so.
    #[schema(required)]
    reward: Option<f64>,
    /// Why.
    #[schema(required, max_length = 4096)]
    note: Option<String>,
    /// When it was said.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Whether a task was done as it should be.
#[derive(ToSchema)]
#[schema(as = Verdict, rename_all = "snake_case")]
#[expect(dead_code, reason = "only described; the words are domain::VerdictOutcome's")]
pub(super) enum VerdictWord {
    Accepted,
    Rejected,
}

impl From<Verdict> for LabelView {
    fn from(verdict: Verdict) -> Self {
        let Verdict { outcome, reward, note, at } = verdict;
        Self { outcome: outcome.map(VerdictOutcome::as_str), reward, note, at }
    }
}

impl From<Task> for TaskView {
    fn from(task: Task) -> Self {
        let status = task.state.status().as_str();
        let (summary, error) = match task.state.outcome() {
            Some(Outcome::Succeeded { summary }) => (summary.clone(), None),
            Some(Outcome::Failed(error)) => {
                (None, Some(ErrorView { code: error.code.as_str(), message: error.message.clone() }))
            }
            Some(Outcome::Cancelled) | None => (None, None),
        };
        let usage = task.usage.map(|Usage { prompt_tokens, completion_tokens, cached_tokens }| UsageView {
            prompt_tokens,
            completion_tokens,
            cached_tokens,
        });
        Self {
            task_id: task.id.to_string(),
            status,
            task: Some(task.posted),
            attempt: task.attempt,
            iteration: task.iteration,
            max_iterations: task.max_iterations,
            summary,
            error,
            usage,
            label: task.verdict.map(LabelView::from),
            created_at: task.created_at,
            started_at: task.started_at,
            finished_at: task.finished_at,
        }
    }
}

impl TaskView {
    /// The task where it is told of again and again: what was posted may be long, and does not change.
    pub(super) fn without_posted(task: Task) -> Self {
        Self { task: None, ..Self::from(task) }
    }
}

/// Names one state of one life of a task: an id may be deleted and used again.
pub(super) fn etag(task: &Task) -> String {
    format!("\"{:x}-{:x}\"", task.created_at.millis(), task.revision)
}

/// The task with its `ETag`.
pub(super) fn with_etag(task: Task) -> Response {
    let tag = etag(&task);
    let mut response = JsonBody(TaskView::from(task)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Whether an `If-None-Match` or `If-Range` list names this tag (weak comparison, RFC 9110).
pub(super) fn names_tag(header: Option<&HeaderValue>, tag: &str) -> bool {
    let list = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    list.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}
