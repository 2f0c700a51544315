//! Counts and times every request.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::metrics::Metrics;

/// In place of a pattern, for a path that fits none.
const UNMATCHED: &str = "unmatched";

/// To the head of the answer: how long a client takes over the rest is its own affair, and a follower takes hours.
pub(super) async fn measured(metrics: Metrics, request: Request, next: Next) -> Response {
    let (started, method) = (Instant::now(), word(request.method()));
    let pattern = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = pattern.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    metrics.http_request(method, route, response.status().as_str(), started.elapsed());
    response
}

/// A client may make up methods; those share one word.
fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
