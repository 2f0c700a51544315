//! `/step` over a WebSocket: questions and answers as frames, answers in the order in which they are ready.

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

pub(super) async fn upgrade(State(reception): State<Reception>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.max_message_size(MAX_STEP).max_frame_size(MAX_STEP);
    upgrade.on_upgrade(|socket| serve(socket, reception))
}

async fn serve(mut socket: WebSocket, reception: Reception) {
    let mut answering = FuturesUnordered::new();
    let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
    let mut heard = Instant::now();
    loop {
        let sent = tokio::select! {
            answer = answering.next(), if !answering.is_empty() => match answer {
                Some(answer) => socket.send(Message::text(answer)).await,
                None => Ok(()),
            },
            message = socket.recv(), if answering.len() < AT_A_TIME => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => answering.push(answer(text.as_str().to_owned(), reception.clone()).boxed()),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Binary(_))) => {
                        let frame = CloseFrame { code: close_code::UNSUPPORTED, reason: "steps are text frames".into() };
                        drop(socket.send(Message::Close(Some(frame))).await);
                        return;
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                }
                Ok(())
            }
            _ = pings.tick() => {
                // One that is not read from says nothing either.
                if heard.elapsed() > DEAD && answering.len() < AT_A_TIME {
                    return;
                }
                socket.send(Message::Ping(Vec::new().into())).await
            }
            () = reception.stop.cancelled() => {
                let frame = CloseFrame { code: close_code::AWAY, reason: "the brain is being stopped".into() };
                drop(socket.send(Message::Close(Some(frame))).await);
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The frame that goes back.
async fn answer(text: String, reception: Reception) -> String {
    let step = match Step::parse(&text) {
        Ok(step) => step,
        Err(refusal) => return Frame::error(None, None, &refusal),
    };
    let (id, iteration) = (step.id.to_string(), step.iteration);
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
