//! The brain: it follows the plans, and holds each question against what it was asked before.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use codex_agent::http::server::{Patience, serve};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;

/// What it was asked, what it said, and what it found wrong with the questions.
pub struct Judge {
    seed: u64,
    /// The longest it thinks about a step, in milliseconds.
    slowness: u64,
    heard: Mutex<HashMap<String, Heard>>,
    faults: Mutex<Faults>,
}

/// One task's questions by their number.
#[derive(Default)]
pub struct Heard {
    pub asked: BTreeMap<u64, Asked>,
    pub over: bool,
    /// Questions that came behind the farewell that took their place.
    pub overtaken: u64,
    /// Questions whose asker was dead when they were read: a later life had asked before.
    pub from_the_dead: u64,
    life: u64,
}

pub struct Asked {
    pub payload: String,
    pub reply: String,
    pub times: u64,
}

#[derive(Clone, Default)]
pub struct Faults {
    pub payloads_that_differed: Vec<String>,
    pub keys_out_of_order: Vec<String>,
    pub keys_that_are_no_keys: Vec<String>,
}

/// The judge on a socket, until it is dropped.
pub struct Bench {
    pub address: SocketAddr,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
}

#[derive(Deserialize)]
struct Body {
    task_id: String,
    payload: Box<RawValue>,
}

impl Judge {
    pub fn new(seed: u64, slowness: u64) -> Arc<Self> {
        Arc::new(Self { seed, slowness, heard: Mutex::default(), faults: Mutex::default() })
    }

    pub fn heard(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.heard.lock().unwrap()
    }

    pub fn faults(&self) -> Faults {
        self.faults.lock().unwrap().clone()
    }

    /// Whether it has said its last word on the task.
    pub fn is_over(&self, id: &str) -> bool {
        self.heard().get(id).is_some_and(|heard| heard.over)
    }

    pub fn questions(&self) -> u64 {
        self.heard().values().flat_map(|heard| heard.asked.values()).map(|asked| asked.times).sum()
    }

    fn answer(&self, headers: &HeaderMap, body: &Body) -> String {
        let (id, payload) = (&body.task_id, body.payload.get());
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).and_then(|key| key.rsplit_once('/'));
        let iteration = key.filter(|(task, _)| task == id).and_then(|(_, iteration)| iteration.parse::<u64>().ok());
        let mut faults = self.faults.lock().unwrap();
        let (Some(iteration), Some(number)) = (iteration, id.strip_prefix("task-").and_then(|text| text.parse().ok()))
        else {
            faults.keys_that_are_no_keys.push(format!("{key:?} for {id}"));
            return "{}".to_owned();
        };
        let plan = Plan::of(self.seed, number);
        let abort = is_abort(payload);
        let reply = if abort { json!({"event": "finish"}) } else { plan.reply(iteration) }.to_string();
        let mut heard = self.heard();
        let heard = heard.entry(id.clone()).or_default();
        let last = heard.asked.last_key_value().map_or(0, |(last, _)| *last);
        // A payload that a cancelled task no longer sends has a number all the same.
        let next = last + 1..=last + if abort { 2 } else { 1 };
        // A question that is dropped for the farewell may be overtaken by it, on another connection; there is one such.
        let before = heard.asked.last_key_value().map_or("", |(_, last)| &last.payload);
        let life = life(headers);
        let dead = life < heard.life;
        let overtaken = is_abort(before) && iteration + 1 == last && heard.overtaken == 0 && !dead;
        if !next.contains(&iteration) && (iteration != last || last == 0) && !overtaken && !dead {
            faults
                .keys_out_of_order
                .push(format!("life {life}, {id}/{iteration} after {last}: {payload} after {before}"));
        }
        heard.overtaken += u64::from(overtaken);
        heard.from_the_dead += u64::from(dead);
        heard.life = heard.life.max(life);
        heard.over |= abort || plan.is_over(iteration);
        let asked = heard.asked.entry(iteration).or_insert(Asked { payload: payload.to_owned(), reply, times: 0 });
        asked.times += 1;
        if asked.payload != payload {
            faults.payloads_that_differed.push(format!("{id}/{iteration}: {} became {payload}", asked.payload));
        }
        asked.reply.clone()
    }
}

impl Bench {
    pub async fn open(judge: &Arc<Judge>, address: SocketAddr) -> Self {
        Self::serving(Router::new().route("/step", post(step)).with_state(Arc::clone(judge)), address).await
    }

    pub async fn serving(router: Router, address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let patience = Patience { header: Duration::from_mins(1), grace: Duration::ZERO };
        let serving = tokio::spawn(serve(listener, router, stop.clone(), patience));
        Self { address, stop, serving: Some(serving) }
    }

    /// Cuts all connections and leaves the socket.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            serving.await.unwrap();
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Which life of the service asks: its key for the brain tells.
fn life(headers: &HeaderMap) -> u64 {
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer life-"));
    bearer.and_then(|life| life.parse().ok()).unwrap()
}

fn is_abort(payload: &str) -> bool {
    payload.starts_with("{\"event\":\"agent_abort\"")
}

async fn step(State(judge): State<Arc<Judge>>, headers: HeaderMap, body: String) -> String {
    let body: Body = serde_json::from_str(&body).unwrap();
    let reply = judge.answer(&headers, &body);
    // The answer stands before it is sent: a question that comes again while the first one waits gets the same.
    let thinking = fastrand::u64(0..=judge.slowness);
    if thinking > 0 {
        tokio::time::sleep(Duration::from_millis(thinking)).await;
    }
    reply
}
