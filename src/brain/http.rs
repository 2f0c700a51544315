//! A brain at the other end of `POST {url}/step`.
//!
//! ```text
//!  attempt ── question ──► pool: a connection that is open, or a new one
//!                           │
//!                           └► exchange: the question goes out, the answer comes in
//! ```
//!
//! Deliberately absent: redirects (a POST would become a GET, and the key could go elsewhere), HTTP/2, several questions on
//! one connection, and compression.

mod exchange;
mod pool;
mod question;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use self::exchange::{Answer, Line};
use self::pool::Pool;
use self::question::Form;
use super::address::Address;
use super::connect::{Connector, Speaks};
use super::retry::{self, TryError, retry, retry_after};
use super::{AskSettings, Brain, BrainError, SetupError, StepRequest};
use crate::domain::{Clock, Json};

/// Asks over HTTP; connections are kept and shared by all tasks.
pub struct HttpBrain {
    connector: Connector,
    pool: Pool,
    form: Form,
    /// The URL as it may be shown: without a password.
    name: String,
    settings: AskSettings,
    clock: Arc<dyn Clock>,
}

impl HttpBrain {
    /// A brain at `url`; `/step` is added to its path.
    pub fn new(url: Url, settings: AskSettings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        Self::behind(&Matcher::from_env(), url, settings, clock)
    }

    fn behind(proxies: &Matcher, url: Url, settings: AskSettings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let address = Address::new(url, "/step")?;
        let settings = settings.or(address.password.clone());
        let connector = Connector::new(&address.uri, proxies, Speaks::Http1)?;
        let proxy = connector.proxy_authorization.as_ref();
        let keys = [("authorization", settings.key.as_ref()), ("proxy-authorization", proxy)];
        let whole = address.uri.to_string();
        let target = if connector.forwarded { &whole } else { address.path() };
        let form = Form::new(target, &address.host, &keys);
        let name = address.name;
        Ok(Self { connector, pool: Pool::default(), form, name, settings, clock })
    }

    async fn attempt(&self, request: &StepRequest) -> Result<Json, TryError> {
        let asking = self.ask(self.form.fill(request));
        let answer = match tokio::time::timeout(self.settings.timeout, asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(retry::timed_out()),
        };
        let (status, text) = (answer.status, self.text(answer.body)?);
        if status.is_success() {
            return self.settings.reply(&text);
        }
        let message = format!("{} answered {status}: {}", self.name, self.settings.said(&text));
        Err(retry::by_status(status, message, retry_after(answer.retry_after.as_ref(), &*self.clock)))
    }

    /// The body as text, if it is no longer than the limit.
    fn text(&self, body: Vec<u8>) -> Result<String, TryError> {
        if body.len() > self.settings.max_reply_bytes {
            let start = &body[..self.settings.max_reply_bytes.min(1024)];
            return Err(self.settings.too_long(&String::from_utf8_lossy(start)));
        }
        String::from_utf8(body).map_err(|error| {
            let start = self.settings.excerpt(&String::from_utf8_lossy(error.as_bytes()));
            TryError::protocol(format!("the brain's reply is not UTF-8: {start}"))
        })
    }

    /// One exchange, on a connection that is kept if possible. No connection, a connection cut: all of it may pass. The
    /// cause is told; the URL is not, it may bear a password.
    async fn ask(&self, mut question: Vec<u8>) -> Result<Answer, TryError> {
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
                    None => return Err(retry::by_error(&error)),
                },
            }
        };
        // Boxed, for as long as it takes: the wait is what a task holds its memory through.
        let answering = Box::pin(line.answer(self.settings.max_reply_bytes));
        let mut answer = answering.await.map_err(TryError::again)?;
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
