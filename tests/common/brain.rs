//! A brain on a real socket that does what a test tells it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

/// A step as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub headers: HeaderMap,
    pub body: String,
}

/// What the brain answers.
pub enum Reply {
    /// 200 with this body.
    Json(String),
    /// This status, these headers, this body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Nothing, ever.
    Silence,
    /// Half of a body, then the connection is closed.
    Half,
}

/// A brain that keeps what it saw.
pub struct Brain {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: tokio::task::JoinHandle<()>,
}

type Shared = (Arc<Mutex<Vec<Seen>>>, Arc<Decide>);
type Decide = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn payload(&self) -> Value {
        self.json()["payload"].clone()
    }

    pub fn event(&self) -> String {
        self.payload()["event"].as_str().unwrap().to_owned()
    }

    pub fn task_id(&self) -> String {
        self.json()["task_id"].as_str().unwrap().to_owned()
    }

    pub fn key(&self) -> &str {
        self.headers["idempotency-key"].to_str().unwrap()
    }

    /// The iteration in the key, from 1.
    pub fn iteration(&self) -> usize {
        self.key().rsplit('/').next().unwrap().parse().unwrap()
    }
}

impl Brain {
    /// A brain that `decide`s by the step and by how many it saw before.
    pub async fn start(decide: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let decide: Arc<Decide> = Arc::new(decide);
        let router = Router::new()
            .route("/step", post(step))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state((Arc::clone(&seen), decide));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = tokio_util::sync::CancellationToken::new();
        let patience = codex_agent::http::server::Patience { header: Duration::from_mins(1), grace: Duration::ZERO };
        let served = codex_agent::http::server::serve(listener, router, stop, patience);
        Self { url, seen, serving: tokio::spawn(served) }
    }

    /// A brain that answers iteration n of every task with reply n.
    pub async fn script(replies: Vec<Value>) -> Self {
        Self::start(move |seen, _| match seen.event().as_str() {
            "agent_abort" => Reply::json(&json!({"event": "finish"})),
            _ => replies.get(seen.iteration() - 1).map_or_else(Reply::out_of_script, Reply::json),
        })
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn saw(&self, event: &str) -> bool {
        self.seen().iter().any(|seen| seen.event() == event)
    }
}

impl Drop for Brain {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Reply {
    pub fn json(value: &Value) -> Self {
        Self::Json(value.to_string())
    }

    pub fn finish() -> Self {
        Self::json(&json!({"event": "finish", "summary": "done"}))
    }

    fn out_of_script() -> Self {
        Self::Status(422, Vec::new(), "out of script".to_owned())
    }
}

/// The reply that calls a tool.
pub fn call(name: &str, arguments: &Value) -> Value {
    json!({"event": "tool_call", "name": name, "arguments": arguments})
}

pub fn finish() -> Value {
    json!({"event": "finish", "summary": "done"})
}

async fn step(State((log, decide)): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let seen = Seen { headers, body };
    let before = {
        let mut log = log.lock().unwrap();
        log.push(seen.clone());
        log.len() - 1
    };
    let answer = |status: u16| Response::builder().status(status).header("content-type", "application/json");
    match decide(&seen, before) {
        Reply::Json(text) => answer(200).body(Body::from(text)).unwrap(),
        Reply::Status(status, headers, text) => {
            let answer = headers.iter().fold(answer(status), |answer, (name, value)| answer.header(*name, value));
            answer.body(Body::from(text)).unwrap()
        }
        Reply::Silence => std::future::pending().await,
        Reply::Half => {
            let half: Vec<Result<Bytes, std::io::Error>> =
                vec![Ok(Bytes::from_static(b"{\"event\":")), Err(std::io::Error::other("cut"))];
            let body = Body::from_stream(futures_util::stream::iter(half));
            answer(200).header("content-length", "100").body(body).unwrap()
        }
    }
}
