//! `codex-agent doctor`: what confines commands on this machine, and what is missing.

use super::{Exit, print_line};
use crate::app;
use crate::config::Config;
use crate::sandbox::{Mode, Requirement};

/// Tries the walls as `serve` would, and tells what came of it; the exit code is 1 where `serve` would not start.
pub(super) async fn doctor(mut config: Config) -> anyhow::Result<Exit> {
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
    Ok(if fit { Exit::Done } else { Exit::Error })
}
