//! The outside: HTTP in, HTTP out.
//!
//! ```text
//!  server (accept, header timeout) ─► measure ─► guard (Host, Origin, token) ─► router ─► tasks/* ─► store, recorder
//!                                                   │                             │
//!                                                   └──── problem+json ◄──────────┘ whatever refuses
//! ```
//!
//! One file per call, each in the same order: the handler with its OpenAPI lines, then what only it needs. The
//! OpenAPI document is collected from the very lines that make the routes.
//!
//! Deliberately absent: SQL, processes, and any state of its own.

mod body;
mod docs;
mod export;
mod guard;
mod health;
mod linger;
mod measure;
mod metrics;
mod params;
mod problem;
pub mod server;
mod stats;
mod tasks;
mod view;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::ServiceBuilderExt;
use tower_http::request_id::MakeRequestUuid;
use tower_http::trace::TraceLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use guard::Guard;
pub use view::TaskView;

use crate::domain::{Clock, SpecLimits, TaskId};
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::store::Store;
use crate::tools::Toolbox;

/// What the handlers work with.
#[derive(Clone)]
pub struct Api {
    /// Where tasks are kept.
    pub store: Arc<dyn Store>,
    /// Where records are kept.
    pub recorder: Arc<Recorder>,
    /// For checking a task's workspace.
    pub toolbox: Arc<Toolbox>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// Makes ids for tasks that come without one.
    pub new_id: fn() -> TaskId,
    /// Whose free space is watched.
    pub output_dir: PathBuf,
    /// What a task may ask for.
    pub limits: SpecLimits,
    /// `MAX_QUEUED`
    pub max_queued: u32,
    /// `MAX_BODY_BYTES`
    pub max_body_bytes: usize,
    /// What must not get out with an export.
    pub secrets: Arc<[String]>,
    /// For one export at a time.
    pub exports: Arc<Semaphore>,
    /// The service is stopping: long answers end.
    pub drain: CancellationToken,
}

/// The whole service, ready to be served.
pub fn router(api: Api, guard: &Guard) -> Router {
    let (routes, openapi) = routes().split_for_parts();
    finished(routes.merge(docs::router(openapi)), api, guard)
}

/// What a process answers that only runs tasks: whether it is well, and its figures.
pub fn probes(api: Api, guard: &Guard) -> Router {
    finished(figures().into(), api, guard)
}

fn finished(routes: Router<Api>, api: Api, guard: &Guard) -> Router {
    let metrics = api.metrics.clone();
    let routes =
        routes.fallback(problem::not_found).method_not_allowed_fallback(problem::method_not_allowed).with_state(api);
    // Around all else, so that what the guard refuses is counted, too.
    guarded(routes, guard)
        .layer(middleware::from_fn(move |request, next| measure::measured(metrics.clone(), request, next)))
}

/// Puts what every answer of ours has around `routes`: an id, a log line, problems as JSON, and the guard.
pub fn guarded(routes: Router, guard: &Guard) -> Router {
    let guard = guard.clone();
    let layers = ServiceBuilder::new()
        .layer(middleware::map_request(short_id))
        .set_x_request_id(MakeRequestUuid)
        // Failures are logged where their reason is known; a probe that hears 503 is none.
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
        .propagate_x_request_id()
        .layer(middleware::from_fn(no_store))
        .layer(middleware::from_fn(problem::as_json))
        .layer(middleware::from_fn(move |request, next| {
            let guard = guard.clone();
            async move { guard.check(request, next).await }
        }));
    routes.layer(layers)
}

/// The description of the service, from the same lines as its routes.
pub fn openapi() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(docs::info())
        .routes(routes!(tasks::submit::submit, tasks::list::list))
        .routes(routes!(tasks::get::get, tasks::delete::delete))
        .routes(routes!(tasks::log::log))
        .routes(routes!(tasks::events::events))
        .routes(routes!(tasks::cancel::cancel))
        .routes(routes!(export::export))
        .routes(routes!(tasks::label::label))
        .merge(figures())
}

/// What a machine asks of any of our processes.
fn figures() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(stats::stats))
}

/// Tasks change from one moment to the next; whoever wants to spare a transfer asks with `If-None-Match`.
async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A client may bring its own request id, if it is one and not a page of text: it stands in the answer and in the log.
async fn short_id(mut request: Request) -> Request {
    let short = |id: &HeaderValue| id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic);
    if !request.headers().get("x-request-id").is_none_or(short) {
        request.headers_mut().remove("x-request-id");
    }
    request
}

fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    // The path alone: a query may one day bear something private.
    tracing::info_span!("http", method = %request.method(), path = request.uri().path(), id)
}
