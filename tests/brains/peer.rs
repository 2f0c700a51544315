//! The brain at the other end: a server that speaks one of the ways, and says what a test has it say.
#![expect(clippy::disallowed_methods, reason = "its connections end with the test")]

mod over_grpc;
mod over_http;
mod over_ws;
mod serving;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::certificates;
use crate::way::Way;

/// A step as it came in, however it came.
#[derive(Clone, Debug)]
pub struct Question {
    pub task_id: String,
    pub iteration: u32,
    pub payload: Value,
    pub history: Option<Vec<Value>>,
    pub authorization: Option<String>,
    /// The key that says it is the same step, where the way has one.
    pub key: Option<String>,
    /// The connection it came on, counted from 0.
    pub connection: usize,
}

/// What is said to it.
pub enum Reply {
    Json(Value),
    /// The same as text that is not to be changed.
    Raw(String),
    /// In place of a reply, as it is.
    Text(String),
    /// An HTTP status, or what the way has for it, and a pause in seconds.
    Status(u16, Option<u64>),
    /// Nothing, ever.
    Never,
    /// The connection is cut.
    HangUp,
}

/// How a connection is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Good,
    /// Bytes that are no protocol.
    Garbage,
    /// What comes is read, and no more is said.
    Silent,
    /// When something has come, the server's half is closed.
    HalfClosed,
}

pub type Decide = dyn Fn(Question) -> BoxFuture<'static, Reply> + Send + Sync;
pub type Manners = dyn Fn(usize) -> Manner + Send + Sync;

/// What the connections of a peer share.
#[derive(Clone)]
struct Mind {
    decide: Arc<Decide>,
    heard: Arc<Mutex<Vec<Question>>>,
}

/// A running brain.
pub struct Peer {
    way: Way,
    address: SocketAddr,
    authority: String,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    mind: Mind,
    manners: Arc<Manners>,
    stop: CancellationToken,
}

impl Peer {
    /// One that answers what `decide` says.
    pub async fn start<F>(way: Way, decide: impl Fn(Question) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        Self::with_manners(way, |_| Manner::Good, decide).await
    }

    /// One whose n-th connection is met so.
    pub async fn with_manners<F>(
        way: Way,
        manners: impl Fn(usize) -> Manner + Send + Sync + 'static,
        decide: impl Fn(Question) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, authority) = certificates::acceptor(way.is_http2());
        let decide: Arc<Decide> = Arc::new(move |question| Box::pin(decide(question)));
        let mut peer = Self {
            way,
            address,
            authority,
            acceptor: way.is_secure().then_some(acceptor),
            mind: Mind { decide, heard: Arc::default() },
            manners: Arc::new(manners),
            stop: CancellationToken::new(),
        };
        peer.serve(listener);
        peer
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that signed this brain's.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// All that has been asked.
    pub fn heard(&self) -> Vec<Question> {
        self.mind.heard.lock().unwrap().clone()
    }

    /// Cuts all connections; nobody is at the address any more.
    pub fn kill(&self) {
        self.stop.cancel();
    }

    /// Comes back at the same address.
    pub async fn come_back(&mut self) {
        let listener = loop {
            // The connections of before may still hold it for a moment.
            match tokio::net::TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        self.stop = CancellationToken::new();
        tokio::spawn(serving::serve(
            listener,
            self.way,
            self.acceptor.clone(),
            self.mind.clone(),
            Arc::clone(&self.manners),
            self.stop.clone(),
        ));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Mind {
    async fn answer(&self, question: Question) -> Reply {
        self.heard.lock().unwrap().push(question.clone());
        (self.decide)(question).await
    }
}
