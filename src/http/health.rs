//! `GET /healthz` and `GET /readyz`: alive, and fit to take work.

use std::path::Path;
use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::sandbox;

/// Below this much free space no task is taken, in bytes; on a small file system a twentieth of it.
const LEAST_FREE: u64 = 64 * 1024 * 1024;

/// How long the database is waited for: whoever probes does so for five seconds, and wants to hear the reason.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether the service is fit to take work.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// Each reason why not.
    reasons: Vec<String>,
    /// What confines commands.
    sandbox: sandbox::Status,
    /// The program's version.
    version: &'static str,
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "service", security(()), responses(
    (status = 200, description = "It does.", body = String, content_type = "text/plain", example = "ok\n"),
    super::problem::OpenRefusals,
))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the service is fit to take work, with each reason why not.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()), responses(
    (status = 200, description = "It is.", body = Readiness),
    (status = 503, description = "It is not.", body = Readiness),
    super::problem::OpenRefusals,
))]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let mut reasons = Vec::new();
    if api.drain.is_cancelled() {
        reasons.push("the service is stopping".to_owned());
    }
    match tokio::time::timeout(PATIENCE, api.store.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => reasons.push(format!("the database does not answer: {error}")),
        Err(_) => reasons.push(format!("the database does not answer within {} s", PATIENCE.as_secs())),
    }
    reasons.extend(disk_full(&api.output_dir));
    reasons.extend(api.recorder.unfit());
    if let Err(error) = api.toolbox.workspace(None) {
        reasons.push(format!("CODE_DIR: {error}"));
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let version = env!("CARGO_PKG_VERSION");
    (status, JsonBody(Readiness { ready, reasons, sandbox: api.toolbox.sandbox().status().clone(), version }))
        .into_response()
}

/// Says so, if the file system of `dir` is nearly full or cannot be asked.
pub(super) fn disk_full(dir: &Path) -> Option<String> {
    match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let (free, total) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
            (free < LEAST_FREE.min(total / 20))
                .then(|| format!("the disk of OUTPUT_DIR is nearly full: {free} bytes free"))
        }
        Err(error) => Some(format!("OUTPUT_DIR: {error}")),
    }
}
