//! `codex-agent doctor`: whether commands are confined on this machine, and whether the brain answers; and what to do
//! about what is found.

use std::sync::Arc;
use std::time::Duration;

use super::{Exit, print_line};
use crate::app;
use crate::brain::checkup::{Checkup, Finding, Level, Peer, address};
use crate::config::{BrainUrl, Config};
use crate::domain::{SystemClock, TaskId, one_line};
use crate::sandbox::{Mode, Requirement};

/// The longest that a step of the check may take: somebody is waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// For a model, which may have to be loaded first.
const MODEL_PATIENCE: Duration = Duration::from_mins(1);

/// What is looked at.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Look at the brain alone
    #[arg(long, conflicts_with = "sandbox_only")]
    brain_only: bool,
    /// Look at the sandbox alone
    #[arg(long)]
    sandbox_only: bool,
}

/// Tries the walls and the brain as `serve` would, and tells what came of it; the exit code is 1 where `serve` would not
/// start, or no task would get far.
pub(super) async fn doctor(config: Config, options: Options) -> anyhow::Result<Exit> {
    let mut fit = options.brain_only || settings(&config)?;
    if !options.brain_only {
        fit &= sandbox(config.clone()).await?;
    }
    if !options.sandbox_only {
        fit &= brain(config).await?;
    }
    Ok(if fit { Exit::Done } else { Exit::Error })
}

/// What else stops the start; only what is wrong is told.
fn settings(config: &Config) -> anyhow::Result<bool> {
    let code_dir = match std::fs::read_dir(&config.code_dir) {
        Ok(_) => None,
        Err(error) => Some(format!("CODE_DIR: {}: {error}", config.code_dir.display())),
    };
    let policy = app::policy(config).err().map(|error| error.to_string());
    let tokens = config.tokens().err().map(|error| error.to_string());
    let wrong: Vec<String> = [code_dir, policy, tokens].into_iter().flatten().collect();
    for wrong in &wrong {
        print_line(&format!("settings\n  FAIL     {}: `serve` does not start with that", one_line(wrong)))?;
    }
    Ok(wrong.is_empty())
}

async fn sandbox(mut config: Config) -> anyhow::Result<bool> {
    let required = config.sandbox == Requirement::Required;
    if required {
        // What there is can be told even where it is not enough.
        config.sandbox = Requirement::BestEffort;
    }
    let sandbox = app::sandbox(&config).await?;
    let status = sandbox.status();
    let fit = !required || matches!(status.mode, Mode::Namespaces | Mode::Landlock);
    print_line(&format!("sandbox  {}{}", status.mode, if fit { "" } else { ": not enough for SANDBOX=required" }))?;
    for layer in &status.layers {
        print_line(&format!("  ok       {layer}"))?;
    }
    for missing in &status.missing {
        print_line(&format!("  missing  {missing}"))?;
    }
    for weakness in &status.weaknesses {
        print_line(&format!("  note     {weakness}"))?;
    }
    Ok(fit)
}

async fn brain(mut config: Config) -> anyhow::Result<bool> {
    let (peer, url) = match config.mcp_server_url.clone() {
        BrainUrl::Script => {
            print_line("brain    script:")?;
            return print(&[Finding::Inside]);
        }
        BrainUrl::OpenAi => {
            print_line(&format!("brain    openai: at {}", address(&config.openai_base_url)))?;
            let (main, critique) = (&config.openai_finetuned_model_id, &config.openai_critique_model_id);
            print(&[
                Finding::Key { set: config.openai_api_key.is_some() },
                Finding::Models { main: main.clone(), critique: critique.clone() },
            ])?;
            (Peer::Model, config.openai_base_url.clone())
        }
        BrainUrl::Http(url) | BrainUrl::WebSocket(url) | BrainUrl::Grpc(url) => {
            print_line(&format!("brain    {}", address(&url)))?;
            (Peer::Brain, url)
        }
    };
    let patience = config.mcp_timeout.min(if peer == Peer::Brain { PATIENCE } else { MODEL_PATIENCE });
    (config.mcp_timeout, config.mcp_retries) = (patience, 0);
    let brain = match app::brain(&config, Arc::new(SystemClock)) {
        Ok(brain) => brain,
        Err(error) => {
            print_line(&format!("  FAIL     {error}"))?;
            return Ok(false);
        }
    };
    let checkup = Checkup {
        brain: &*brain,
        peer,
        url: &url,
        has_key: config.openai_api_key.is_some(),
        patience,
        task: made_up_id()?,
        unknown: made_up_id()?,
    };
    if peer == Peer::Brain {
        return print(&checkup.converse().await);
    }
    print_line("  note     one small step is asked of the model, which costs a few tokens")?;
    print(&checkup.ask_once().await)
}

/// Whether none of them is a failure.
fn print(findings: &[Finding]) -> anyhow::Result<bool> {
    for finding in findings {
        let level = match finding.level() {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Fail => "FAIL",
        };
        // Most of them quote the brain.
        print_line(&format!("  {level:<7}  {}", one_line(&finding.to_string())))?;
    }
    Ok(findings.iter().all(|finding| finding.level() != Level::Fail))
}

/// A name that no task has, and that tells in the brain's log whose it is.
fn made_up_id() -> anyhow::Result<TaskId> {
    Ok(format!("doctor-{}", app::new_task_id()).parse()?)
}
