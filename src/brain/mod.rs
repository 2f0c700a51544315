//! Whatever decides the next step, and how to ask it.
//!
//! ```text
//!  run ── StepRequest ─► trait Brain ─┬─ http    POST {url}/step, tried again by the rules in retry
//!                                     ├─ ws      the same over one WebSocket for all tasks
//!                                     ├─ grpc    the same over one HTTP/2 connection
//!                                     ├─ openai  a model behind an OpenAI-compatible server
//!                                     └─ script  the task's own steps, a record or directives, inside this process
//!
//!  fields: JSON objects member by member, for openai and script
//!
//!  codex-agent doctor ─► checkup: a conversation about a made-up task, and what it shows
//!  codex-agent brain --listen ─► serve: a brain inside at /step, for workers elsewhere
//! ```
//!
//! A brain is asked with everything it may need, so that it can be stateless; and with the iteration's number,
//! so that asking twice is the same as asking once.
//!
//! Deliberately absent: what a reply means. That is [`Reply`](crate::domain::Reply)'s and the run loop's.

mod address;
pub mod checkup;
mod connect;
mod fields;
mod frame;
mod grpc;
mod http;
mod openai;
pub mod proto;
mod reply;
mod retry;
mod script;
mod secret;
pub mod serve;
mod ws;

use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderValue;

pub use grpc::GrpcBrain;
pub use http::HttpBrain;
pub use openai::{OpenAiBrain, OpenAiSettings, OpenAiSetupError};
pub use script::{Followed, ScriptBrain, ScriptSettings, followed};
pub use ws::WsBrain;

use crate::domain::{ErrorCode, Exchange, Json, TaskId};

/// Something that can be asked for the next step.
#[async_trait]
pub trait Brain: Send + Sync {
    /// The reply, a JSON value of any shape.
    async fn step(&self, request: &StepRequest) -> Result<Json, BrainError>;
}

/// One question.
#[derive(Clone, Debug)]
pub struct StepRequest {
    /// Whose.
    pub task_id: TaskId,
    /// The number the iteration will have on record.
    pub iteration: u32,
    /// What has happened.
    pub payload: Json,
    /// The task as posted.
    pub task: Json,
    /// All iterations before this one, for a brain that has lost the task.
    pub history: Option<Vec<Exchange>>,
}

impl StepRequest {
    /// The history as a further member of a JSON object, if there is one.
    fn history_member(&self) -> String {
        let history = self.history.as_ref().map(|history| format!(r#","history":{}"#, Json::of(history)));
        history.unwrap_or_default()
    }
}

/// Why there is no reply; trying again has been tried, where it could help.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrainError {
    /// It gave no answer.
    #[error("{0}")]
    Unreachable(String),
    /// It gave an answer that is none by the protocol.
    #[error("{0}")]
    Protocol(String),
    /// It gave a status in place of a reply, one that does not pass by itself.
    #[error("{message}")]
    Status {
        /// As in HTTP; other transports have their own words for the same.
        status: u16,
        /// With the beginning of what came with it.
        message: String,
    },
}

impl BrainError {
    /// What a task fails with because of it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable(_) => ErrorCode::BrainUnreachable,
            Self::Protocol(_) | Self::Status { .. } => ErrorCode::BrainProtocol,
        }
    }
}

/// What is configurable about asking a brain elsewhere.
#[derive(Clone, Debug)]
pub struct AskSettings {
    /// `OPENAI_API_KEY`, marked as sensitive.
    pub key: Option<HeaderValue>,
    /// `MCP_TIMEOUT`: one try, from the connection to the last byte.
    pub timeout: Duration,
    /// `MCP_RETRIES`: tries after the first.
    pub retries: u32,
    /// `MAX_REPLY_BYTES`
    pub max_reply_bytes: usize,
}

impl AskSettings {
    /// With what stands before the host in the URL as the key, if there is none: two would be none.
    fn or(self, password: Option<HeaderValue>) -> Self {
        Self { key: self.key.or(password), ..self }
    }
}

/// Why a brain can never be asked.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A URL, but not one that can be called.
    #[error("is no address of a brain: {0}")]
    Url(#[source] hyper::http::uri::InvalidUri),
    /// A key that cannot be sent.
    #[error("the key has a character that cannot stand in a header")]
    Key,
    /// Without roots of trust there is no https.
    #[error("no TLS: {0}")]
    Tls(#[source] rustls::Error),
}

/// The answer to an `agent_abort`; nobody acts on it.
fn farewell() -> Json {
    Json::of(&serde_json::json!({"event": "finish", "summary": "aborted"}))
}

/// The answer of a brain that needs the task's history.
fn resync() -> Json {
    Json::of(&serde_json::json!({"event": "resync"}))
}

/// Chooses the cryptography for TLS; rustls and reqwest are built without one. To be called before a client is made.
pub(crate) fn install_tls() {
    // It fails only where it has been done before.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The beginning of an answer, for an error message: its first 200 characters, by the contract.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(200).collect()
}
