//! A brain at the other end of `POST {url}/step`.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::retry::{TryError, retry, retry_after};
use super::{Brain, BrainError, StepRequest, excerpt};
use crate::domain::{Clock, Exchange, Json, TaskId, Timestamp, hex};

/// Asks over HTTP; connections are kept and shared by all tasks.
pub struct HttpBrain {
    client: Client,
    url: Url,
    /// The URL as it may be shown: without a password.
    name: String,
    settings: HttpSettings,
    clock: Arc<dyn Clock>,
}

/// What is configurable about it.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// `OPENAI_API_KEY`, marked as sensitive.
    pub key: Option<HeaderValue>,
    /// `MCP_TIMEOUT`: one try, from the connection to the last byte.
    pub timeout: Duration,
    /// `MCP_RETRIES`: tries after the first.
    pub retries: u32,
    /// `MAX_REPLY_BYTES`
    pub max_reply_bytes: usize,
}

/// A body exactly as the protocol has it.
#[derive(Serialize)]
struct Body<'a> {
    task_id: &'a TaskId,
    payload: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<&'a [Exchange]>,
}

impl HttpBrain {
    /// A brain at `url`; `/step` is added to its path.
    pub fn new(mut url: Url, settings: HttpSettings, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let path = format!("{}/step", url.path().trim_end_matches('/'));
        url.set_path(&path);
        super::install_tls();
        // A redirect would turn the POST into a GET, and could carry the key elsewhere.
        let mut client = Client::builder().redirect(redirect::Policy::none()).timeout(settings.timeout);
        // A proxy cannot lead to a brain on this machine.
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        let client = client.build()?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let name = format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
        Ok(Self { client, url, name, settings, clock })
    }

    async fn attempt(&self, request: &StepRequest, body: &str) -> Result<Json, TryError> {
        let key = format!("{}/{}", request.task_id, request.iteration);
        let mut post = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("traceparent", traceparent(&request.task_id, request.iteration))
            .header("idempotency-key", key)
            .body(body.to_owned());
        if let Some(key) = &self.settings.key {
            post = post.header(AUTHORIZATION, key.clone());
        }
        let response = post.send().await.map_err(again)?;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = self.text(response).await?;
        if status.is_success() {
            return Json::parse(&text).map_err(|error| {
                let message = format!("the brain's reply is {error}: {}", excerpt(&text));
                TryError::Final(BrainError::Protocol(message))
            });
        }
        let message = format!("{} answered {status}: {}", self.name, excerpt(&text));
        if is_temporary(status) {
            let now = std::time::UNIX_EPOCH + self.clock.now().since(Timestamp::from_millis(0));
            Err(TryError::Again { message, after: after.and_then(|value| retry_after(&value, now)) })
        } else {
            Err(TryError::Final(BrainError::Protocol(message)))
        }
    }

    /// The body, read no further than the limit.
    async fn text(&self, mut response: Response) -> Result<String, TryError> {
        let (mut bytes, limit) = (Vec::new(), self.settings.max_reply_bytes);
        while let Some(chunk) = response.chunk().await.map_err(again)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > limit {
                let start = excerpt(&String::from_utf8_lossy(&bytes[..limit.min(1024)]));
                let message = format!("the brain's reply is over {limit} bytes: {start}");
                return Err(TryError::Final(BrainError::Protocol(message)));
            }
        }
        String::from_utf8(bytes).map_err(|error| {
            let message =
                format!("the brain's reply is not UTF-8: {}", excerpt(&String::from_utf8_lossy(error.as_bytes())));
            TryError::Final(BrainError::Protocol(message))
        })
    }
}

#[async_trait]
impl Brain for HttpBrain {
    async fn step(&self, request: &StepRequest) -> Result<Json, BrainError> {
        let history = request.history.as_deref();
        let body = Json::of(&Body { task_id: &request.task_id, payload: &request.payload, history });
        retry(self.settings.retries, &self.name, || self.attempt(request, body.as_str())).await
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// By the contract: 408, 425, 429 and 5xx may pass.
fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error()
}

/// No connection, a timeout, a connection cut: all of them may pass. The cause is told, the URL is not, it may
/// bear a password.
fn again(error: reqwest::Error) -> TryError {
    let error = error.without_url();
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    TryError::Again { message, after: None }
}

/// W3C trace context made from the names alone, so that a step sent again belongs to the same trace.
fn traceparent(task_id: &TaskId, iteration: u32) -> String {
    let trace = Sha256::digest(task_id.as_str());
    let span = Sha256::digest(format!("{task_id}/{iteration}"));
    format!("00-{}-{}-01", hex(&trace[..16]), hex(&span[..8]))
}
