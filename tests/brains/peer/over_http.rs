//! `POST /step`, and what stands for it at a model's server: `POST /v1/chat/completions`.

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::serving::Line;
use super::{Question, Reply};
use crate::way::Way;

pub fn router(way: Way, line: Line) -> Router {
    let router = match way {
        Way::OpenAi => Router::new().route("/v1/chat/completions", post(complete)),
        _ => Router::new().route("/step", post(step)),
    };
    router.layer(DefaultBodyLimit::disable()).with_state(line)
}

async fn step(State(line): State<Line>, headers: HeaderMap, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let key = text("idempotency-key").unwrap();
    let question = Question {
        task_id: body["task_id"].as_str().unwrap().to_owned(),
        iteration: key.rsplit('/').next().unwrap().parse().unwrap(),
        payload: body["payload"].clone(),
        history: body.get("history").map(|history| history.as_array().unwrap().clone()),
        authorization: text("authorization"),
        key: Some(key),
        connection: line.connection,
    };
    respond(&line, question, Value::to_string, str::to_owned).await
}

/// The task stands in the first message of the user, and the iteration is how often the model has spoken.
async fn complete(State(line): State<Line>, headers: HeaderMap, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let messages = body["messages"].as_array().unwrap();
    let role = |role: &'static str| messages.iter().filter(move |message| message["role"] == role);
    let instruction = role("user").next().unwrap()["content"].as_str().unwrap();
    let name = instruction.split_whitespace().find_map(|word| word.strip_prefix("name=")).unwrap_or("unnamed");
    let spoken = role("assistant").count();
    let last = messages.last().unwrap();
    let payload = match last["role"].as_str().unwrap() {
        "tool" => {
            json!({"event": "tool_result", "result": serde_json::from_str::<Value>(last["content"].as_str().unwrap()).unwrap()})
        }
        _ => json!({"event": "start", "task": {"instruction": instruction}}),
    };
    let question = Question {
        task_id: name.to_owned(),
        iteration: u32::try_from(spoken).unwrap() + 1,
        payload,
        history: None,
        authorization: headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()),
        key: None,
        connection: line.connection,
    };
    respond(&line, question, |reply| completion(reply).to_string(), raw_completion).await
}

/// The protocol's reply as a model gives it.
fn completion(reply: &Value) -> Value {
    let message = if reply["event"] == "tool_call" {
        let function = json!({"name": reply["name"], "arguments": reply["arguments"].to_string()});
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]})
    } else {
        json!({"role": "assistant", "content": reply["summary"]})
    };
    json!({"id": "c", "object": "chat.completion", "created": 0, "model": "stand-in",
           "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
}

/// The same of a tool call whose arguments are not to be changed.
fn raw_completion(text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Call<'a> {
        name: String,
        #[serde(borrow)]
        arguments: &'a serde_json::value::RawValue,
    }
    let call: Call<'_> = serde_json::from_str(text).unwrap();
    let mut completion = completion(&json!({"event": "tool_call", "name": call.name, "arguments": {}}));
    completion["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = json!(call.arguments.get());
    completion.to_string()
}

async fn respond(
    line: &Line,
    question: Question,
    json: impl Fn(&Value) -> String,
    raw: impl Fn(&str) -> String,
) -> Response {
    let answer = |status: u16| Response::builder().status(status).header("content-type", "application/json");
    match line.mind.answer(question).await {
        Reply::Json(reply) => answer(200).body(Body::from(json(&reply))).unwrap(),
        Reply::Raw(text) => answer(200).body(Body::from(raw(&text))).unwrap(),
        Reply::Text(text) => answer(200).body(Body::from(text)).unwrap(),
        Reply::Status(status, pause) => {
            let answer = pause.iter().fold(answer(status), |answer, pause| answer.header("retry-after", *pause));
            answer.body(Body::from("because")).unwrap()
        }
        Reply::Never => std::future::pending().await,
        Reply::HangUp => {
            line.cut.cancel();
            std::future::pending().await
        }
    }
}
