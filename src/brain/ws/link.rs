//! One open connection, and the steps that wait on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::task::TaskTracker;

use crate::brain::connect::{DEAD, PING, Stream};
use crate::brain::excerpt;
use crate::brain::frame::{self, Answer, Key};
use crate::brain::retry::{self, TryError, causes};
use crate::domain::Json;

/// A socket after its handshake.
pub(super) type Socket = WebSocketStream<TokioIo<Stream>>;

/// Questions that wait for the socket to take them: some, so that a burst need not go through the scheduler one by one.
const QUEUE: usize = 64;

/// Where steps wait.
pub(super) struct Link {
    questions: mpsc::Sender<String>,
    waiting: Arc<Waiting>,
}

/// The steps that have been asked, and what a connection ended with.
struct Waiting {
    name: String,
    max_reply_bytes: usize,
    steps: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    asked: HashMap<Key, oneshot::Sender<Result<Json, TryError>>>,
    over: Option<TryError>,
}

/// The longest frame that is taken. Of one that is longer nobody can tell whose it is, so it ends the connection for all: it
/// has to be far from what a task's own limit refuses.
pub(super) fn longest_frame(max_reply_bytes: usize) -> usize {
    max_reply_bytes.saturating_mul(2).saturating_add(64 * 1024)
}

impl Link {
    /// Takes a socket over.
    pub(super) fn open(socket: Socket, name: String, max_reply_bytes: usize, tracker: &TaskTracker) -> Arc<Self> {
        let (questions, asked) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Waiting { name, max_reply_bytes, steps: Mutex::default() });
        // It ends with the connection, or when nobody can ask any more: nobody waits for it.
        tracker.spawn(tend(socket, asked, Arc::clone(&waiting)));
        Arc::new(Self { questions, waiting })
    }

    pub(super) fn is_open(&self) -> bool {
        self.waiting.lock().over.is_none()
    }

    /// One step: its question goes out, and whichever frame bears its key comes back.
    pub(super) async fn ask(&self, key: Key, question: String) -> Result<Json, TryError> {
        let (tell, told) = oneshot::channel();
        {
            let mut steps = self.waiting.lock();
            if let Some(over) = &steps.over {
                return Err(over.clone());
            }
            steps.asked.insert(key.clone(), tell);
        }
        // However this ends, the next try of the same step must not find an old one in its place.
        let _asked = Asked { waiting: &self.waiting, key };
        if self.questions.send(question).await.is_err() {
            return Err(self.waiting.lock().over.clone().unwrap_or_else(gone));
        }
        told.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// A place among the waiting; it is given up with this.
struct Asked<'a> {
    waiting: &'a Waiting,
    key: Key,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.waiting.lock().asked.remove(&self.key);
    }
}

fn gone() -> TryError {
    TryError::again("the connection was closed")
}

/// Serves the socket until it ends, and tells all who wait on it why.
async fn tend(socket: Socket, questions: mpsc::Receiver<String>, waiting: Arc<Waiting>) {
    let (sink, stream) = socket.split();
    let heard = Mutex::new(Instant::now());
    // Side by side: a socket that takes no more questions may still have answers.
    let over = tokio::select! {
        over = read(stream, &waiting, &heard) => over,
        over = write(sink, questions) => over,
        over = watch(&heard) => over,
    };
    waiting.end(&over);
}

async fn read(mut stream: SplitStream<Socket>, waiting: &Waiting, heard: &Mutex<Instant>) -> TryError {
    loop {
        let message = stream.next().await;
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => waiting.answer(&text),
            Some(Ok(Message::Binary(bytes))) => waiting.answer(&String::from_utf8_lossy(&bytes)),
            // Pings are answered by the socket itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(frame))) => {
                let why = frame.map(|frame| format!(": {} {}", frame.code, frame.reason)).unwrap_or_default();
                return TryError::again(format!("the brain closed the connection{why}"));
            }
            Some(Err(Error::Capacity(error))) => {
                waiting.to_the_only_one(&TryError::protocol(format!("the brain's reply is too long: {error}")));
                return TryError::again(format!("somebody's reply was too long: {error}"));
            }
            Some(Err(error)) => return TryError::again(causes(&error)),
            None => return gone(),
        }
    }
}

async fn write(mut sink: SplitSink<Socket, Message>, mut questions: mpsc::Receiver<String>) -> TryError {
    let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
    loop {
        let sent = tokio::select! {
            question = questions.recv() => {
                let Some(question) = question else {
                    // The worker ends. Whether the other side hears of it changes nothing.
                    drop(sink.close().await);
                    return gone();
                };
                sink.send(Message::text(question)).await
            }
            _ = pings.tick() => sink.send(Message::Ping(Vec::new().into())).await,
        };
        if let Err(error) = sent {
            return TryError::again(causes(&error));
        }
    }
}

/// Returns when nothing has been heard for too long.
async fn watch(heard: &Mutex<Instant>) -> TryError {
    loop {
        let dead = *heard.lock().unwrap_or_else(PoisonError::into_inner) + DEAD;
        if Instant::now() >= dead {
            return TryError::again(format!("the brain has not been heard for {} s", DEAD.as_secs()));
        }
        tokio::time::sleep_until(dead).await;
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever waits for it.
    fn answer(&self, text: &str) {
        let (key, answer) = match frame::answer(text) {
            Ok(answer) => answer,
            Err(message) => return self.to_the_only_one(&TryError::protocol(message)),
        };
        // An answer nobody waits for came too late: the step was given up, or has had one.
        let Some(tell) = self.lock().asked.remove(&key) else { return };
        drop(tell.send(self.outcome(answer)));
    }

    fn outcome(&self, answer: Answer<'_>) -> Result<Json, TryError> {
        match answer {
            Answer::Reply(text) if text.len() > self.max_reply_bytes => {
                let (limit, start) = (self.max_reply_bytes, excerpt(text));
                Err(TryError::protocol(format!("the brain's reply is over {limit} bytes: {start}")))
            }
            Answer::Reply(text) => Json::parse(text)
                .map_err(|error| TryError::protocol(format!("the brain's reply is {error}: {}", excerpt(text)))),
            Answer::Error { status, message, retry_after } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let message = format!("{} answered {status}: {}", self.name, excerpt(&message));
                let after = retry_after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                Err(retry::by_status(status, message, after))
            }
        }
    }

    /// What bears no key is the answer to a step if only one was asked. Otherwise nobody can tell whose it is: the steps
    /// wait on, for theirs may come.
    fn to_the_only_one(&self, error: &TryError) {
        let mut steps = self.lock();
        if steps.asked.len() > 1 {
            tracing::warn!(brain = self.name, ?error, steps = steps.asked.len(), "an answer that belongs to nobody");
            return;
        }
        for (_, tell) in steps.asked.drain() {
            drop(tell.send(Err(error.clone())));
        }
    }

    /// No more answers come.
    fn end(&self, why: &TryError) {
        let mut steps = self.lock();
        steps.over = Some(why.clone());
        for (_, tell) in steps.asked.drain() {
            drop(tell.send(Err(why.clone())));
        }
    }
}
