//! The judge on a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use codex_agent::http::server::{Patience, serve};
use tokio_util::sync::CancellationToken;

use crate::judge::{Answer, Judge};
use crate::plan::Word;

/// How long a connection is kept that nobody uses: short, so that a service at rest has none after a moment.
const IDLE: Duration = Duration::from_secs(2);

/// A brain on a socket, until it is dropped.
pub struct Bench {
    pub address: SocketAddr,
    stop: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Bench {
    pub async fn open(judge: &Arc<Judge>, address: SocketAddr) -> Self {
        Self::serving(Router::new().route("/step", post(step)).with_state(Arc::clone(judge)), address).await
    }

    pub async fn serving(router: Router, address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let patience = Patience { header: IDLE, grace: Duration::ZERO };
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

async fn step(State(judge): State<Arc<Judge>>, headers: HeaderMap, body: String) -> Response {
    let Answer { thinking, word } = judge.answer(&headers, &serde_json::from_str(&body).unwrap());
    // The answer stands before it is sent: a question that comes again while the first one waits gets the same.
    if !thinking.is_zero() {
        tokio::time::sleep(thinking).await;
    }
    match word {
        Err(trouble) => trouble.response(),
        Ok(Word::Text(text)) => Response::new(Body::from(text)),
        Ok(Word::Status(status)) => Response::builder().status(status).body(Body::from("no")).unwrap(),
        Ok(Word::Silence) => std::future::pending().await,
    }
}
