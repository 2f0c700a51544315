//! `codex-agent policy check`: what the rules say of a command, and why.

use super::{Exit, print_line};
use crate::app;
use crate::config::Config;
use crate::tools::policy::{Decision, Judged};

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Say whether a command may run, which commands are in it, and which rule decides; exit code 1 if it is refused
    Check {
        /// The command, as a brain would give it to `run_command`; without one, only the rules and their examples are
        /// checked
        command: Option<String>,
    },
}

pub(super) fn check(config: &Config, command: Option<&str>) -> anyhow::Result<Exit> {
    let policy = app::policy(config)?;
    let Some(command) = command else {
        for (name, rules, examples) in policy.summary() {
            print_line(&format!("{name}: {rules} rules and {examples} examples, all as they should be"))?;
        }
        return Ok(Exit::Done);
    };
    let Some(explanation) = policy.explain(command) else {
        eprintln!("codex-agent: a quote or a backslash at the end of the command is not closed");
        return Ok(Exit::Usage);
    };
    let verdict = explanation.refusal.as_ref().map_or_else(|| "allowed".to_owned(), ToString::to_string);
    print_line(&verdict)?;
    for judged in &explanation.commands {
        print_line(&line(judged))?;
    }
    Ok(if explanation.refusal.is_some() { Exit::Error } else { Exit::Done })
}

/// What is said of one of the commands inside.
fn line(judged: &Judged) -> String {
    let quoted = shlex::try_join(judged.words.iter().map(String::as_str));
    let words: String = quoted.unwrap_or_default().chars().flat_map(shown).collect();
    let decision = match judged.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny ",
    };
    format!("  {decision}  {words}  [{}]", judged.rule.as_deref().unwrap_or("no rule"))
}

/// A character that would move the cursor is shown as its escape.
fn shown(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}
