//! Errors as RFC 9457 has them.

use axum::Json as JsonBody;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::domain::FieldError;
use crate::store::StoreError;

const MEDIA_TYPE: &str = "application/problem+json";

/// An error: what happened, and which fields are at fault.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, for people.
    detail: String,
    /// The fields at fault, if fields are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One field at fault.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FieldProblem {
    /// A JSON Pointer into the body as a URI fragment (`#/task_id`), or a query parameter (`?limit`), or a header.
    pointer: String,
    /// What is wrong with it.
    detail: String,
}

/// What any call may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub(super) enum Refusals {
    /// The request is not well-formed.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// No token, or a wrong one.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// A browser's call from another site, or a Host that is not ours.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// A fault of the service.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
    /// Not now; Retry-After says when.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What a call without a token may answer besides its own.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub(super) enum OpenRefusals {
    /// The request is not well-formed.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// A browser's call from another site, or a Host that is not ours.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
}

impl Problem {
    /// For a caller that speaks gRPC: the status stands in the headers.
    pub(super) fn into_grpc(self) -> Response {
        let code = match self.status {
            401 => tonic::Code::Unauthenticated,
            403 => tonic::Code::PermissionDenied,
            _ => tonic::Code::InvalidArgument,
        };
        tonic::Status::new(code, self.detail).into_http()
    }

    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Fields of the body, which is `what`, are at fault.
    pub(super) fn fields(what: &str, errors: Vec<FieldError>) -> Self {
        let errors = errors.into_iter().map(|error| FieldError { pointer: format!("#{}", error.pointer), ..error });
        Self::at_fault(&format!("{what} cannot be accepted as it is"), errors.collect())
    }

    /// A query parameter (`?name`) or a header is at fault.
    pub(super) fn parameter(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::at_fault("the request cannot be understood", vec![FieldError::new(pointer, detail)])
    }

    fn at_fault(summary: &str, errors: Vec<FieldError>) -> Self {
        let list: Vec<String> = errors.iter().map(|error| format!("{} {}", error.pointer, error.detail)).collect();
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{summary}: {}", list.join("; ")));
        problem.errors =
            errors.into_iter().map(|FieldError { pointer, detail }| FieldProblem { pointer, detail }).collect();
        problem
    }

    /// A field names something that is not there.
    pub(super) fn missing(pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let errors = vec![FieldProblem { pointer: format!("#{pointer}"), detail: detail.clone() }];
        Self { errors, ..Self::new(StatusCode::NOT_FOUND, detail) }
    }

    pub(super) fn no_such_task() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no task of that name")
    }

    /// Not now, but perhaps in so many seconds.
    pub(super) fn busy(detail: impl Into<String>, seconds: u16) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(RETRY_AFTER, seconds.into())
    }

    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"codex-agent\""))
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let headers = std::mem::take(&mut self.headers);
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, JsonBody(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response.headers_mut().extend(headers);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed a request");
        match error {
            StoreError::Unavailable(_) | StoreError::Closed => Self::busy("the database is not available", 5),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the service could not read its own records"),
        }
    }
}

pub(super) async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; /docs shows what there is, and /openapi.json describes it",
    )
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method; Allow lists those it takes")
}

/// Refusals that the framework words itself (and whatever else is no problem document yet) get the same form.
pub(super) async fn as_json(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    // An answer of ours in JSON says what it has to say (`/readyz` is one that is no problem document).
    let ours = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"json"));
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Longer than any sentence the framework says.
    let bytes = to_bytes(body, 4096).await.unwrap_or_default();
    let mut problem = Problem::new(status, String::from_utf8_lossy(&bytes)).into_response();
    for name in [CONTENT_TYPE, CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    problem.headers_mut().extend(parts.headers);
    debug_assert!(status != StatusCode::METHOD_NOT_ALLOWED || problem.headers().contains_key(ALLOW));
    problem
}
