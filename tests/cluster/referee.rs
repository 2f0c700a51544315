//! The brain of a cluster: it answers as a test says, and holds each question against what was asked under its key before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use codex_agent::http::server::{Patience, serve};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a connection may take to say what it wants.
const PATIENCE: Duration = Duration::from_mins(1);

/// A brain on a socket, until it is dropped.
pub struct Referee {
    pub url: String,
    inner: Arc<Inner>,
    _serving: DropGuard,
}

struct Inner {
    answers: Box<Answers>,
    heard: Mutex<Vec<Heard>>,
    asked: Mutex<HashMap<String, Asked>>,
    differed: Mutex<Vec<String>>,
}

/// What it says to a task's n-th question, and how long it thinks about it.
type Answers = dyn Fn(&str, u64) -> (Value, Duration) + Send + Sync;

/// A question that came in.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Instant,
    pub task: String,
    pub iteration: u64,
    pub event: String,
    /// The life of the node that asked.
    pub by: String,
}

/// What was asked first under a key, and what is answered to it each time.
#[derive(Clone, Debug)]
pub struct Asked {
    pub payload: String,
    pub reply: String,
    pub times: u64,
}

#[derive(Deserialize)]
struct Body {
    task_id: String,
    payload: Box<RawValue>,
}

#[derive(Deserialize)]
struct Event {
    event: String,
}

impl Referee {
    pub async fn new(answers: impl Fn(&str, u64) -> (Value, Duration) + Send + Sync + 'static) -> Self {
        let inner = Arc::new(Inner {
            answers: Box::new(answers),
            heard: Mutex::default(),
            asked: Mutex::default(),
            differed: Mutex::default(),
        });
        let router = Router::new().route("/step", post(step)).with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, router, stop.clone(), Patience { header: PATIENCE, grace: Duration::ZERO }));
        Self { url, inner, _serving: stop.drop_guard() }
    }

    /// All questions about a task, as they came.
    pub fn heard(&self, task: &str) -> Vec<Heard> {
        self.inner.heard.lock().unwrap().iter().filter(|heard| heard.task == task).cloned().collect()
    }

    /// How many questions there were, about whatever task.
    pub fn questions(&self) -> usize {
        self.inner.heard.lock().unwrap().len()
    }

    /// What was asked under a key and answered.
    pub fn asked(&self, key: &str) -> Option<Asked> {
        self.inner.asked.lock().unwrap().get(key).cloned()
    }

    /// Keys under which two different payloads came.
    pub fn differed(&self) -> Vec<String> {
        self.inner.differed.lock().unwrap().clone()
    }

    /// How many questions had been asked before.
    pub fn repeated(&self) -> u64 {
        self.inner.asked.lock().unwrap().values().map(|asked| asked.times - 1).sum()
    }
}

async fn step(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: String) -> String {
    let Body { task_id: task, payload } = serde_json::from_str(&body).unwrap();
    let Event { event } = serde_json::from_str(payload.get()).unwrap();
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (key, by) = (text("idempotency-key"), text("authorization").replacen("Bearer ", "", 1));
    let iteration = key.strip_prefix(&format!("{task}/")).and_then(|number| number.parse().ok()).unwrap();
    let (reply, thinking) = (inner.answers)(&task, iteration);
    inner.heard.lock().unwrap().push(Heard { at: Instant::now(), task, iteration, event, by });
    let reply = {
        let mut asked = inner.asked.lock().unwrap();
        let first = || Asked { payload: payload.get().to_owned(), reply: reply.to_string(), times: 0 };
        let asked = asked.entry(key.clone()).or_insert_with(first);
        asked.times += 1;
        if asked.payload != payload.get() {
            inner.differed.lock().unwrap().push(format!("{key}: {} became {}", asked.payload, payload.get()));
        }
        asked.reply.clone()
    };
    tokio::time::sleep(thinking).await;
    reply
}
