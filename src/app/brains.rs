//! Who decides the next step.

use std::sync::Arc;

use super::StartError;
use crate::brain::{
    AskSettings, Brain, GrpcBrain, HttpBrain, OpenAiBrain, OpenAiSettings, ScriptBrain, ScriptSettings, WsBrain,
};
use crate::config::{BrainUrl, Config, ConfigError};
use crate::domain::{Clock, Models, SystemClock};
use crate::tools;

/// Whom the configuration has asked for the next step.
pub fn brain(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn Brain>, StartError> {
    let ask = || -> Result<_, StartError> {
        Ok(AskSettings {
            key: config.bearer()?,
            timeout: config.mcp_timeout,
            retries: config.mcp_retries,
            max_reply_bytes: config.max_reply_bytes,
        })
    };
    Ok(match &config.mcp_server_url {
        BrainUrl::Script => Arc::new(script_brain(config)),
        BrainUrl::OpenAi if config.openai_finetuned_model_id.is_none() => return Err(StartError::NoModel),
        BrainUrl::OpenAi => Arc::new(OpenAiBrain::new(openai(config)?, clock)?),
        BrainUrl::Http(url) => Arc::new(HttpBrain::new(url.clone(), ask()?, clock)?),
        BrainUrl::Grpc(url) => Arc::new(GrpcBrain::new(url.clone(), ask()?)?),
        BrainUrl::WebSocket(url) => Arc::new(WsBrain::new(url.clone(), ask()?, clock)?),
    })
}

/// A brain that needs nobody else to speak for it, and how it is called.
pub struct Inside {
    /// As `MCP_SERVER_URL` has it, without the colon.
    pub name: &'static str,
    /// The brain.
    pub brain: Arc<dyn Brain>,
}

/// The brain that `codex-agent brain` serves: the one inside that `MCP_SERVER_URL` names, or the script brain.
pub fn inside(config: &Config) -> Result<Inside, StartError> {
    Ok(match &config.mcp_server_url {
        BrainUrl::OpenAi => {
            let mut settings = openai(config)?;
            // Whoever asks it tries again, too: the one's tries would be multiplied by the other's.
            settings.retries = settings.retries.min(1);
            Inside { name: "openai", brain: Arc::new(OpenAiBrain::new(settings, Arc::new(SystemClock))?) }
        }
        _ => Inside { name: "script", brain: Arc::new(script_brain(config)) },
    })
}

/// The brain that needs no model, in the service or as a process of its own.
pub fn script_brain(config: &Config) -> ScriptBrain {
    ScriptBrain::new(ScriptSettings { replay_dir: config.replays() })
}

/// What there is to say about asking a model.
pub fn openai(config: &Config) -> Result<OpenAiSettings, ConfigError> {
    Ok(OpenAiSettings {
        base_url: config.openai_base_url.clone(),
        key: config.bearer()?,
        models: models(config),
        critique_rounds: config.critique_rounds,
        temperature: config.openai_temperature,
        seed: config.openai_seed,
        context_tokens: config.openai_context_tokens,
        timeout: config.mcp_timeout,
        retries: config.mcp_retries,
        max_reply_bytes: config.max_reply_bytes,
        tools: tools::schemas(),
    })
}

pub(super) fn models(config: &Config) -> Models {
    Models { finetuned: config.openai_finetuned_model_id.clone(), critique: config.openai_critique_model_id.clone() }
}
