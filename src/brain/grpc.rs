//! A brain at the other end of gRPC: one HTTP/2 connection, and each step a unary call on it.
//!
//! The channel makes the connection when it is needed, and a new one when the old one has ended; HTTP/2 pings find a
//! dead peer. Some servers take pings amiss (gRPC's own C core counts them and hangs up with `ENHANCE_YOUR_CALM`): for
//! those there is a second channel without, where the kernel's probes have to do.
//!
//! Deliberately absent: load balancing, compression, and tonic's own TLS (connections are made by `connect`, for all
//! transports alike).

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use tonic::body::Body;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, TimeoutExpired};
use tower::ServiceExt;
use tower::util::MapResponse;

use super::address::{Address, traceparent};
use super::connect::{Connector, DEAD, PING, Speaks};
use super::proto::v1;
use super::proto::v1::brain_client::BrainClient;
use super::retry::{self, TryError, retry};
use super::{AskSettings, Brain, BrainError, SetupError, StepRequest};
use crate::domain::Json;

/// What a message has besides its text: a tag and a length.
const ENVELOPE: usize = 64;

/// Asks over gRPC.
pub struct GrpcBrain {
    watchful: Client,
    calm: Client,
    /// Whether the brain has asked for calm.
    is_calm: AtomicBool,
    name: String,
    authorization: Option<MetadataValue<Ascii>>,
    settings: AskSettings,
}

/// A channel on which every answer is gRPC's.
type Client = BrainClient<MapResponse<Channel, fn(Response<Body>) -> Response<Body>>>;

impl GrpcBrain {
    /// A brain at `url`, which has no path. To be called within a runtime.
    pub fn new(url: Url, settings: AskSettings) -> Result<Self, SetupError> {
        let address = Address::new(url, "")?;
        let settings = settings.or(address.password.clone());
        let connector = Arc::new(Connector::new(&address.uri, &Matcher::from_env(), Speaks::Http2)?);
        let client = |endpoint: Endpoint| {
            let connector = Arc::clone(&connector);
            let dial = tower::service_fn(move |_: Uri| connector.dial());
            let channel = endpoint.connect_with_connector_lazy(dial);
            BrainClient::new(channel.map_response(as_grpc as fn(_) -> _))
                .max_decoding_message_size(settings.max_reply_bytes.saturating_add(ENVELOPE))
                .max_encoding_message_size(usize::MAX)
        };
        let endpoint = Endpoint::from(address.uri.clone());
        let pinging = endpoint.clone().http2_keep_alive_interval(PING).keep_alive_timeout(DEAD.saturating_sub(PING));
        let key = settings.key.as_ref().map(authorization);
        Ok(Self {
            watchful: client(pinging.keep_alive_while_idle(true)),
            calm: client(endpoint),
            is_calm: AtomicBool::new(false),
            name: address.name.trim_end_matches('/').to_owned(),
            authorization: key.transpose()?,
            settings,
        })
    }

    async fn attempt(&self, request: &StepRequest) -> Result<Json, TryError> {
        let mut client = if self.is_calm.load(Ordering::Relaxed) { self.calm.clone() } else { self.watchful.clone() };
        let asking = client.step(self.question(request)?);
        let answered = match tokio::time::timeout(self.settings.timeout, asking).await {
            Ok(Ok(answered)) => answered.into_inner().reply,
            Ok(Err(status)) => return Err(self.refused(&status)),
            Err(_) => return Err(retry::timed_out()),
        };
        self.settings.reply(&answered)
    }

    fn question(&self, request: &StepRequest) -> Result<Request<v1::StepRequest>, TryError> {
        let exchange = |past: &crate::domain::Exchange| v1::Exchange {
            agent_input: past.agent_input.to_string(),
            mcp_reply: past.mcp_reply.as_ref().map(ToString::to_string),
        };
        let history = request.history.as_ref();
        let history = history.map(|history| v1::History { exchanges: history.iter().map(exchange).collect() });
        let (id, iteration) = (&request.task_id, request.iteration);
        let mut question = Request::new(v1::StepRequest {
            task_id: id.to_string(),
            iteration,
            payload: request.payload.to_string(),
            history,
        });
        question.set_timeout(self.settings.timeout);
        let metadata = question.metadata_mut();
        let ascii = |text: String| text.parse().map_err(|error| TryError::protocol(format!("no metadata: {error}")));
        metadata.insert("idempotency-key", ascii(format!("{id}/{iteration}"))?);
        metadata.insert("traceparent", ascii(traceparent(id, iteration))?);
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        Ok(question)
    }

    /// Instead of a reply there was a status: the brain's own, or tonic's for a connection that failed.
    fn refused(&self, status: &Status) -> TryError {
        let cause = status.source();
        if asks_for_calm(status) && !self.is_calm.swap(true, Ordering::Relaxed) {
            tracing::info!(brain = self.name, "the brain takes pings amiss; it gets none any more");
        }
        if cause.and_then(retry::cause::<TimeoutExpired>).is_some() {
            return retry::timed_out();
        }
        // Refused here, by its length; the brain's own limit for questions is told with the same code, and other words.
        let limit = format!("the limit is: {} bytes", self.settings.max_reply_bytes.saturating_add(ENVELOPE));
        if status.code() == Code::OutOfRange && status.message().ends_with(&limit) {
            return self.settings.too_long(status.message());
        }
        match cause.map(retry::by_error) {
            // What a peer said as it hung up is among the causes.
            Some(TryError::Again { message, .. }) => {
                TryError::again(self.settings.excerpt(&format!("{}: {message}", status.message())))
            }
            Some(error) => error,
            None => {
                let said = self.settings.excerpt(status.message());
                let message = format!("{} answered {:?}: {said}", self.name, status.code());
                // What gRPC's C core says of a question that is too long. It is as long the next time.
                let too_long = status.message().contains("larger than max");
                let code = if too_long { Code::OutOfRange } else { status.code() };
                retry::by_code(code, message, pushback(status.metadata()))
            }
        }
    }
}

#[async_trait]
impl Brain for GrpcBrain {
    async fn step(&self, request: &StepRequest) -> Result<Json, BrainError> {
        retry(self.settings.retries, &self.name, || self.attempt(request)).await
    }
}

/// What is no gRPC, such as the 401 of a guard or the 502 of a proxy, as the status that gRPC has for it ("HTTP to gRPC
/// Status Code Mapping"). Its body would be read as a message.
fn as_grpc(answer: Response<Body>) -> Response<Body> {
    let code = match answer.status() {
        StatusCode::OK => return answer,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        StatusCode::BAD_REQUEST => Code::Internal,
        _ => Code::Unknown,
    };
    Status::new(code, format!("HTTP {}", answer.status())).into_http()
}

/// As metadata, which shows it as little as a header does.
fn authorization(key: &HeaderValue) -> Result<MetadataValue<Ascii>, SetupError> {
    let mut value = MetadataValue::try_from(key.as_bytes()).map_err(|_| SetupError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The pause that a server asks for (gRPC's retry design, "pushback"): milliseconds.
fn pushback(metadata: &MetadataMap) -> Option<Duration> {
    let millis = metadata.get("grpc-retry-pushback-ms")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(millis))
}

/// Whether the brain hung up because of pings: with HTTP/2's `ENHANCE_YOUR_CALM`, or with the words that gRPC's C core
/// ends its calls with before that.
fn asks_for_calm(status: &Status) -> bool {
    let reason = retry::cause::<h2::Error>(status).and_then(h2::Error::reason);
    let words = status.message().to_ascii_lowercase().replace('_', " ");
    reason == Some(h2::Reason::ENHANCE_YOUR_CALM) || words.contains("too many pings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brain_that_counts_pings_is_recognised() {
        for words in ["Too many pings", "too_many_pings"] {
            assert!(asks_for_calm(&Status::unavailable(words)), "{words}");
        }
        assert!(asks_for_calm(&Status::from_error(Box::new(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM)))));
        assert!(!asks_for_calm(&Status::from_error(Box::new(h2::Error::from(h2::Reason::NO_ERROR)))));
        assert!(!asks_for_calm(&Status::unavailable("restarting")));
    }

    #[test]
    fn a_pushback_is_a_number_of_milliseconds() {
        let of = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-retry-pushback-ms", text.parse().unwrap());
            pushback(&metadata)
        };
        assert_eq!(of("1500"), Some(Duration::from_millis(1500)));
        // gRPC's way to say: not again. There is nobody to decide otherwise, so the usual pause it is.
        assert_eq!(of("-1"), None);
    }
}
