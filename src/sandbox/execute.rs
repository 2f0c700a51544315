//! One command from its start to its certain end, as the service sees it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use super::Sandbox;
use super::capture::{Capture, Captured};
use super::cgroup::{Bounds, Cgroup};
use super::limits::{Limit, Limits, PROCESSES_UNSEEN};
use super::repository::Repository;
use super::spec::{Aftermath, EXEC, Job, Order, Report, WORKSPACE};
use super::wire::{self, Handles};

/// How long the pipes are drained after everything has ended. What was printed is in them already.
const DRAIN: Duration = Duration::from_millis(500);

/// How long a supervisor may take beyond the command's time: to kill, to reap, to remove. After that it is ended itself,
/// which ends the command as well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command's supervisor is in its group.
const SUPERVISOR: u64 = 1;

/// What a command may print in all, each byte of which the service has to read: a thousand times what is kept of it,
/// and no build is so talkative.
pub const MOST_PRINTED: u64 = 256 * 1024 * 1024;

/// What is to be run, and within which bounds.
#[derive(Debug)]
pub struct Command {
    /// The words, the program's name first.
    pub argv: Vec<String>,
    /// The directory tree it may write to.
    pub workspace: OwnedFd,
    /// The directory it starts in, in the workspace.
    pub directory: OwnedFd,
    /// How long it may take.
    pub timeout: Duration,
    /// How many bytes of each stream are kept.
    pub max_output: usize,
}

/// What a command did.
#[derive(Debug)]
pub struct Execution {
    /// The code it ended with; −N for signal N.
    pub returncode: i32,
    /// The limit that ended it.
    pub limit: Option<Limit>,
    /// Ended because its task was stopped.
    pub stopped: bool,
    /// What it printed.
    pub stdout: Captured,
    /// What it complained about.
    pub stderr: Captured,
    /// How long it took.
    pub took: Duration,
    /// What became of what a repository would run later.
    pub repository: Repository,
}

/// Why a command did not start, or what became of it is not known.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// There is no such program where the command could start it.
    #[error("program not found: {0}")]
    NotFound(String),
    /// There is one, but outside what commands see.
    #[error(
        "program not found: {name}: the sandbox does not show {}; the operator can add its directory to SANDBOX_READ",
        path.display()
    )]
    NotShown {
        /// As the brain called it.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// The system would not start it.
    #[error("{name} could not be started: {error}")]
    Program {
        /// As the brain called it.
        name: String,
        /// Why.
        error: String,
    },
    /// A wall could not be put up, so nothing was run.
    #[error("nothing was run, the sandbox could not be set up: {step}: {error}")]
    Wall {
        /// Which one.
        step: String,
        /// Why.
        error: String,
    },
    /// The directory of the workspace has no name any more, or the repository in it could not be looked at.
    #[error("nothing was run, the workspace cannot be used: {0}")]
    Workspace(String),
    /// The supervisor could not be started or was lost.
    #[error("the command's supervisor failed: {0}")]
    Supervisor(#[from] io::Error),
}

impl Sandbox {
    /// Runs a command. When this returns, nothing that it started is alive; if it is dropped, all of it is killed too.
    pub async fn execute(&self, command: Command, stop: &CancellationToken) -> Result<Execution, ExecuteError> {
        let name = command.argv.first().cloned().unwrap_or_default();
        let job = Job::Run { programs: candidates(&name, &self.path), argv: command.argv.clone() };
        self.supervise(job, command, stop).await.map_err(|error| self.explain(error, &name))
    }

    /// Has a supervisor started, reads what the command prints, and returns when the supervisor has gone.
    pub(super) async fn supervise(
        &self,
        job: Job,
        command: Command,
        stop: &CancellationToken,
    ) -> Result<Execution, ExecuteError> {
        let started = Instant::now();
        let order = wire::frame(&order(job, &command)?)?;
        let printed = Printed::default();
        let ((mut stdout, out), (mut stderr, err)) = (pipe()?, pipe()?);
        let (mut captured_out, mut captured_err) = (Capture::new(command.max_output), Capture::new(command.max_output));
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut control = UnixStream::from_std(ours)?;
        // Without one the supervisor's own account has to do.
        let group = self.groups.as_ref().and_then(|groups| groups.lease(self.bounds()).ok());
        let handles = Handles {
            workspace: command.workspace.as_fd(),
            directory: command.directory.as_fd(),
            stdout: out.as_fd(),
            stderr: err.as_fd(),
            control: theirs.as_fd(),
            group: group.as_ref().map(Cgroup::directory_fd),
        };
        let ordered = tokio::time::timeout(PATIENCE, self.steward.order(command.timeout + PATIENCE, &handles)).await;
        ordered.map_err(|_| io::Error::other("the steward does not take it"))??;
        // Theirs alone from now on, so that their end is seen here.
        drop((out, err, theirs));

        let said = {
            let supervised = supervised(&mut control, &order, stop, &printed);
            // The steward ends a supervisor that hangs; if both do, nothing more can be done from here.
            let mut supervised = pin!(tokio::time::timeout(command.timeout + PATIENCE * 2, supervised));
            let read_out = read(&mut stdout, &mut captured_out, &printed);
            let read_err = read(&mut stderr, &mut captured_err, &printed);
            let mut reading = pin!(async { tokio::join!(read_out, read_err) });
            let mut drained = false;
            let said = loop {
                tokio::select! {
                    said = &mut supervised => break said,
                    _ = &mut reading, if !drained => drained = true,
                }
            };
            if !drained {
                // Errors mean only that somebody still holds a pipe; what was read until then counts.
                drop(tokio::time::timeout(DRAIN, reading).await);
            }
            said.map_err(|_| io::Error::other("it does not answer"))?
        };
        let Said { report, aftermath, flooded } = said.map_err(|_| io::Error::other("it ended without a report"))?;
        if let Some(group) = group {
            group.give_back();
        }

        match report {
            Report::Ended { returncode, limit, stopped } => Ok(Execution {
                returncode,
                limit: if flooded && stopped { Some(Limit::Output) } else { limit },
                stopped: stopped && !flooded,
                stdout: captured_out.finish(),
                stderr: captured_err.finish(),
                took: started.elapsed(),
                repository: aftermath.repository,
            }),
            Report::Failed { step, error, errno } if step == EXEC => Err(match errno {
                Some(libc::ENOENT | libc::ENOTDIR) => ExecuteError::NotFound(String::new()),
                _ => ExecuteError::Program { name: String::new(), error },
            }),
            Report::Failed { step, error, .. } if step == WORKSPACE => Err(ExecuteError::Workspace(error)),
            Report::Failed { step, error, .. } => Err(ExecuteError::Wall { step, error }),
        }
    }

    /// What a command's group bounds. The supervisor notices sooner, and knows which limit it was.
    fn bounds(&self) -> Bounds {
        let Limits { memory, disk, processes, .. } = self.settings.limits;
        Bounds { memory: memory.saturating_add(memory.min(disk)), processes: processes + PROCESSES_UNSEEN + SUPERVISOR }
    }

    /// Puts the program's name in, and says so where it exists but is not shown.
    fn explain(&self, error: ExecuteError, name: &str) -> ExecuteError {
        let hidden = || {
            let path = find_program(name, &self.settings.path)?;
            (!self.steward.setup().view.shows(&path)).then_some(path)
        };
        match error {
            ExecuteError::NotFound(_) | ExecuteError::Program { .. } if hidden().is_some() => {
                ExecuteError::NotShown { name: name.to_owned(), path: hidden().unwrap_or_default() }
            }
            ExecuteError::NotFound(_) => ExecuteError::NotFound(name.to_owned()),
            ExecuteError::Program { error, .. } => ExecuteError::Program { name: name.to_owned(), error },
            other => other,
        }
    }
}

/// What a supervisor is told about a command.
fn order(job: Job, command: &Command) -> Result<Order, ExecuteError> {
    let failed = |error: io::Error| ExecuteError::Workspace(error.to_string());
    let workspace = place_of(&command.workspace).map_err(failed)?;
    let directory = place_of(&command.directory).map_err(failed)?;
    let workdir = directory.strip_prefix(&workspace).map(Path::to_owned);
    let workdir = workdir.map_err(|_| ExecuteError::Workspace("workdir has been moved out of it".to_owned()))?;
    Ok(Order { job, workspace, workdir, timeout: command.timeout })
}

/// The end that is read here, and the one that is a command's.
fn pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((pipe::Receiver::from_owned_fd(ours)?, theirs))
}

/// What the supervisor says, and the steward when it has gone.
struct Said {
    report: Report,
    aftermath: Aftermath,
    /// Ended for what it printed.
    flooded: bool,
}

/// Gives the order, and waits for what comes of it; if need be, says that it is enough.
async fn supervised(
    control: &mut UnixStream,
    order: &[u8],
    stop: &CancellationToken,
    printed: &Printed,
) -> io::Result<Said> {
    control.write_all(order).await?;
    let (mut answer, mut lifeline) = control.split();
    let mut flooded = false;
    let mut said = pin!(async { Ok::<_, io::Error>((message(&mut answer).await?, message(&mut answer).await?)) });
    tokio::select! {
        said = &mut said => return said.map(|(report, aftermath)| Said { report, aftermath, flooded }),
        () = stop.cancelled() => {}
        () = printed.too_much.notified() => flooded = true,
    }
    // The end of the file tells the supervisor to end everything; its report still comes.
    lifeline.shutdown().await?;
    let said = tokio::time::timeout(PATIENCE, said).await;
    said.map_err(io::Error::other)?.map(|(report, aftermath)| Said { report, aftermath, flooded })
}

async fn message<T: DeserializeOwned>(answer: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut length = [0; 4];
    answer.read_exact(&mut length).await?;
    let mut text = vec![0; wire::length_of(length)?];
    answer.read_exact(&mut text).await?;
    Ok(serde_json::from_slice(&text)?)
}

/// The files that a name may mean: as a path from where the command starts, or in the directories of `path`.
fn candidates(name: &str, path: &OsStr) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![PathBuf::from(name)];
    }
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).collect()
}

/// The program of that name that the service itself would start.
fn find_program(name: &str, path: &OsStr) -> Option<PathBuf> {
    let runnable = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    candidates(name, path).into_iter().filter(|file| file.is_absolute()).find(runnable)
}

/// Where a directory is now.
fn place_of(directory: impl AsFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
    let path = std::fs::read_link(link)?;
    // One that was removed has a name that is not its own.
    let (here, there) = (rustix::fs::fstat(directory)?, rustix::fs::stat(&path)?);
    if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
        Ok(path)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "it has been removed or replaced"))
    }
}

/// What both streams have brought so far.
#[derive(Default)]
struct Printed {
    bytes: AtomicU64,
    too_much: tokio::sync::Notify,
}

async fn read(pipe: &mut pipe::Receiver, capture: &mut Capture, printed: &Printed) {
    // Taken when there is something to be read: a command may run for long without a word.
    let mut buffer = Vec::new();
    while let Ok(()) = pipe.readable().await {
        // The default size of a pipe's pages that arrive at once.
        buffer.resize(16 * 1024, 0);
        match pipe.try_read(&mut buffer) {
            Ok(count @ 1..) => {
                capture.push(&buffer[..count]);
                if printed.bytes.fetch_add(count as u64, Ordering::Relaxed) + count as u64 > MOST_PRINTED {
                    printed.too_much.notify_one();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}
