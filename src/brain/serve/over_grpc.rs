//! `codexagent.v1.Brain/Step`, with gRPC's health and reflection services beside it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::{Desk, MAX_STEP, Refusal, Step};
use crate::brain::BrainError;
use crate::brain::proto::v1::brain_server::{Brain, BrainServer};
use crate::brain::proto::v1::{StepReply, StepRequest};
use crate::brain::proto::{DESCRIPTOR, v1};
use crate::domain::{Exchange, Json};

/// The three services.
pub(super) fn router(desk: Arc<Desk>) -> Router {
    let brain =
        BrainServer::new(OverGrpc { desk }).max_decoding_message_size(MAX_STEP).max_encoding_message_size(usize::MAX);
    // Alive as long as the process is: a brain keeps no state that could be lost. Nobody else holds the reporter's lock.
    let (reporter, health) = tonic_health::server::health_reporter();
    let _: Option<()> = reporter.set_serving::<BrainServer<OverGrpc>>().now_or_never();
    let mut routes = Routes::builder();
    routes.add_service(brain).add_service(health);
    // Clients ask for the one version of reflection or the other. It is refused only for a descriptor that is none.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    if let (Ok(one), Ok(alpha)) = (reflection().build_v1(), reflection().build_v1alpha()) {
        routes.add_service(one).add_service(alpha);
    }
    routes.routes().into_axum_router().reset_fallback()
}

struct OverGrpc {
    desk: Arc<Desk>,
}

#[async_trait::async_trait]
impl Brain for OverGrpc {
    async fn step(&self, request: Request<StepRequest>) -> Result<Response<StepReply>, Status> {
        let limit = deadline(request.metadata()).unwrap_or(Duration::MAX);
        let step = Step::received(request.into_inner()).map_err(|refusal| status(&refusal))?;
        match tokio::time::timeout(limit, self.desk.answer(step)).await {
            Ok(Ok(reply)) => Ok(Response::new(StepReply { reply: reply.to_string() })),
            Ok(Err(refusal)) => Err(status(&refusal)),
            // The brain goes on, and whoever asks again gets what it says.
            Err(_) => Err(Status::deadline_exceeded("the brain is still thinking; ask again with the same key")),
        }
    }
}

impl Step {
    fn received(message: StepRequest) -> Result<Self, Refusal> {
        let json =
            |field: &str, text: &str| Json::parse(text).map_err(|error| Refusal::Bad(format!("{field} is {error}")));
        let past = |past: &v1::Exchange| {
            let mcp_reply = past.mcp_reply.as_ref().map(|reply| json("mcp_reply", reply)).transpose()?;
            Ok(Exchange { agent_input: json("agent_input", &past.agent_input)?, mcp_reply })
        };
        let history = message.history.map(|history| history.exchanges.iter().map(past).collect());
        Ok(Self {
            id: message.task_id.parse().map_err(|error| Refusal::Bad(format!("task_id {error}")))?,
            // What is not set is 0.
            iteration: Some(message.iteration).filter(|iteration| *iteration > 0),
            payload: json("payload", &message.payload)?,
            history: history.transpose()?,
        })
    }
}

/// Codes that are tried again only where that may help.
fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Bad(_) | Refusal::TooLong => Status::invalid_argument(refusal.message()),
        Refusal::Brain(BrainError::Unreachable(message)) => Status::unavailable(message),
        Refusal::Brain(error) => Status::failed_precondition(error.to_string()),
    }
}

/// How long the caller waits: up to eight digits and a unit, by gRPC's protocol over HTTP/2.
fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brain::{BrainError, StepRequest as Asked};

    /// Thinks for ever.
    struct Never;

    #[async_trait::async_trait]
    impl crate::brain::Brain for Never {
        async fn step(&self, _: &Asked) -> Result<Json, BrainError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_with_a_deadline_is_told_when_it_has_passed() {
        let service = OverGrpc { desk: Arc::new(Desk::new(Arc::new(Never))) };
        let payload = r#"{"event":"start","task":{"instruction":"x"}}"#.to_owned();
        let mut request = Request::new(StepRequest { task_id: "t".into(), iteration: 1, payload, history: None });
        request.metadata_mut().insert("grpc-timeout", "3S".parse().unwrap());
        let started = tokio::time::Instant::now();
        let refused = service.step(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(started.elapsed(), Duration::from_secs(3));
    }

    #[test]
    fn a_deadline_has_digits_and_a_unit() {
        let of = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            deadline(&metadata)
        };
        assert_eq!(of("2H"), Some(Duration::from_hours(2)));
        assert_eq!(of("120000m"), Some(Duration::from_mins(2)));
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for odd in ["", "S", "5", "-1S", "123456789S", "5x"] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }
}
