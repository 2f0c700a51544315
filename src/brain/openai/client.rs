//! `POST {OPENAI_BASE_URL}/chat/completions`, and what to do when the server does not like the question.
//!
//! ```text
//!  ask ── body ──► retry: post ──► 200  the answer
//!   ▲                     ├──────► 408, 425, 429, 5xx, no connection: again later (retry.rs)
//!   └─ without a field ◄──┴──────► 4xx  is it about an optional field? else the error
//! ```
//!
//! Deliberately absent: redirects (the key could go elsewhere) and streaming (a step has one reply).

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url, redirect};

use super::answer::{self, Answer, NoAnswer};
use super::aside::aside;
use super::given_up::GivenUp;
use super::problem::{Problem, WHERE, brief};
use super::request::{Draft, Features};
use super::{OpenAiSettings, OpenAiSetupError};
use crate::brain::connect::is_loopback;
use crate::brain::retry::{self, TryError, retry, retry_after};
use crate::brain::{BrainError, excerpt, secret};
use crate::domain::Clock;

/// A connection that has been silent for so long is asked whether the other side still lives: a model may think for minutes.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How long a connection may take to come about, of the time that a try has.
const CONNECT: Duration = Duration::from_secs(20);

/// Asks a server for answers.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    key: Option<HeaderValue>,
    /// The URL as it may be shown: without a password.
    name: String,
    timeout: Duration,
    retries: u32,
    max_reply_bytes: usize,
    clock: Arc<dyn Clock>,
    given_up: GivenUp,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// The conversation is too long for the model; in the server's words.
    TooLong(String),
    /// Anything else.
    Brain(BrainError),
}

impl Client {
    pub(super) fn new(settings: &OpenAiSettings, clock: Arc<dyn Clock>) -> Result<Self, OpenAiSetupError> {
        crate::brain::install_tls();
        let mut url = settings.base_url.clone();
        let path = url.path().trim_end_matches('/').to_owned();
        if !path.ends_with("/chat/completions") {
            url.set_path(&format!("{path}/chat/completions"));
        }
        let mut shown = url.clone();
        // They fail only for URLs without a host, which have neither.
        let (_, _) = (shown.set_username(""), shown.set_password(None));
        if settings.key.is_some() {
            // A password would become a second authorization.
            url = shown.clone();
        }
        shown.set_query(None);
        let mut builder = reqwest::Client::builder()
            // Some hosts turn away whoever does not say who he is.
            .user_agent(concat!("codex-agent/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT.min(settings.timeout))
            .tcp_keepalive(KEEPALIVE);
        if url.as_str().parse().is_ok_and(|uri| is_loopback(&uri)) {
            // A proxy cannot lead to a server on this machine.
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build().map_err(|error| OpenAiSetupError::Client(error.without_url()))?,
            url,
            key: settings.key.clone(),
            name: shown.to_string(),
            timeout: settings.timeout,
            retries: settings.retries,
            max_reply_bytes: settings.max_reply_bytes,
            clock,
            given_up: GivenUp::default(),
        })
    }

    /// The answer to `draft`. A field that the server says it does not take is left out from then on; what is left out
    /// without its having been named stands in `dropped`, for further questions of the same step.
    pub(super) async fn ask(&self, draft: &Draft, dropped: &mut Features) -> Result<Answer, AskError> {
        let mut named = self.given_up.of(&draft.model);
        loop {
            let without = named.and(*dropped);
            let written = draft.clone();
            let body =
                aside(draft.bytes(), move || written.body(without).to_string()).await.map_err(AskError::Brain)?;
            let asked = retry(self.retries, &self.name, || self.attempt(body.clone(), draft, without)).await;
            let problem = match asked.map_err(AskError::Brain)? {
                Ok(answer) => {
                    self.given_up.remember(&draft.model, named);
                    return Ok(answer);
                }
                Err(problem) => problem,
            };
            if problem.is_context() {
                return Err(AskError::TooLong(problem.message));
            }
            let is_complaint = matches!(problem.status, 200 | 400 | 404 | 422 | 500 | 501);
            let (blamed, rest) = (draft.named(&problem, without), draft.left(without));
            match blamed {
                _ if !is_complaint => return Err(AskError::Brain(self.refused(&problem))),
                Some(blamed) => named = named.and(blamed),
                None if rest != Features::default() => *dropped = dropped.and(rest),
                None => return Err(AskError::Brain(self.refused(&problem))),
            }
            let fields = blamed.unwrap_or(rest).names();
            tracing::info!(message = %problem.message, without = fields, "the model is asked again");
        }
    }

    async fn attempt(
        &self,
        body: String,
        draft: &Draft,
        without: Features,
    ) -> Result<Result<Answer, Problem>, TryError> {
        let asking = async {
            let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
            if let Some(key) = &self.key {
                request = request.header(AUTHORIZATION, key.clone());
            }
            let cut = |error: reqwest::Error| retry::by_error(&error.without_url());
            let mut response = request.send().await.map_err(cut)?;
            let body = self.body(&mut response).await?;
            Ok((response.status(), response.headers().clone(), body))
        };
        let answered = tokio::time::timeout(self.timeout, asking).await;
        let (status, headers, body) = answered.unwrap_or_else(|_| Err(retry::timed_out()))?;
        let problem = match read_aside(status, body, self.key.clone()).await? {
            Read::Answer(answer) => return Ok(Ok(answer)),
            Read::Problem(problem) => problem,
            Read::Unreadable { why, start } => {
                let message = format!("{} answered {status} with a body that {why}: {start}{WHERE}", self.name);
                return Err(TryError::protocol(message));
            }
        };
        // Some complain of a field they do not know with a 500 (llama-cpp-python): no waiting helps against that.
        let is_complaint = matches!(problem.status, 500 | 501) && draft.named(&problem, without).is_some();
        if problem.is_passing() && !is_complaint {
            let message = format!("answered {}: {}", problem.status, problem.message);
            return Err(TryError::Again { message, after: self.after(&headers) });
        }
        Ok(Err(problem))
    }

    /// The body, read no further than the limit.
    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, TryError> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) => return Err(retry::by_error(&error.without_url())),
            }
            if body.len() > self.max_reply_bytes {
                let message = format!("{}: the answer is over {} bytes", self.name, self.max_reply_bytes);
                return Err(TryError::protocol(message));
            }
        }
    }

    /// When the server wants to be asked again: in milliseconds, where it says so exactly.
    fn after(&self, headers: &HeaderMap) -> Option<Duration> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let exact = header("retry-after-ms").and_then(|text| text.trim().parse::<f64>().ok());
        let exact = exact.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok());
        exact.or_else(|| retry_after(headers.get(RETRY_AFTER), &*self.clock))
    }

    fn refused(&self, problem: &Problem) -> BrainError {
        let Problem { status, message, .. } = problem;
        let message = format!("{} answered {status}: {message}{}", self.name, problem.advice());
        BrainError::Status { status: *status, message }
    }
}

/// What a body says.
#[derive(Debug)]
enum Read {
    Answer(Answer),
    /// In words that may be passed on.
    Problem(Problem),
    Unreadable {
        why: &'static str,
        start: String,
    },
}

/// Reads a body, a long one beside the threads that serve everything else.
async fn read_aside(status: StatusCode, body: Vec<u8>, key: Option<HeaderValue>) -> Result<Read, TryError> {
    let read = aside(body.len(), move || read(status, &body, key.as_ref())).await;
    read.map_err(|error| TryError::protocol(error.to_string()))
}

/// Reads a body, after the key has been taken out of it.
fn read(status: StatusCode, body: &[u8], key: Option<&HeaderValue>) -> Read {
    let text = String::from_utf8_lossy(body);
    let text = secret::hidden(&text, key);
    let problem = if status.is_success() {
        match answer::read(&text) {
            Ok(answer) => {
                // It ends in a message for people, unlike the other words of an answer.
                let refusal = answer.refusal.map(|words| secret::untold(&words, key).into_owned());
                return Read::Answer(Answer { refusal, ..answer });
            }
            Err(NoAnswer::Refused(problem)) => problem,
            Err(NoAnswer::Unreadable(why)) => {
                return Read::Unreadable { why, start: excerpt(&secret::untold(&text, key)) };
            }
        }
    } else {
        Problem::read(status.as_u16(), &text)
    };
    Read::Problem(Problem { message: brief(&secret::untold(&problem.message, key)), ..problem })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn a_long_answer_is_read_on_another_thread() {
        let body = |length| format!(r#"{{"choices":[{{"message":{{"content":"{}"}}}}]}}"#, "x".repeat(length));
        for (length, is_aside) in [(100, false), (1_000_000, true)] {
            let mut reading = pin!(read_aside(StatusCode::OK, body(length).into_bytes(), None));
            let read = match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(read) => (read, false),
                Poll::Pending => (reading.await, true),
            };
            let (Ok(Read::Answer(answer)), waited) = read else { panic!("{read:?}") };
            assert_eq!((answer.content.len(), waited), (length, is_aside));
        }
    }
}
