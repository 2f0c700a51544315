//! Frames on a WebSocket, written here from the description alone.

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::serving::Line;
use super::{Question, Reply};

pub fn router(line: Line) -> Router {
    Router::new().route("/step", get(upgrade)).with_state(line)
}

async fn upgrade(State(line): State<Line>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if authorization.as_deref().is_some_and(|value| value.contains("wrong")) {
        return (StatusCode::UNAUTHORIZED, "because").into_response();
    }
    let upgrade = upgrade.max_message_size(usize::MAX).max_frame_size(usize::MAX);
    upgrade.on_upgrade(|socket| {
        let cut = line.cut.clone();
        async move {
            tokio::select! {
                () = serve(socket, line, authorization) => {}
                () = cut.cancelled() => {}
            }
        }
    })
}

async fn serve(socket: WebSocket, line: Line, authorization: Option<String>) {
    let (mut sink, mut stream) = socket.split();
    let (say, mut said) = mpsc::unbounded_channel::<String>();
    tokio::spawn(async move {
        while let Some(text) = said.recv().await {
            drop(sink.send(Message::text(text)).await);
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(text.as_str()).unwrap();
        let question = Question {
            task_id: frame["task_id"].as_str().unwrap().to_owned(),
            iteration: u32::try_from(frame["iteration"].as_u64().unwrap()).unwrap(),
            payload: frame["payload"].clone(),
            history: frame.get("history").map(|history| history.as_array().unwrap().clone()),
            authorization: authorization.clone(),
            key: Some(format!("{}/{}", frame["task_id"].as_str().unwrap(), frame["iteration"])),
            connection: line.connection,
        };
        let (line, say, key) =
            (line.clone(), say.clone(), json!({"task_id": frame["task_id"], "iteration": frame["iteration"]}));
        tokio::spawn(async move {
            let mut answer = key;
            match line.mind.answer(question).await {
                Reply::Json(reply) => answer["reply"] = reply,
                Reply::Raw(text) => {
                    let (id, iteration) = (&answer["task_id"], &answer["iteration"]);
                    let frame = format!(r#"{{"task_id":{id},"iteration":{iteration},"reply":{text}}}"#);
                    return drop(say.send(frame));
                }
                Reply::Text(text) => return drop(say.send(text)),
                Reply::Status(status, pause) => {
                    answer["error"] = json!({"status": status, "message": "because", "retry_after": pause});
                }
                Reply::Never => return,
                Reply::HangUp => return line.cut.cancel(),
            }
            drop(say.send(answer.to_string()));
        });
    }
}
