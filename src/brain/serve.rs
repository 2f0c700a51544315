//! The script brain for workers elsewhere: `POST /step`.
//!
//! It remembers the tasks it was told of at `start`; one it does not know (it was restarted, or too many came since)
//! it asks for again with `resync`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::script;
use crate::domain::{Json, Payload, Reply, TaskId};

/// Bytes of tasks that are remembered; an older one costs one resync when it comes back.
const REMEMBERED: usize = 64 * 1024 * 1024;

/// The longest body, in bytes: a history has every result of the task in it.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// `/step` and `/healthz`.
pub fn router() -> Router {
    Router::new()
        .route("/step", post(step))
        .route("/healthz", get(async || "ok\n"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(Mutex::new(Known::default())))
}

type Shared = Arc<Mutex<Known>>;

/// The tasks that have been told of and are not over, the oldest first to go.
#[derive(Default)]
struct Known {
    tasks: HashMap<TaskId, Remembered>,
    /// By when they were told of; the entry of a task that was told of again, or is over, stands for nothing.
    order: VecDeque<(TaskId, u64)>,
    told: u64,
    bytes: usize,
}

struct Remembered {
    task: Json,
    /// The iteration that comes next where the caller does not number its steps.
    next: u32,
    told: u64,
}

impl Known {
    fn remember(&mut self, id: TaskId, task: Json, next: u32) {
        self.forget(&id);
        self.told += 1;
        self.bytes += task.as_str().len();
        self.tasks.insert(id.clone(), Remembered { task, next, told: self.told });
        self.order.push_back((id, self.told));
        while self.bytes > REMEMBERED || self.order.front().is_some_and(|oldest| !self.stands(oldest)) {
            let Some(oldest) = self.order.pop_front() else { break };
            if self.stands(&oldest) {
                self.forget(&oldest.0);
            }
        }
    }

    fn stands(&self, (id, told): &(TaskId, u64)) -> bool {
        self.tasks.get(id).is_some_and(|task| task.told == *told)
    }

    fn forget(&mut self, id: &TaskId) {
        if let Some(gone) = self.tasks.remove(id) {
            self.bytes -= gone.task.as_str().len();
        }
    }
}

/// A step as it comes in; what is in the payload is read only as far as needed.
struct Incoming {
    id: TaskId,
    payload: Json,
    history: Vec<Json>,
}

async fn step(State(known): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let numbered = key.and_then(|key| key.rsplit('/').next()).and_then(|number| number.parse().ok());
    match Incoming::parse(&body).and_then(|incoming| answer(&known, &incoming, numbered)) {
        Ok(reply) => ([(CONTENT_TYPE, "application/json")], reply.to_string()).into_response(),
        // A step this brain cannot answer is as wrong the next time: no 5xx, which would be tried again.
        Err(message) => (StatusCode::UNPROCESSABLE_ENTITY, message + "\n").into_response(),
    }
}

fn answer(known: &Shared, incoming: &Incoming, numbered: Option<u32>) -> Result<Json, String> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if Payload::abort_reason(&incoming.payload).is_some() {
        known.forget(&incoming.id);
        return Ok(script::farewell());
    }
    let first = incoming.history.first().unwrap_or(&incoming.payload);
    if let Some(task) = started(first)? {
        let iteration = u32::try_from(incoming.history.len()).unwrap_or(u32::MAX).saturating_add(1);
        known.remember(incoming.id.clone(), task, iteration);
    }
    let Some(remembered) = known.tasks.get_mut(&incoming.id) else {
        return Ok(Json::of(&serde_json::json!({"event": "resync"})));
    };
    let iteration = numbered.unwrap_or(remembered.next);
    remembered.next = iteration.saturating_add(1);
    let reply = script::reply(&remembered.task, iteration)?;
    // After its finish a task is heard of no more; should the answer be lost, it comes back by resync.
    if matches!(Reply::parse(&reply), Ok(Reply::Finish { .. })) {
        known.forget(&incoming.id);
    }
    Ok(reply)
}

/// The task in a `start` payload.
fn started(payload: &Json) -> Result<Option<Json>, String> {
    #[derive(Deserialize)]
    struct Start<'a> {
        event: Option<String>,
        #[serde(borrow)]
        task: Option<&'a RawValue>,
    }
    let start: Start<'_> = serde_json::from_str(payload.as_str()).map_err(|error| format!("payload: {error}"))?;
    match (start.event.as_deref(), start.task) {
        (Some("start"), Some(task)) => Json::reread(task.get()).map(Some).map_err(|error| format!("task: {error}")),
        (Some("start"), None) => Err("payload: a start has no task".to_owned()),
        (Some(_), _) => Ok(None),
        (None, _) => Err("payload: has no event".to_owned()),
    }
}

impl Incoming {
    fn parse(body: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Body<'a> {
            task_id: String,
            #[serde(borrow)]
            payload: &'a RawValue,
            #[serde(borrow, default)]
            history: Vec<Past<'a>>,
        }
        #[derive(Deserialize)]
        struct Past<'a> {
            #[serde(borrow)]
            agent_input: &'a RawValue,
        }
        let body: Body<'_> = serde_json::from_str(body).map_err(|error| format!("not a step: {error}"))?;
        let json = |raw: &RawValue| Json::reread(raw.get()).map_err(|error| format!("not a step: {error}"));
        Ok(Self {
            id: body.task_id.parse().map_err(|error| format!("task_id {error}"))?,
            payload: json(body.payload)?,
            history: body.history.iter().map(|past| json(past.agent_input)).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> TaskId {
        name.parse().unwrap()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_nothing_is_kept_of_those_that_are_over() {
        let mut known = Known::default();
        let long = Json::of(&"x".repeat(REMEMBERED / 3));
        for name in ["a", "b", "a", "c"] {
            known.remember(id(name), long.clone(), 1);
        }
        // `a` was told of again after `b`, so `b` is the oldest.
        let mut names: Vec<_> = known.tasks.keys().map(TaskId::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "c"]);
        known.forget(&id("a"));
        known.forget(&id("c"));
        known.remember(id("d"), Json::empty_object(), 1);
        assert_eq!((known.order.len(), known.bytes), (1, 2));
    }
}
