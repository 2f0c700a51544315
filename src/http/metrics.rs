//! `GET /metrics`: what is counted and timed, for Prometheus.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::params::Params;
use super::problem::{Problem, Refusals};
use super::{Api, stats};
use crate::metrics::{MEDIA_TYPE, Queue, Seen};

/// What the service counts and times, as Prometheus reads it. While the database does not answer, nothing is said of the
/// queue and the workers.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, description = "The metrics.", body = String, content_type = "text/plain"),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(super) async fn metrics(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(&uri, &[])?;
    let queue = stats::seen(&api).await.map(|seen| Queue {
        queued: seen.stats.queued,
        running: seen.stats.running,
        oldest_age: seen.oldest_age,
        capacity: seen.capacity,
        workers: seen.stats.workers.len() as u64,
    });
    if let Err(error) = &queue {
        tracing::warn!(error = error as &dyn std::error::Error, "the metrics say nothing of the queue");
    }
    let seen = Seen { queue: queue.ok(), database: api.store.database() };
    // The system is asked for each open file.
    let text = tokio::task::spawn_blocking(move || api.metrics.text(&seen)).await;
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written down");
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text.map_err(failed)?).into_response())
}
