//! `/step` over a WebSocket: questions and answers as frames, answers in the order in which they are ready.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;
use tokio::time::Instant;

use super::over_http::status;
use super::{MAX_STEP, Reception, Refusal, Step};
use crate::brain::connect::{DEAD, PING};
use crate::domain::Json;

/// Steps of one connection that are being answered at a time; no more are read until one of them is.
const AT_A_TIME: usize = 4096;

/// A worker that has said nothing for so long, pings included, is gone; nobody waits for that, so there is time for one whose
/// long question comes over a slow line.
const GONE: Duration = Duration::from_mins(2);

/// The longest frame, so that one that is too long for a step can be answered instead of ending the connection for all.
const LONGEST: usize = MAX_STEP + MAX_STEP / 8;

pub(super) async fn upgrade(State(reception): State<Reception>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.max_message_size(LONGEST).max_frame_size(LONGEST);
    // The upgrade runs on a task of axum's; with this, whoever stops waits for it.
    let open = reception.sockets.token();
    upgrade.on_upgrade(|socket| async move {
        serve(socket, reception).await;
        drop(open);
    })
}

async fn serve(mut socket: WebSocket, reception: Reception) {
    let mut answering = FuturesUnordered::new();
    let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
    let mut heard = Instant::now();
    loop {
        let outgoing = tokio::select! {
            Some(answer) = answering.next() => Message::text(answer),
            message = socket.recv(), if answering.len() < AT_A_TIME => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => {
                        answering.push(answer(text.as_str().to_owned(), reception.clone()).boxed());
                        continue;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => {
                        close(&mut socket, close_code::UNSUPPORTED, "steps are text frames").await;
                        return;
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                }
            }
            _ = pings.tick() => {
                // One that is not read from says nothing either.
                if heard.elapsed() > GONE && answering.len() < AT_A_TIME {
                    return;
                }
                Message::Ping(Vec::new().into())
            }
            () = reception.stop.cancelled() => {
                // What is ready goes out still; the rest is asked for again, elsewhere or after the restart.
                while let Some(Some(answer)) = answering.next().now_or_never() {
                    if !send(&mut socket, Message::text(answer)).await {
                        return;
                    }
                }
                close(&mut socket, close_code::AWAY, "the brain is being stopped").await;
                return;
            }
        };
        if !send(&mut socket, outgoing).await {
            return;
        }
    }
}

/// Whether it went out. A worker that takes nothing for so long is not worth more waiting.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    tokio::time::timeout(DEAD, socket.send(message)).await.is_ok_and(|sent| sent.is_ok())
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    send(socket, Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
}

/// The frame that goes back.
async fn answer(text: String, reception: Reception) -> String {
    let step = match Step::parse(&text) {
        Ok(step) => step,
        Err(refusal) => return Frame::error(None, None, &refusal),
    };
    let (id, iteration) = (step.id.to_string(), step.iteration);
    if text.len() > MAX_STEP {
        return Frame::error(Some(&id), iteration, &Refusal::TooLong);
    }
    match reception.desk.answer(step).await {
        Ok(reply) => Frame { task_id: Some(&id), iteration, reply: Some(&reply), error: None }.text(),
        Err(refusal) => Frame::error(Some(&id), iteration, &refusal),
    }
}

/// The same for a step that can be named and one that cannot.
#[derive(Serialize)]
struct Frame<'a> {
    task_id: Option<&'a str>,
    iteration: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

#[derive(Serialize)]
struct Error {
    status: u16,
    message: String,
}

impl Frame<'_> {
    fn error(task_id: Option<&str>, iteration: Option<u32>, refusal: &Refusal) -> String {
        let error = Error { status: status(refusal).as_u16(), message: refusal.message() };
        Frame { task_id, iteration, reply: None, error: Some(error) }.text()
    }

    fn text(&self) -> String {
        Json::of(self).to_string()
    }
}
