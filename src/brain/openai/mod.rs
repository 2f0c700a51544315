//! The brain that is a model, behind any server with the chat completions API.
//!
//! ```text
//!  step ─► conversation  rebuilt from the task's history: prompt, message, record
//!            │             └─ the model's last answer has another call? that is the reply
//!            └► decide ─► fit ─► client ─► request ─► POST …/chat/completions
//!                 │                └─ answer (arguments, words, tags), problem, all through brain/fields
//!                 └─► review ─► critic ─► proposal: an edit as a diff, every call for itself
//!                            └► verdict
//!  aside: long texts are read on other threads       bounded: how much of an answer is read
//!  toolset: the tools' schemas as servers want them    given_up: what a model does not take    secret: no key in errors
//! ```
//!
//! It keeps no state of a task: whatever it needs again stands in its replies, and those are on record. Any worker can
//! go on with any task. What a server says a model does not take (strict schemas, a seed) is remembered, to save requests.
//!
//! The client is written out and not taken from a crate: the servers that matter here differ from the specification in
//! ways that typed clients refuse (`content` as a list, `arguments` as an object, an error with status 200).
//!
//! Deliberately absent: streaming, images, several answers to choose from.

mod answer;
mod arguments;
mod aside;
mod bounded;
mod client;
mod conversation;
mod critic;
mod decide;
mod fit;
mod given_up;
mod message;
mod problem;
mod prompt;
mod proposal;
mod record;
mod request;
mod review;
mod tags;
#[cfg(test)]
mod tests;
mod toolset;
mod verdict;
mod words;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::HeaderValue;

use self::aside::aside;
use self::client::Client;
use self::conversation::Conversation;
use self::decide::{Spent, Step};
use self::proposal::Files;
use self::toolset::Toolset;
use super::{Brain, BrainError, StepRequest, farewell, resync};
use crate::domain::{Clock, Exchange, Json, Models, Payload};

/// Asks a model.
pub struct OpenAiBrain {
    settings: OpenAiSettings,
    client: Client,
    tools: Arc<Toolset>,
    /// The schema of the critic's answer.
    verdict: Json,
}

/// What is configurable about it. Not to be printed: the URL may bear a password.
#[derive(Clone)]
pub struct OpenAiSettings {
    /// `OPENAI_BASE_URL`; `/chat/completions` is added to its path.
    pub base_url: Url,
    /// `OPENAI_API_KEY` as a bearer token, marked as sensitive.
    pub key: Option<HeaderValue>,
    /// `OPENAI_FINETUNED_MODEL_ID` and `OPENAI_CRITIQUE_MODEL_ID`. What is not set here comes from the worker.
    pub models: Models,
    /// `CRITIQUE_ROUNDS`
    pub critique_rounds: u32,
    /// `OPENAI_TEMPERATURE`
    pub temperature: Option<f64>,
    /// `OPENAI_SEED`
    pub seed: Option<i64>,
    /// `OPENAI_CONTEXT_TOKENS`
    pub context_tokens: Option<u32>,
    /// `MCP_TIMEOUT`: one request, from the connection to the last byte.
    pub timeout: Duration,
    /// `MCP_RETRIES`: tries after the first.
    pub retries: u32,
    /// `MAX_REPLY_BYTES`
    pub max_reply_bytes: usize,
    /// The tools: `[{"name", "description", "parameters"}, …]`.
    pub tools: Json,
}

/// Why a model can never be asked.
#[derive(Debug, thiserror::Error)]
pub enum OpenAiSetupError {
    /// Without roots of trust there is no client.
    #[error("OPENAI_BASE_URL: it cannot be asked: {0}")]
    Client(#[source] reqwest::Error),
}

impl OpenAiBrain {
    /// A brain that asks as `settings` say.
    pub fn new(settings: OpenAiSettings, clock: Arc<dyn Clock>) -> Result<Self, OpenAiSetupError> {
        let client = Client::new(&settings, clock)?;
        let tools = Arc::new(Toolset::new(&settings.tools));
        Ok(Self { settings, client, tools, verdict: critic::schema() })
    }

    async fn ask(&self, request: &StepRequest, known: Known) -> Result<Json, BrainError> {
        let Known { mut conversation, files } = known;
        let told = std::mem::take(&mut conversation.models);
        let model = self.settings.models.finetuned.as_ref().or(told.finetuned.as_ref());
        let Some(model) = model else {
            let message = "OPENAI_FINETUNED_MODEL_ID is not set: it must name the model that is asked, for this process or \
                           for the worker";
            return Err(BrainError::Protocol(message.to_owned()));
        };
        let critic = self.settings.models.critique.as_ref().or(told.critique.as_ref());
        let step = Step {
            brain: self,
            model,
            critic: critic.map(String::as_str),
            conversation,
            task: &request.task,
            iteration: request.iteration,
            files,
            spent: Spent::default(),
        };
        step.decide().await
    }
}

/// What is known before a model is asked.
struct Known {
    conversation: Conversation,
    /// For the critic, where there is one.
    files: Files,
}

/// What comes of the history.
enum Before {
    /// The model has decided on this step with its last answer.
    Decided(Json),
    Open(Box<Known>),
}

fn know(request: &StepRequest, tools: &Toolset, has_critic: bool) -> Before {
    let history = request.history.as_deref().unwrap_or_default();
    let mut conversation = Conversation::rebuild(request, history, tools);
    if let Some(reply) = conversation.next_call() {
        return Before::Decided(reply);
    }
    let has_critic = has_critic || conversation.models.critique.is_some();
    let files = if has_critic { Files::seen(history, &request.payload) } else { Files::default() };
    Before::Open(Box::new(Known { conversation, files }))
}

/// How much text there is to be read.
fn bytes(request: &StepRequest) -> usize {
    let size = |json: &Json| json.as_str().len();
    let exchange = |one: &Exchange| size(&one.agent_input) + one.mcp_reply.as_ref().map_or(0, size);
    let history: usize = request.history.iter().flatten().map(exchange).sum();
    history + size(&request.payload) + size(&request.task)
}

#[async_trait]
impl Brain for OpenAiBrain {
    async fn step(&self, request: &StepRequest) -> Result<Json, BrainError> {
        if Payload::abort_reason(&request.payload).is_some() {
            return Ok(farewell());
        }
        if request.history.is_none() && request.iteration > 1 {
            return Ok(resync());
        }
        let (asked, tools) = (request.clone(), self.tools.clone());
        let has_critic = self.settings.models.critique.is_some();
        let bytes = bytes(request);
        match aside(bytes, move || know(&asked, &tools, has_critic)).await? {
            Before::Decided(reply) => Ok(reply),
            Before::Open(known) => self.ask(request, *known).await,
        }
    }
}
