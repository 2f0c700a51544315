//! The tools without a service around them.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codex_agent::domain::{Intent, ToolCall};
use codex_agent::sandbox::{Limits, Requirement, Sandbox};
use codex_agent::tools::{Intentions, Policy, Settings, ToolResult, Toolbox};
use tokio_util::sync::CancellationToken;

use super::walls;

pub async fn toolbox(home: &Path) -> Toolbox {
    let settings = Settings {
        timeout: Duration::from_secs(20),
        timeout_max: Duration::from_secs(20),
        max_output: 20_000,
        max_commands: 1,
        sandbox: Arc::new(Sandbox::new(walls::settings(Requirement::Off, home)).await.unwrap()),
        limits: Limits::default(),
        policy: Arc::new(Policy::load(None, true).unwrap()),
    };
    Toolbox::new(home.to_owned(), settings)
}

pub async fn call(toolbox: &Toolbox, call: &ToolCall) -> ToolResult {
    let Ok(done) = toolbox.call(None, call, None, &Nowhere, &CancellationToken::new()).await;
    done
}

/// The calls are measured alone, without a record.
struct Nowhere;

impl Intentions for Nowhere {
    type Error = Infallible;

    async fn record(&self, _: Intent) -> Result<(), Infallible> {
        Ok(())
    }
}
