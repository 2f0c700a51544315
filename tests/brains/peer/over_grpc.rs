//! The service of the proto file, as tonic makes one of it.

use axum::Router;
use codex_agent::brain::proto::v1::brain_server::{Brain, BrainServer};
use codex_agent::brain::proto::v1::{StepReply, StepRequest};
use serde_json::{Value, json};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use super::serving::Line;
use super::{Question, Reply};

pub fn router(line: Line) -> Router {
    Routes::new(BrainServer::new(Service(line)).max_decoding_message_size(usize::MAX)).into_axum_router()
}

struct Service(Line);

#[tonic::async_trait]
impl Brain for Service {
    async fn step(&self, request: Request<StepRequest>) -> Result<Response<StepReply>, Status> {
        let text = |name: &str| request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (authorization, key) = (text("authorization"), text("idempotency-key"));
        assert!(text("grpc-timeout").is_some() && text("traceparent").is_some());
        let step = request.into_inner();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let question = Question {
            task_id: step.task_id,
            iteration: step.iteration,
            payload: json(&step.payload),
            history: step.history.map(|history| {
                let past = history.exchanges.iter();
                past.map(|past| {
                    let reply = past.mcp_reply.as_deref().map(json);
                    json!({"agent_input": json(&past.agent_input), "mcp_reply": reply})
                })
                .collect()
            }),
            authorization,
            key,
            connection: self.0.connection,
        };
        let reply = |reply: String| Ok(Response::new(StepReply { reply }));
        match self.0.mind.answer(question).await {
            Reply::Json(json) => reply(json.to_string()),
            Reply::Raw(text) | Reply::Text(text) => reply(text),
            Reply::Status(status, pause) => {
                let code = match status {
                    401 => Code::Unauthenticated,
                    429 => Code::ResourceExhausted,
                    503 => Code::Unavailable,
                    other => panic!("no code for {other}"),
                };
                let mut status = Status::new(code, "because");
                if let Some(pause) = pause {
                    let millis = (pause * 1000).to_string().parse().unwrap();
                    status.metadata_mut().insert("grpc-retry-pushback-ms", millis);
                }
                Err(status)
            }
            Reply::Never => std::future::pending().await,
            Reply::HangUp => {
                self.0.cut.cancel();
                std::future::pending().await
            }
        }
    }
}
