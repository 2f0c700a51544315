//! The command line: arguments, printing, exit codes.
//!
//! ```text
//!  serve        the service                      brain        a brain inside at /step
//!  run          one task in the foreground       demo         all of it, on a small project
//!  openapi      the description of the API       healthcheck  for a container
//!  doctor       what confines commands, whether the brain answers
//!  policy       what the rules say of a command  export       records as training data
//! ```
//!
//! Without a verb a task is read from standard input or `--task_file`, as the program this one grew out of did.
//! Data goes to standard output, everything else to standard error. Exit codes: see [`Exit`].
//!
//! Deliberately absent: rules of the service.
#![expect(clippy::print_stderr, reason = "this room is the one that prints")]

mod brain;
mod demo;
mod doctor;
mod export;
mod healthcheck;
mod logging;
mod policy;
mod progress;
mod run;
mod serve;
mod signals;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::app::StartError;
use crate::config::{Config, ConfigError};

/// Accepts agent jobs, runs them with three tools, and records every step.
#[derive(Parser)]
#[command(name = "codex-agent", version, disable_help_subcommand = true, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    task: run::Options,
    #[command(flatten)]
    config: Config,
}

const EXIT_CODES: &str = "\
Without a command, a task is read from standard input or --task_file and run in the foreground:
  echo '{\"instruction\":\"…\"}' | codex-agent

Exit codes: 0 done · 1 error · 2 usage · 3 cancelled · 5 the task ended without success · 130 interrupted";

#[derive(Subcommand)]
enum Verb {
    /// Serve the HTTP API and run what is posted
    Serve,
    /// Run one task in the foreground
    Run(run::Options),
    /// Serve the brain inside that `MCP_SERVER_URL` names, openai: or script: (the default), at /step: over HTTP, WebSocket
    /// and gRPC on one port, for services elsewhere
    Brain,
    /// Show all of it on a small project with a failing test: no key, no server, no root
    Demo,
    /// Tell what confines commands on this machine, whether the brain answers, and what to do about what is missing
    Doctor(doctor::Options),
    /// What the rules say of commands
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Turn the records of ended tasks into training data
    ///
    /// Rows go to standard output; with --to, a directory has them, an index, and what was left out and why. It reads the database
    /// of a service, which may be running, and changes nothing in it. Secrets are taken out, as far as they can be told.
    Export(Box<export::Options>),
    /// Print the OpenAPI description
    Openapi,
    /// Ask the service at LISTEN whether it is alive
    Healthcheck,
}

/// What the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It could not.
    Error = 1,
    /// It was asked wrongly.
    Usage = 2,
    /// The task was cancelled.
    Cancelled = 3,
    /// The task ended without success.
    Unsuccessful = 5,
    /// A signal ended it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    if let Err(message) = Config::load_dotenv() {
        eprintln!("codex-agent: {message}");
        return Exit::Usage.into();
    }
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error).into(),
    };
    match cli.config.checked().map_err(anyhow::Error::from).and_then(|config| dispatch(cli.verb, cli.task, config)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                // Whoever read the output has gone; nobody is left to be told.
                return Exit::Error.into();
            }
            eprintln!("codex-agent: {}", one_line(&error));
            let start = error.downcast_ref::<StartError>();
            let value = |error: &StartError| {
                matches!(
                    error,
                    StartError::Config(_)
                        | StartError::Policy(_)
                        | StartError::NoModel
                        | StartError::CodeDir(_)
                        | StartError::Sandbox(crate::sandbox::StartError::View(_))
                        | StartError::OutputDir { .. }
                        | StartError::ExportDir(_)
                )
            };
            let usage = error.is::<ConfigError>()
                || error.is::<crate::export::BadOption>()
                || error.is::<logging::BadFilter>()
                || start.is_some_and(value);
            if usage { Exit::Usage.into() } else { Exit::Error.into() }
        }
    }
}

fn dispatch(verb: Option<Verb>, task: run::Options, config: Config) -> anyhow::Result<Exit> {
    if verb.is_some() && task.are_given() {
        eprintln!("codex-agent: --task_file, --output and --quiet belong behind `run`, or stand without a command");
        return Ok(Exit::Usage);
    }
    let verb = verb.unwrap_or(Verb::Run(task));
    if let Verb::Openapi = verb {
        print_line(&crate::http::openapi().to_pretty_json()?)?;
        return Ok(Exit::Done);
    }
    if let Verb::Policy(policy::Verb::Check { command }) = &verb {
        return policy::check(&config, command.as_deref());
    }
    if let Verb::Run(options) = &verb
        && options.reads_stdin()
        && std::io::stdin().is_terminal()
    {
        eprintln!("{}\ncodex-agent: no task: standard input is a terminal", Cli::command().render_help());
        return Ok(Exit::Usage);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exports = matches!(verb, Verb::Export(_));
    let ended = runtime.block_on(async {
        match verb {
            Verb::Serve => serve::serve(config).await,
            Verb::Run(options) => run::run(config, options).await,
            Verb::Brain => brain::brain(config).await,
            Verb::Demo => demo::demo().await,
            Verb::Doctor(options) => doctor::doctor(config, options).await,
            Verb::Export(options) => export::export(config, *options).await,
            Verb::Healthcheck => healthcheck::healthcheck(&config).await,
            Verb::Openapi | Verb::Policy(_) => Ok(Exit::Done),
        }
    });
    if exports {
        // Interrupted, it may have left a thread that waits for whoever reads its rows.
        runtime.shutdown_background();
    }
    ended
}

/// Reads the arguments and the environment; a variable that is set to nothing is not set.
fn parse() -> Result<Cli, clap::Error> {
    let command = Cli::command().mut_args(|argument| match argument.get_env() {
        Some(name) if Config::is_blank(name) => argument.env(None::<&'static str>),
        _ => argument,
    });
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// Prints what clap has to say; a wrong value in one line that names the variable.
fn refuse(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // Help and version were asked for. A reader that has gone away is no reason to fail.
        drop(error.print());
        return Exit::Done;
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let is_value = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    if let (true, Some(flag)) = (is_value, text(ContextKind::InvalidArg)) {
        let value = text(ContextKind::InvalidValue).unwrap_or_default();
        let possible = match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(words)) if words.is_empty() => "needs a value".to_owned(),
            Some(ContextValue::Strings(words)) => format!("must be one of {}", words.join(", ")),
            _ => "is not a possible value".to_owned(),
        };
        let why = std::error::Error::source(error).map_or(possible, ToString::to_string);
        let (variable, secret) = variable_of(&flag);
        let shown = if secret { String::new() } else { format!("{value:?} ") };
        eprintln!("codex-agent: {variable} ({}): {shown}{why}", flag.split(' ').next().unwrap_or(&flag));
    } else {
        drop(error.print());
    }
    Exit::Usage
}

/// The variable behind a flag as clap shows it (`--max-running <N>`), and whether its value may bear a secret.
fn variable_of(flag: &str) -> (String, bool) {
    let name = flag.trim_start_matches("--").split([' ', '=', '[']).next().unwrap_or_default();
    let command = Cli::command();
    let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name));
    let variable = argument.and_then(clap::Arg::get_env).map(|variable| variable.to_string_lossy().into_owned());
    (variable.unwrap_or_else(|| flag.to_owned()), argument.is_some_and(clap::Arg::is_hide_env_values_set))
}

/// An error with its causes, each once.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause);
        }
    }
    crate::domain::one_line(&line).into_owned()
}

/// Prints a line of data. A reader that has gone away is an error, not a panic.
fn print_line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// A file of the user's, or standard input.
fn read_input(file: Option<&PathBuf>) -> anyhow::Result<String> {
    match file.filter(|path| path.as_os_str() != "-") {
        Some(path) => std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display())),
        None => std::io::read_to_string(std::io::stdin()).map_err(|error| anyhow::anyhow!("standard input: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_flag_leads_to_its_variable() {
        assert_eq!(variable_of("--max-running <N>"), ("MAX_RUNNING".to_owned(), false));
        assert_eq!(variable_of("--database-url <URL>"), ("DATABASE_URL".to_owned(), true));
        assert_eq!(variable_of("--allow-anonymous [<true|false>]"), ("ALLOW_ANONYMOUS".to_owned(), false));
    }
}
