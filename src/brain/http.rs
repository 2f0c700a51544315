//! A brain at the other end of `POST {url}/step`.
//!
//! ```text
//!  attempt ── question ──► pool: a connection that is open, or connect: a new one (TLS, proxies)
//!                           │
//!                           └► exchange: the question goes out, the answer comes in
//! ```
//!
//! Deliberately absent: redirects (a POST would become a GET, and the key could go elsewhere), HTTP/2, several questions on
//! one connection, and compression.

mod connect;
mod exchange;
mod pool;
mod question;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use self::connect::Connector;
use self::exchange::{Answer, Line};
use self::pool::Pool;
use self::question::{Form, host, password};
use super::retry::{TryError, retry, retry_after};
use super::{Brain, BrainError, StepRequest, excerpt};
use crate::domain::{Clock, Json, Timestamp};

/// Asks over HTTP; connections are kept and shared by all tasks.
pub struct HttpBrain {
    connector: Connector,
    pool: Pool,
    form: Form,
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

/// Why a brain can never be asked.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A URL, but not one that HTTP takes.
    #[error("cannot be asked over HTTP: {0}")]
    Url(#[source] hyper::http::uri::InvalidUri),
    /// Without roots of trust there is no https.
    #[error("no TLS: {0}")]
    Tls(#[source] rustls::Error),
}

impl HttpBrain {
    /// A brain at `url`; `/step` is added to its path.
    pub fn new(url: Url, settings: HttpSettings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        Self::behind(&Matcher::from_env(), url, settings, clock)
    }

    fn behind(
        proxies: &Matcher,
        mut url: Url,
        settings: HttpSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let path = format!("{}/step", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let name = format!("{}://{}{}", url.scheme(), host(&url), url.path());
        let password = password(&url);
        // They fail only for URLs without a host, which have neither.
        let (_, _) = (url.set_username(""), url.set_password(None));
        let uri: Uri = url.as_str().parse().map_err(SetupError::Url)?;
        let connector = Connector::new(&uri, proxies)?;
        let proxy = connector.proxy_authorization.as_ref();
        let keys = [
            ("authorization", password.as_ref()),
            ("authorization", settings.key.as_ref()),
            ("proxy-authorization", proxy),
        ];
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let target = if connector.forwarded { uri.to_string() } else { path.to_owned() };
        let form = Form::new(&target, &host(&url), &keys);
        Ok(Self { connector, pool: Pool::default(), form, name, settings, clock })
    }

    async fn attempt(&self, request: &StepRequest) -> Result<Json, TryError> {
        let asking = self.ask(self.form.fill(request));
        let answer = match tokio::time::timeout(self.settings.timeout, asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(message)) => return Err(TryError::Again { message, after: None }),
            Err(_) => return Err(TryError::Again { message: "operation timed out".to_owned(), after: None }),
        };
        let (status, text) = (answer.status, text(answer.body, self.settings.max_reply_bytes)?);
        if status.is_success() {
            return Json::parse(&text).map_err(|error| {
                let message = format!("the brain's reply is {error}: {}", excerpt(&text));
                TryError::Final(BrainError::Protocol(message))
            });
        }
        let message = format!("{} answered {status}: {}", self.name, excerpt(&text));
        if is_temporary(status) {
            let now = std::time::UNIX_EPOCH + self.clock.now().since(Timestamp::from_millis(0));
            let after = answer.retry_after.as_ref().and_then(|value| value.to_str().ok());
            Err(TryError::Again { message, after: after.and_then(|value| retry_after(value, now)) })
        } else {
            Err(TryError::Final(BrainError::Protocol(message)))
        }
    }

    /// One exchange, on a connection that is kept if possible. No connection, a connection cut: all of it may pass. The
    /// cause is told; the URL is not, it may bear a password.
    async fn ask(&self, mut question: Vec<u8>) -> Result<Answer, String> {
        let line = loop {
            let kept = self.pool.take();
            let reused = kept.is_some();
            let stream = match kept {
                Some(stream) => stream,
                None => self.connector.connect().await?,
            };
            let mut line = Line::new(stream, question);
            match line.wait().await {
                Ok(()) => break line,
                // The brain has closed it meanwhile. It knows nothing of this question.
                Err(error) => match line.unsent().filter(|_| reused) {
                    Some(unsent) => question = unsent,
                    None => return Err(causes(&error)),
                },
            }
        };
        // Boxed, for as long as it takes: the wait is what a task holds its memory through.
        let mut answer = Box::pin(line.answer(self.settings.max_reply_bytes)).await?;
        if let Some(stream) = answer.stream.take() {
            self.pool.put(stream);
        }
        Ok(answer)
    }
}

#[async_trait]
impl Brain for HttpBrain {
    async fn step(&self, request: &StepRequest) -> Result<Json, BrainError> {
        retry(self.settings.retries, &self.name, || self.attempt(request)).await
    }
}

/// The body as text, if it is no longer than the limit.
fn text(body: Vec<u8>, limit: usize) -> Result<String, TryError> {
    let message = if body.len() > limit {
        let start = excerpt(&String::from_utf8_lossy(&body[..limit.min(1024)]));
        format!("the brain's reply is over {limit} bytes: {start}")
    } else {
        match String::from_utf8(body) {
            Ok(text) => return Ok(text),
            Err(error) => {
                format!("the brain's reply is not UTF-8: {}", excerpt(&String::from_utf8_lossy(error.as_bytes())))
            }
        }
    };
    Err(TryError::Final(BrainError::Protocol(message)))
}

/// By the contract: 408, 425, 429 and 5xx may pass.
fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error()
}

/// An error with its causes, as one line.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}
