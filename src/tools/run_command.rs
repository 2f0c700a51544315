//! `run_command`: one program in the workspace, without a shell.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::workspace::Workspace;
use super::{Toolbox, failure};
use crate::domain::{Json, millis};
use crate::kill_point::kill_point;
use crate::sandbox::{Command, Execution, Limit, Limits, MOST_PRINTED, Repository};

pub(super) const NAME: &str = "run_command";

pub(super) const DESCRIPTION: &str = "Run one program in the workspace. The command is split into words as a POSIX \
shell splits them, but no shell runs: no pipes, redirections, variables or globs (use sh -c '...' for those). The \
result has the return code (-N: killed by signal N), stdout and stderr; long output keeps its head and tail.";

/// What the brain gives.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// The program and its arguments.
    command: String,
    /// The directory to run in, relative to the workspace; the workspace itself if not given.
    workdir: Option<String>,
    /// Kill the command after so many seconds.
    #[schema(minimum = 1)]
    timeout: Option<u64>,
}

#[derive(Serialize)]
struct Output {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    returncode: i32,
    stdout: String,
    stderr: String,
    truncated: bool,
    duration_ms: u64,
}

/// The result, and whether `stop` broke the command off.
pub(super) async fn run(
    toolbox: &Toolbox,
    workspace: &Workspace,
    arguments: Arguments,
    stop: &CancellationToken,
) -> (Json, bool) {
    let (command, timeout) = match prepare(toolbox, workspace, &arguments) {
        Ok(prepared) => prepared,
        Err(message) => return (failure(&message), false),
    };
    // The time in the queue is not the command's.
    let permit = tokio::select! {
        permit = toolbox.commands.acquire() => permit,
        () = stop.cancelled() => return (failure("stopped before the command was begun: it had no effect"), false),
    };
    kill_point("command-called");
    let executed = toolbox.settings.sandbox.execute(command, stop).await;
    kill_point("command-ran");
    drop(permit);
    match executed {
        Ok(execution) => {
            let cut_off = execution.stopped;
            (Json::of(&output(execution, timeout, &toolbox.settings.limits)), cut_off)
        }
        Err(error) => (failure(&error.to_string()), false),
    }
}

fn prepare(toolbox: &Toolbox, workspace: &Workspace, arguments: &Arguments) -> Result<(Command, Duration), String> {
    let settings = &toolbox.settings;
    let timeout = match arguments.timeout {
        None => settings.timeout,
        Some(seconds) if (1..=settings.timeout_max.as_secs()).contains(&seconds) => Duration::from_secs(seconds),
        Some(_) => return Err(format!("timeout must be 1 to {} seconds", settings.timeout_max.as_secs())),
    };
    if arguments.command.contains('\0') {
        return Err("command must not contain a NUL character".to_owned());
    }
    let Some(argv) = shlex::split(&arguments.command) else {
        return Err("command: a quote or a backslash at its end is not closed".to_owned());
    };
    if argv.first().is_none_or(String::is_empty) {
        return Err("command must not be empty".to_owned());
    }
    settings.policy.check(&arguments.command, &argv).map_err(|refusal| refusal.to_string())?;
    let workdir = arguments.workdir.as_deref().unwrap_or(".");
    let directory = workspace.directory(workdir).map_err(|error| format!("workdir {error}"))?;
    let workspace = workspace.directory(".").map_err(|error| error.to_string())?;
    let command = Command { argv, workspace, directory, timeout, max_output: settings.max_output };
    Ok((command, timeout))
}

fn output(execution: Execution, timeout: Duration, limits: &Limits) -> Output {
    let Execution { returncode, limit, stopped, stdout, stderr, took, repository } = execution;
    let failed = returncode != 0;
    let said = || LIMITS_SAID.iter().find(|(text, _)| stderr.text.contains(text)).map(|(_, limit)| *limit);
    let limit = limit.or_else(|| child(returncode)).or_else(|| said().filter(|_| failed && !stopped));
    let refused = || DENIALS_SAID.iter().any(|text| stderr.text.contains(text) || stdout.text.contains(text));
    let mut messages = Vec::new();
    if let Some(limit) = limit {
        messages.push(over(limit, timeout, limits));
    } else if stopped {
        messages.push("stopped: the task was cancelled or its time was up".to_owned());
    } else if failed && refused() {
        messages.push(DENIED.to_owned());
    }
    match repository {
        Repository::Unchanged => {}
        Repository::PutBack => messages.push(PUT_BACK.to_owned()),
        Repository::Changed => messages.push(CHANGED.to_owned()),
    }
    Output {
        status: if failed { "failure" } else { "success" },
        message: (!messages.is_empty()).then(|| messages.join("; ")),
        limit,
        returncode,
        truncated: stdout.truncated || stderr.truncated,
        stdout: stdout.text,
        stderr: stderr.text,
        duration_ms: millis(took),
    }
}

/// How a shell says that a limit ended what it ran: 128 and the signal's number.
fn child(returncode: i32) -> Option<Limit> {
    match returncode - 128 {
        libc::SIGXCPU => Some(Limit::Cpu),
        libc::SIGXFSZ => Some(Limit::FileSize),
        _ => None,
    }
}

/// How a program says that it was the sandbox which refused it something. No kernel tells who it was.
const DENIALS_SAID: &[&str] = &[
    "Permission denied",
    "Operation not permitted",
    "Read-only file system",
    "Device or resource busy",
    "Network is unreachable",
    "name resolution",
    "Name or service not known",
    "Could not resolve host",
];

const DENIED: &str = "the sandbox may have refused something: a command sees its workspace, $TMPDIR and a read-only \
system, no other files and no network, and cannot write .git/hooks and .git/config; trying again does not help";

const PUT_BACK: &str =
    "changes to .git were undone: hooks, config and what leads git to others would be run outside the sandbox";

const CHANGED: &str = "the command changed what git would run outside the sandbox, and that could not be undone";

/// How a program says that it was stopped by a limit which does not kill it.
const LIMITS_SAID: &[(&str, Limit)] = &[
    ("File too large", Limit::FileSize),
    ("No space left on device", Limit::Disk),
    ("Cannot allocate memory", Limit::Memory),
    ("MemoryError", Limit::Memory),
    ("Resource temporarily unavailable", Limit::Processes),
];

fn over(limit: Limit, timeout: Duration, limits: &Limits) -> String {
    let seconds = timeout.as_secs();
    match limit {
        Limit::Wall => format!("timed out after {seconds} s"),
        Limit::Cpu => format!("over the limit of {} s of processor time (CMD_MAX_CPU)", limits.cpu.as_secs()),
        Limit::Memory => format!("over the limit of {} bytes of memory (CMD_MAX_MEMORY)", limits.memory),
        Limit::Processes => format!("over the limit of {} processes and threads (CMD_MAX_PROCESSES)", limits.processes),
        Limit::FileSize => format!("over the limit of {} bytes for a file (CMD_MAX_FILE_SIZE)", limits.file_size),
        Limit::Disk => format!("over the limit of {} bytes written to disk (CMD_MAX_DISK)", limits.disk),
        Limit::Output => format!("over the limit of {MOST_PRINTED} bytes that a command may print at all"),
    }
}
