//! `GET /stats`: how much there is to do and who does it, for an autoscaler.

use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::params::Params;
use super::problem::{Problem, Refusals};
use crate::domain::Timestamp;
use crate::store::{Stats, StoreError, WorkerStats};

/// How long the database is waited for: Prometheus and autoscalers wait ten seconds, and want to hear of the rest.
const PATIENCE: Duration = Duration::from_secs(3);

/// The queue and the workers, the same whichever worker is asked.
#[derive(Serialize, ToSchema)]
#[schema(as = Stats)]
pub(super) struct StatsView {
    /// Tasks that wait.
    #[schema(minimum = 0)]
    queued: u64,
    /// Tasks that run.
    #[schema(minimum = 0)]
    running: u64,
    /// Both together: the one number to scale by, so that no worker is taken away that has something to do.
    #[schema(minimum = 0)]
    unfinished: u64,
    /// How long ago the task was accepted that has waited longest; 0 if none waits.
    #[schema(minimum = 0)]
    oldest_age_seconds: f64,
    /// How many tasks all workers together run at a time.
    #[schema(minimum = 0)]
    capacity: u64,
    workers: Vec<WorkerView>,
}

/// A worker that is alive.
#[derive(Serialize, ToSchema)]
#[schema(as = Worker)]
struct WorkerView {
    id: String,
    /// How many tasks it runs at a time; 0 if it is stopping.
    #[schema(minimum = 0)]
    capacity: u32,
    /// How many it runs now.
    #[schema(minimum = 0)]
    running: u64,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it last said that it is alive.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
}

/// How much there is to do, and who does it.
#[utoipa::path(get, path = "/stats", tag = "service", responses(
    (status = 200, description = "The queue and the workers.", body = StatsView),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(super) async fn stats(State(api): State<Api>, uri: Uri) -> Result<JsonBody<StatsView>, Problem> {
    Params::parse(&uri, &[])?;
    Ok(JsonBody(seen(&api).await?.into()))
}

/// What the store says of it, if it answers soon.
pub(super) async fn seen(api: &Api) -> Result<Seen, StoreError> {
    let now = api.clock.now();
    let asked = tokio::time::timeout(PATIENCE, api.store.stats()).await;
    let stats = asked.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer in time".into())))?;
    let oldest_age = stats.oldest.map(|oldest| now.since(oldest)).unwrap_or_default();
    Ok(Seen { oldest_age, capacity: stats.workers.iter().map(|worker| u64::from(worker.capacity)).sum(), stats })
}

/// The store's word, and what follows from it.
pub(super) struct Seen {
    pub(super) stats: Stats,
    pub(super) oldest_age: Duration,
    pub(super) capacity: u64,
}

impl From<Seen> for StatsView {
    fn from(Seen { stats, oldest_age, capacity }: Seen) -> Self {
        let worker = |WorkerStats { id, capacity, running, started_at, seen_at }| WorkerView {
            id: id.as_str().to_owned(),
            capacity,
            running,
            started_at,
            seen_at,
        };
        Self {
            queued: stats.queued,
            running: stats.running,
            unfinished: stats.queued + stats.running,
            oldest_age_seconds: oldest_age.as_secs_f64(),
            capacity,
            workers: stats.workers.into_iter().map(worker).collect(),
        }
    }
}
