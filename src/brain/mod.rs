//! Whatever decides the next step, and how to ask it.
//!
//! ```text
//!  run ── StepRequest ─► trait Brain ─┬─ http    POST {url}/step, tried again by the rules in retry
//!                                     ├─ openai  a model behind an OpenAI-compatible server
//!                                     └─ script  the task's own steps, inside this process
//!
//!  codex-agent brain --listen ─► serve: the script brain at /step, for workers elsewhere
//! ```
//!
//! A brain is asked with everything it may need, so that it can be stateless; and with the iteration's number,
//! so that asking twice is the same as asking once.
//!
//! Deliberately absent: what a reply means. That is [`Reply`](crate::domain::Reply)'s and the run loop's.

mod http;
mod openai;
mod retry;
mod script;
pub mod serve;

use async_trait::async_trait;

pub use http::{HttpBrain, HttpSettings, SetupError};
pub use openai::{OpenAiBrain, OpenAiSettings, OpenAiSetupError};
pub use script::ScriptBrain;

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

/// Why there is no reply; trying again has been tried, where it could help.
#[derive(Debug, thiserror::Error)]
pub enum BrainError {
    /// It gave no answer.
    #[error("{0}")]
    Unreachable(String),
    /// It gave an answer that is none by the protocol.
    #[error("{0}")]
    Protocol(String),
}

impl BrainError {
    /// What a task fails with because of it.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable(_) => ErrorCode::BrainUnreachable,
            Self::Protocol(_) => ErrorCode::BrainProtocol,
        }
    }
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
