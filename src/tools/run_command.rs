//! `run_command`: one program in the workspace, without a shell.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::workspace::Workspace;
use super::{Toolbox, failure};
use crate::domain::{Json, millis};
use crate::sandbox::{self, Command, Ending, Execution, find_program};

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
    let executed = sandbox::execute(command, stop).await;
    drop(permit);
    match executed {
        Ok(execution) => {
            let cut_off = execution.ending == Ending::Stopped;
            (Json::of(&output(execution, timeout)), cut_off)
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
    let Some(name) = argv.first().filter(|name| !name.is_empty()) else {
        return Err("command must not be empty".to_owned());
    };
    settings.policy.check(&arguments.command, &argv).map_err(|refusal| refusal.to_string())?;
    let workdir = arguments.workdir.as_deref().unwrap_or(".");
    let directory = workspace.directory(workdir).map_err(|error| format!("workdir {error}"))?;
    let here = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let program = find_program(name, &settings.path, &here).ok_or_else(|| format!("program not found: {name}"))?;
    let command = Command {
        program,
        argv,
        directory,
        environment: settings.environment.clone(),
        timeout,
        max_output: settings.max_output,
    };
    Ok((command, timeout))
}

fn output(execution: Execution, timeout: Duration) -> Output {
    let (returncode, message) = match execution.ending {
        Ending::Exited(code) => (code, None),
        // What SIGKILL leaves.
        Ending::TimedOut => (-9, Some(format!("timed out after {} s", timeout.as_secs()))),
        Ending::Stopped => (-9, Some("stopped: the task was cancelled or its time was up".to_owned())),
    };
    Output {
        status: if returncode == 0 { "success" } else { "failure" },
        message,
        returncode,
        truncated: execution.stdout.truncated || execution.stderr.truncated,
        stdout: execution.stdout.text,
        stderr: execution.stderr.text,
        duration_ms: millis(execution.took),
    }
}
