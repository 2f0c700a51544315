//! A brain at the other end of a WebSocket: one connection, and all tasks on it.
//!
//! ```text
//!  step ── retry ─► attempt ─► link: the open connection, or the one that is being made, for all who wait
//!                      │
//!                      ├─ question ──► writer ──► socket
//!                      └─ waits ◄───── waiting[task, iteration] ◄── reader
//! ```
//!
//! What ends a connection ends the tries of all steps on it: each is asked again, by the rules of `retry`, on a new one.
//!
//! Deliberately absent: compression, and frames that are no text.

mod heard;
mod link;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use hyper::header::{AUTHORIZATION, RETRY_AFTER};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::task::TaskTracker;

use self::heard::{Heard, Hearing};
use self::link::{Link, Socket};
use super::address::Address;
use super::connect::{Connector, Speaks};
use super::retry::{self, TryError, retry, retry_after};
use super::{AskSettings, Brain, BrainError, SetupError, StepRequest, frame};
use crate::domain::{Clock, Json};

/// For a connection to come about, at most; all who want one wait for it.
const DIAL: Duration = Duration::from_secs(30);

/// Asks over a WebSocket.
pub struct WsBrain {
    dialer: Arc<Dialer>,
    settings: AskSettings,
    /// The connection: open, coming about, or gone.
    link: Mutex<Option<Shared<Dialling>>>,
}

type Dialling = BoxFuture<'static, Result<Arc<Link>, TryError>>;

/// What it takes to make a connection.
struct Dialer {
    connector: Connector,
    address: Address,
    limit: Duration,
    settings: AskSettings,
    clock: Arc<dyn Clock>,
    tracker: TaskTracker,
}

impl WsBrain {
    /// A brain at `url`; `/step` is added to its path.
    pub fn new(url: Url, settings: AskSettings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let address = Address::new(url, "/step")?;
        let settings = settings.or(address.password.clone());
        let dialer = Dialer {
            connector: Connector::new(&address.uri, &Matcher::from_env(), Speaks::Upgraded)?,
            address,
            limit: settings.timeout.min(DIAL),
            settings: settings.clone(),
            clock,
            tracker: TaskTracker::new(),
        };
        Ok(Self { dialer: Arc::new(dialer), settings, link: Mutex::default() })
    }

    async fn attempt(&self, request: &StepRequest) -> Result<Json, TryError> {
        let started = Instant::now();
        let asking = async {
            let (key, question) = ((request.task_id.clone(), request.iteration), frame::question(request));
            let mut link = self.link().await?;
            if !link.is_free_for(&key, &question) {
                // The old one is left to those who wait on it.
                *self.link.lock().unwrap_or_else(PoisonError::into_inner) = None;
                link = self.link().await?;
            }
            link.ask(key, question).await
        };
        let answered = tokio::time::timeout(self.settings.timeout, asking).await;
        answered.unwrap_or_else(|_| {
            self.leave(started);
            Err(retry::timed_out())
        })
    }

    /// Leaves a connection on which no answer has come since `began`, to those who wait on it: a brain may have come to a
    /// stop on it, and still answer pings.
    fn leave(&self, began: Instant) {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(link.as_ref().and_then(Shared::peek), Some(Ok(link)) if !link.has_answered_since(began)) {
            *link = None;
        }
    }

    /// The connection. Whoever comes while it is being made waits for the same one.
    fn link(&self) -> Shared<Dialling> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = link.as_ref().filter(|dialling| match dialling.peek() {
            Some(Ok(link)) => link.is_open(),
            Some(Err(_)) => false,
            None => true,
        });
        if let Some(usable) = usable {
            return usable.clone();
        }
        let dialler = Arc::clone(&self.dialer);
        let dialling: Dialling = Box::pin(async move { dialler.dial().await });
        link.insert(dialling.shared()).clone()
    }
}

#[async_trait]
impl Brain for WsBrain {
    async fn step(&self, request: &StepRequest) -> Result<Json, BrainError> {
        retry(self.settings.retries, &self.dialer.address.name, || self.attempt(request)).await
    }
}

impl Dialer {
    async fn dial(&self) -> Result<Arc<Link>, TryError> {
        let heard = Heard::now();
        let socket = tokio::time::timeout(self.limit, self.handshake(&heard)).await;
        let socket = socket.unwrap_or_else(|_| Err(TryError::again("no connection within its time")))?;
        Ok(Link::open(socket, heard, self.address.name.clone(), self.settings.clone(), &self.tracker))
    }

    async fn handshake(&self, heard: &Heard) -> Result<Socket, TryError> {
        let stream = Hearing::new(TokioIo::new(self.connector.connect().await?), heard.clone());
        // The library takes no URI that does not begin with ws or wss.
        let uri = self.address.uri.to_string().replacen("http", "ws", 1);
        let mut request = uri.into_client_request().map_err(|error| self.refused(error))?;
        if let Some(key) = &self.settings.key {
            request.headers_mut().insert(AUTHORIZATION, key.clone());
        }
        let limit = Some(link::longest_frame(self.settings.max_reply_bytes));
        let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
        let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        opened.map(|(socket, _)| socket).map_err(|error| self.refused(error))
    }

    /// Instead of a connection there was an answer, or none.
    fn refused(&self, error: Error) -> TryError {
        let Error::Http(answer) = error else { return retry::by_error(&error) };
        let (head, body) = answer.into_parts();
        let said = String::from_utf8_lossy(body.as_deref().unwrap_or_default()).into_owned();
        let message = format!("{} answered {}: {}", self.address.name, head.status, self.settings.said(&said));
        if head.status.is_success() {
            return TryError::protocol(format!("{message}: it speaks no WebSocket there"));
        }
        retry::by_status(head.status, message, retry_after(head.headers.get(RETRY_AFTER), &*self.clock))
    }
}
