//! One command from its start to its certain end.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::capture::{Capture, Captured};

/// How long the pipes are drained after the group has been killed. What the command had printed is in them already;
/// only somebody who left the group can hold them open longer.
const DRAIN: Duration = Duration::from_millis(500);

/// What is to be run, and within which bounds.
#[derive(Debug)]
pub struct Command {
    /// The program's file.
    pub program: PathBuf,
    /// The words, the program's own name first.
    pub argv: Vec<String>,
    /// The directory it starts in, as a handle: no path can be exchanged under it.
    pub directory: OwnedFd,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// How long it may take.
    pub timeout: Duration,
    /// How many bytes of each stream are kept.
    pub max_output: usize,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with a code; a signal N as −N.
    Exited(i32),
    /// Killed when its time was up.
    TimedOut,
    /// Killed because its task was stopped.
    Stopped,
}

/// What a command did.
#[derive(Debug)]
pub struct Execution {
    /// How it ended.
    pub ending: Ending,
    /// What it printed.
    pub stdout: Captured,
    /// What it complained about.
    pub stderr: Captured,
    /// How long it took.
    pub took: Duration,
}

/// Why a command did not start.
#[derive(Debug, thiserror::Error)]
#[error("{program} could not be started: {source}")]
pub struct SpawnError {
    program: String,
    source: io::Error,
}

/// Runs a command. When this returns, no process of its group is alive; if it is dropped, they are killed too.
pub async fn execute(command: Command, stop: &CancellationToken) -> Result<Execution, SpawnError> {
    let started = Instant::now();
    let failed = |source| SpawnError { program: command.argv.first().cloned().unwrap_or_default(), source };
    let mut child = spawn(&command).map_err(failed)?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));

    let (stdout, stderr) = (shared(command.max_output), shared(command.max_output));
    let mut readers = JoinSet::new();
    if let Some(pipe) = child.stdout.take() {
        readers.spawn(read(pipe, Arc::clone(&stdout)));
    }
    if let Some(pipe) = child.stderr.take() {
        readers.spawn(read(pipe, Arc::clone(&stderr)));
    }

    let ending = tokio::select! {
        biased;
        () = stop.cancelled() => Ending::Stopped,
        status = child.wait() => Ending::Exited(code(status.map_err(failed)?)),
        () = tokio::time::sleep(command.timeout) => Ending::TimedOut,
    };
    drop(group);
    if !matches!(ending, Ending::Exited(_)) {
        child.wait().await.map_err(failed)?;
    }
    // Errors mean only that somebody still holds a pipe; what was read until then counts.
    drop(tokio::time::timeout(DRAIN, async { while readers.join_next().await.is_some() {} }).await);
    readers.shutdown().await;

    Ok(Execution { ending, stdout: finish(&stdout), stderr: finish(&stderr), took: started.elapsed() })
}

/// What to start for a program's name: a name with a slash is left relative to `directory`, where the command
/// starts; another is looked for in `path`. `None` if there is nothing that may be run.
pub fn find_program(name: &str, path: &OsStr, directory: &Path) -> Option<PathBuf> {
    let runnable = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return runnable(&directory.join(name)).then(|| PathBuf::from(name));
    }
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(runnable)
}

/// Kills the group when it is dropped, whatever the way out.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // It fails only when nobody is left in the group.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
fn spawn(command: &Command) -> io::Result<tokio::process::Child> {
    // No pre_exec and a program with a path: the standard library then uses posix_spawn, whose cost does not grow
    // with the memory of this process as fork's does.
    tokio::process::Command::new(&command.program)
        .arg0(command.argv.first().map_or("", String::as_str))
        .args(command.argv.iter().skip(1))
        .current_dir(format!("/proc/self/fd/{}", command.directory.as_raw_fd()))
        .env_clear()
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn shared(cap: usize) -> Arc<Mutex<Capture>> {
    Arc::new(Mutex::new(Capture::new(cap)))
}

async fn read(mut pipe: impl AsyncRead + Unpin, capture: Arc<Mutex<Capture>>) {
    // The default size of a pipe's pages that arrive at once.
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        capture.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..count]);
    }
}

fn finish(capture: &Mutex<Capture>) -> Captured {
    capture.lock().unwrap_or_else(PoisonError::into_inner).finish()
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap_or(-1)
}
