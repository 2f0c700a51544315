//! One open connection, and the steps that wait on it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::task::TaskTracker;

use super::heard::{Heard, Hearing};
use crate::brain::AskSettings;
use crate::brain::connect::{DEAD, PING, Stream};
use crate::brain::frame::{self, Answer, Key};
use crate::brain::retry::{self, TryError, causes};
use crate::domain::Json;

/// A socket after its handshake.
pub(super) type Socket = WebSocketStream<Hearing<TokioIo<Stream>>>;

/// Questions that wait for the socket to take them: some, so that a burst need not go through the scheduler one by one.
const QUEUE: usize = 64;

/// Steps that were given up and are remembered, so that their late answers belong to nobody else.
const GIVEN_UP: usize = 10_000;

/// Where steps wait.
pub(super) struct Link {
    questions: mpsc::Sender<String>,
    waiting: Arc<Waiting>,
}

/// The steps that have been asked, and what a connection ended with.
struct Waiting {
    name: String,
    settings: AskSettings,
    steps: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    asked: HashMap<Key, Place>,
    /// Steps that were given up before they had an answer, by what they said. It may still come.
    given_up: HashMap<Key, u64>,
    /// When the last answer came.
    answered: Option<Instant>,
    over: Option<TryError>,
}

/// Where an answer goes.
struct Place {
    tell: oneshot::Sender<Result<Json, TryError>>,
    /// What was asked.
    question: u64,
}

/// The longest frame that is taken. Of one that is longer nobody can tell whose it is, so it ends the connection for all: it
/// has to be far from what a task's own limit refuses.
pub(super) fn longest_frame(max_reply_bytes: usize) -> usize {
    max_reply_bytes.saturating_mul(2).saturating_add(64 * 1024)
}

impl Link {
    /// Takes a socket over.
    pub(super) fn open(
        socket: Socket,
        heard: Heard,
        name: String,
        settings: AskSettings,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        let (questions, asked) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Waiting { name, settings, steps: Mutex::default() });
        // It ends with the connection, or when nobody can ask any more: nobody waits for it.
        tracker.spawn(tend(socket, heard, asked, Arc::clone(&waiting)));
        Arc::new(Self { questions, waiting })
    }

    /// Whether an answer has come since, to anybody.
    pub(super) fn has_answered_since(&self, time: Instant) -> bool {
        self.waiting.lock().answered.is_some_and(|answered| answered >= time)
    }

    pub(super) fn is_open(&self) -> bool {
        self.waiting.lock().over.is_none()
    }

    /// Whether an answer to this question could not be mistaken: a task that was deleted, and posted anew with other words,
    /// has the same keys, and the answer to the old one may still be on its way.
    pub(super) fn is_free_for(&self, key: &Key, question: &str) -> bool {
        self.waiting.lock().given_up.get(key).is_none_or(|before| *before == hash(question))
    }

    /// One step: its question goes out, and whichever frame bears its key comes back.
    pub(super) async fn ask(&self, key: Key, question: String) -> Result<Json, TryError> {
        let (tell, told) = oneshot::channel();
        {
            let mut steps = self.waiting.lock();
            if let Some(over) = &steps.over {
                return Err(over.clone());
            }
            steps.given_up.remove(&key);
            steps.asked.insert(key.clone(), Place { tell, question: hash(&question) });
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
        let mut steps = self.waiting.lock();
        if let Some(place) = steps.asked.remove(&self.key) {
            if steps.given_up.len() >= GIVEN_UP {
                // A brain that leaves so much unanswered has forgotten it.
                steps.given_up.clear();
            }
            steps.given_up.insert(self.key.clone(), place.question);
        }
    }
}

fn gone() -> TryError {
    TryError::again("the connection was closed")
}

/// Serves the socket until it ends, and tells all who wait on it why.
async fn tend(socket: Socket, heard: Heard, questions: mpsc::Receiver<String>, waiting: Arc<Waiting>) {
    let (sink, stream) = socket.split();
    // Side by side: a socket that takes no more questions may still have answers.
    let over = tokio::select! {
        over = read(stream, &waiting) => over,
        over = write(sink, questions) => over,
        over = watch(&heard) => over,
    };
    waiting.end(&over);
}

async fn read(mut stream: SplitStream<Socket>, waiting: &Waiting) -> TryError {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => waiting.answer(&text),
            Some(Ok(Message::Binary(bytes))) => waiting.answer(&String::from_utf8_lossy(&bytes)),
            // Pings are answered by the socket itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(frame))) => {
                let said = |frame: CloseFrame| format!(": {} {}", frame.code, waiting.settings.excerpt(&frame.reason));
                let why = frame.map(said).unwrap_or_default();
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
async fn watch(heard: &Heard) -> TryError {
    loop {
        let dead = heard.last() + DEAD;
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
        let none = |why: String| {
            let start = self.settings.excerpt(text);
            TryError::protocol(format!("the brain sent a frame that is no answer ({why}): {start}"))
        };
        let (key, answer) = match frame::answer(text) {
            (Some(key), answer) => (key, answer.map_err(none)),
            (None, Err(why)) => return self.to_the_only_one(&none(why)),
            (None, Ok(_)) => return,
        };
        let place = {
            let mut steps = self.lock();
            steps.answered = Some(Instant::now());
            steps.given_up.remove(&key);
            steps.asked.remove(&key)
        };
        // An answer nobody waits for came too late: the step was given up, or has had one.
        let Some(Place { tell, .. }) = place else { return };
        drop(tell.send(answer.and_then(|answer| self.outcome(answer))));
    }

    fn outcome(&self, answer: Answer<'_>) -> Result<Json, TryError> {
        match answer {
            Answer::Reply(text) => self.settings.reply(text),
            Answer::Error { status, message, retry_after } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let message = format!("{} answered {status}: {}", self.name, self.settings.excerpt(&message));
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
        for (_, place) in steps.asked.drain() {
            drop(place.tell.send(Err(error.clone())));
        }
    }

    /// No more answers come.
    fn end(&self, why: &TryError) {
        let mut steps = self.lock();
        steps.over = Some(why.clone());
        for (_, place) in steps.asked.drain() {
            drop(place.tell.send(Err(why.clone())));
        }
    }
}

fn hash(question: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    question.hash(&mut hasher);
    hasher.finish()
}
