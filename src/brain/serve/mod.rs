//! A brain for workers elsewhere: `/step` over HTTP, WebSocket and gRPC, on one port.
//!
//! ```text
//!  POST /step ──────────────► over_http ┐
//!  GET /step, upgraded ─────► over_ws   ├─► Desk ─┬─ known: what the tasks have been told so far
//!  codexagent.v1.Brain/Step ► over_grpc ┘         └─ brain: asked with the whole history, so it keeps no state
//! ```
//!
//! A step that comes again, by its task and iteration, gets the reply that it had, or waits for the one that is being
//! made. A task that is not known (this process was restarted, or too many came since) is asked for with `resync`.
//!
//! Deliberately absent: a memory on disk. The worker's record is the truth.

mod desk;
mod known;
mod over_grpc;
mod over_http;
mod over_ws;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::timeout::RequestBodyTimeoutLayer;

pub use self::desk::Desk;
use super::BrainError;
use crate::domain::{Exchange, Json, TaskId};

/// The longest step, in bytes: a history has every result of the task in it.
const MAX_STEP: usize = 64 * 1024 * 1024;

/// The longest pause within a body: half a step is not kept for whoever has gone away.
const PAUSE: Duration = Duration::from_secs(30);

/// Iterations in a history, at most: far more than a task may have, and few enough to be kept.
const MOST_ITERATIONS: usize = 100_000;

/// All ways to the desk, and `/healthz`. What stays open for long ends with `stop`, and is tracked by `sockets`.
pub fn router(desk: Arc<Desk>, stop: CancellationToken, sockets: TaskTracker) -> Router {
    let ways = post(over_http::step).get(over_ws::upgrade);
    Router::new()
        .route("/step", ways)
        .route("/healthz", get(async || "ok\n"))
        .layer(DefaultBodyLimit::max(MAX_STEP))
        .layer(RequestBodyTimeoutLayer::new(PAUSE))
        .with_state(Reception { desk: Arc::clone(&desk), stop, sockets })
        .merge(over_grpc::router(desk))
}

/// What the ways in share.
#[derive(Clone)]
struct Reception {
    desk: Arc<Desk>,
    stop: CancellationToken,
    sockets: TaskTracker,
}

/// A step as it came in.
#[derive(Debug)]
struct Step {
    id: TaskId,
    /// Not everyone who asks numbers the steps.
    iteration: Option<u32>,
    payload: Json,
    history: Option<Vec<Exchange>>,
}

/// Why a step gets no reply.
#[derive(Clone, Debug)]
enum Refusal {
    /// It is longer than any step may be.
    TooLong,
    /// It is none, or does not fit what was told before. It is as wrong the next time.
    Bad(String),
    /// The brain cannot say.
    Brain(BrainError),
}

impl Refusal {
    /// Whether the worker should ask again.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Brain(BrainError::Unreachable(_)))
    }

    fn message(&self) -> String {
        match self {
            Self::TooLong => format!("the step is over {MAX_STEP} bytes or {MOST_ITERATIONS} iterations"),
            Self::Bad(message) => message.clone(),
            Self::Brain(error) => error.to_string(),
        }
    }
}

impl Step {
    /// Reads the JSON form, of a body as of a frame; what is in the payload is read only as far as needed.
    fn parse(text: &str) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            task_id: String,
            iteration: Option<u32>,
            #[serde(borrow)]
            payload: &'a RawValue,
            #[serde(borrow)]
            history: Option<Vec<Past<'a>>>,
        }
        #[derive(Deserialize)]
        struct Past<'a> {
            #[serde(borrow)]
            agent_input: &'a RawValue,
            #[serde(borrow)]
            mcp_reply: Option<&'a RawValue>,
        }
        let none = |error: &dyn std::fmt::Display| Refusal::Bad(format!("not a step: {error}"));
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| none(&error))?;
        let json = |raw: &RawValue| Json::reread(raw.get()).map_err(|error| none(&error));
        let past = |past: &Past<'_>| {
            let mcp_reply = past.mcp_reply.map(json).transpose()?;
            Ok(Exchange { agent_input: json(past.agent_input)?, mcp_reply })
        };
        Ok(Self {
            id: wire.task_id.parse().map_err(|error| Refusal::Bad(format!("task_id {error}")))?,
            iteration: wire.iteration,
            payload: json(wire.payload)?,
            history: wire.history.map(|history| history.iter().map(past).collect()).transpose()?,
        })
    }
}
