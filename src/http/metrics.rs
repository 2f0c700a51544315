//! `GET /metrics`: what is counted and timed, for Prometheus.

use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::params::Params;
use super::problem::{Problem, Refusals};
use crate::metrics::{MEDIA_TYPE, Seen};

/// What the service counts and times, as Prometheus reads it. Of the queue it says nothing while the database does not
/// answer.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, description = "The metrics.", body = String, content_type = "text/plain"),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(super) async fn metrics(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(&uri, &[])?;
    let seen = Seen::default();
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], api.metrics.text(&seen)).into_response())
}
