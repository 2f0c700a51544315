//! The process that stands between the service and a command.
//!
//! ```text
//!  service ── posix_spawn ──► supervisor ── fork ──► (init) ── fork ──► command
//!     │                           │                    │                   │ walls, limits, then exec
//!     ├── Spec, two handles ─────►│                    │ private root      │
//!     │   (end of file: kill)     │ watch: time, CPU,  │ pid 1, reaps      ├─ stdout, stderr ──► service
//!     │                           │ memory, processes, │                   │
//!     │                           │ disk               │                   │
//!     │◄── Report ────────────────┤ kill all, reap all ┘                   ┘
//! ```
//!
//! It is this same binary, started anew: forking the service itself would copy the tables of all its memory, and after
//! a fork in a process with threads almost nothing may be called. Here is one thread, so a fork is cheap and safe.
//!
//! With namespaces the init process is number 1 of its own process namespace: when it goes, the kernel ends all others.
//! Without them the supervisor is in a Landlock domain that keeps signals in, and `kill(-1)` reaches exactly what it
//! started; what loses its parent comes back to it, so that it knows when the last one is gone.
//!
//! The connection to the service is the lifeline: where it ends, for whatever reason, so does the command.
#![expect(unsafe_code, reason = "fork, exec and kill(-1) have no safe form; each says why it is sound")]

mod account;
mod child;
mod disk;
mod landlock;
mod privileges;
mod probe;
mod processes;
mod root;
mod seccomp;
mod watch;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use self::watch::Watch;
use super::limits::Limit;
use super::remove::remove_tree;
use super::spec::{Report, Spec};
use super::wire;

/// The hidden verb.
pub const VERB: &str = "__supervise";

/// The pause between two looks at what a command uses: short at first, when a runaway grows fastest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(50));

/// A wall that could not be put up, or a program that could not be started.
#[derive(Debug)]
struct Failure {
    step: &'static str,
    error: String,
    errno: Option<i32>,
}

impl Failure {
    fn new(step: &'static str, error: String) -> Self {
        Self { step, error, errno: None }
    }

    fn of(step: &'static str, what: &str, errno: Errno) -> Self {
        Self { step, error: format!("{what}: {errno}"), errno: Some(errno.raw_os_error()) }
    }
}

/// Names the step that failed.
fn step<T>(step: &'static str, done: rustix::io::Result<T>) -> Result<T, Failure> {
    done.map_err(|errno| Failure { step, error: errno.to_string(), errno: Some(errno.raw_os_error()) })
}

/// How it came to its end.
#[derive(Clone, Copy)]
enum Cause {
    Itself,
    Limit(Limit),
    Stopped,
}

/// Supervises one command: the whole of a process's life.
pub fn main() -> ExitCode {
    match connect().and_then(|control| serve(control).map_err(io::Error::other)) {
        Ok(()) => ExitCode::SUCCESS,
        // The other end has gone, and with it whoever could be told.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Takes the connection from standard input, where the command will have nothing.
fn connect() -> io::Result<UnixStream> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(control.into())
}

fn serve(mut control: UnixStream) -> Result<(), String> {
    let (spec, handles) = wire::receive(&control).map_err(|error| error.to_string())?;
    let report = match run(&spec, &handles, &control) {
        Ok(report) => report,
        Err(Failure { step, error, errno }) => Report::Failed { step: step.to_owned(), error, errno },
    };
    if !spec.walls.namespaces {
        // What is left of it is the service's to remove; it looks, too.
        let _ = remove_tree(&spec.temporary);
    }
    let report = serde_json::to_vec(&report).map_err(|error| error.to_string())?;
    control.write_all(&report).map_err(|error| error.to_string())
}

fn run(spec: &Spec, handles: &[OwnedFd; 2], control: &UnixStream) -> Result<Report, Failure> {
    let deadline = Instant::now() + spec.timeout;
    privileges::close_others()?;
    step("session", rustix::process::setsid())?;
    step("subreaper", rustix::process::set_child_subreaper(Some(rustix::process::getpid())))?;
    // The service may be root: its other groups are no business of a command's. An ordinary user cannot drop them.
    let _ = rustix::thread::set_thread_groups(&[]);
    privileges::go_first();
    let scoped = if spec.walls.landlock && !spec.walls.namespaces { scope()? } else { Scoped::No };
    if spec.walls.namespaces {
        child::unshare(spec.network)?;
    }
    let (reader, writer) = step("pipe", rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC))?;
    let parent = rustix::process::getpid();
    // SAFETY: this process has one thread, so the child may do whatever it could do.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(Failure::of("fork", "fork", last_errno())),
        0 => {
            drop(reader);
            child::main(spec, handles, writer, parent)
        }
        pid => step("fork", Pid::from_raw(pid).ok_or(Errno::CHILD))?,
    };
    drop(writer);
    // The pipes are the command's alone, so that their end is its end.
    let null = rustix::stdio::stdin();
    step("stdout", rustix::stdio::dup2_stdout(null))?;
    step("stderr", rustix::stdio::dup2_stderr(null))?;

    let mut supervised = Supervised { pid, scoped, namespaces: spec.walls.namespaces, status: None };
    let mut told = Told { pipe: File::from(reader), bytes: Vec::new() };
    let cause = supervised.wait(spec, control, deadline, &mut told);
    supervised.end();
    told.report(&supervised, cause?)
}

/// Whether signals of this process stay among what it started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scoped {
    Yes,
    No,
}

/// Confines this process's signals, and makes sure of it: on that rests what `kill(-1)` reaches.
fn scope() -> Result<Scoped, Failure> {
    landlock::keep_signals_in()?;
    let parent = step("scope", rustix::process::getppid().ok_or(Errno::SRCH))?;
    match rustix::process::test_kill_process(parent) {
        Err(Errno::PERM) => Ok(Scoped::Yes),
        _ => Err(Failure::new("landlock", "does not keep signals in".to_owned())),
    }
}

/// What was started.
struct Supervised {
    pid: Pid,
    scoped: Scoped,
    namespaces: bool,
    /// Of the process that was forked here.
    status: Option<WaitStatus>,
}

impl Supervised {
    /// Returns when the command has ended or has to be ended.
    fn wait(
        &mut self,
        spec: &Spec,
        control: &UnixStream,
        deadline: Instant,
        told: &mut Told,
    ) -> Result<Cause, Failure> {
        let process = step("pidfd", rustix::process::pidfd_open(self.pid, PidfdFlags::empty()))?;
        let mut watch = Watch::new(spec, self.pid);
        let (mut pause, longest) = LOOKS;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.min(pause);
            let timeout = rustix::event::Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            };
            let mut ready = [PollFd::new(&process, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
            match poll(&mut ready, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Failure::of("poll", "poll", errno)),
            }
            if !ready[0].revents().is_empty() {
                return Ok(Cause::Itself);
            }
            if !ready[1].revents().is_empty() {
                return Ok(Cause::Stopped);
            }
            if left.is_zero() {
                return Ok(Cause::Limit(Limit::Wall));
            }
            self.reap_orphans();
            if self.namespaces && !told.has_root() {
                continue;
            }
            if let Some(limit) = watch.exceeded() {
                return Ok(Cause::Limit(limit));
            }
            pause = (pause + LOOKS.0 / 4).min(longest);
        }
    }

    /// Takes note of processes that have ended, without waiting.
    fn reap_orphans(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.note(pid, status);
        }
    }

    fn note(&mut self, pid: Pid, status: WaitStatus) {
        if pid == self.pid {
            self.status = Some(status);
        }
    }

    /// Kills everything that was started, and returns when nothing of it is left.
    fn end(&mut self) {
        if self.namespaces {
            if self.status.is_none() {
                // Gone already, if it fails.
                let _ = rustix::process::kill_process(self.pid, Signal::KILL);
            }
        } else if self.scoped == Scoped::Yes {
            // SAFETY: no memory is involved. It was made sure above that signals of this process reach only what it
            // started: nobody may be killed once, so there is no race in it.
            unsafe { libc::kill(-1, libc::SIGKILL) };
        }
        loop {
            if !self.namespaces && self.scoped == Scoped::No {
                watch::kill_descendants();
            }
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) => self.note(pid, status),
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// What came through the pipe from behind the walls.
struct Told {
    pipe: File,
    bytes: Vec<u8>,
}

impl Told {
    /// Whether the private root stands, so that the processes can be counted in it.
    fn has_root(&mut self) -> bool {
        if self.bytes.is_empty() {
            let mut ready = [PollFd::new(&self.pipe, PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut ready, Some(&now)).is_ok_and(|count| count > 0) {
                let mut bytes = [0; 512];
                let count = self.pipe.read(&mut bytes).unwrap_or(0);
                self.bytes.extend_from_slice(&bytes[..count]);
            }
        }
        self.bytes.first() == Some(&child::ROOT)
    }

    /// Puts together what happened. Everybody who could write to the pipe is gone.
    fn report(mut self, supervised: &Supervised, cause: Cause) -> Result<Report, Failure> {
        self.pipe.read_to_end(&mut self.bytes).map_err(|error| Failure::new("pipe", error.to_string()))?;
        let said = self.bytes.strip_prefix(&[child::ROOT]).unwrap_or(&self.bytes);
        match said.split_first() {
            Some((&child::FAILED, failure)) => {
                // The init process reports the end of whoever said this behind it.
                let mut first = serde_json::Deserializer::from_slice(failure).into_iter();
                let torn = || Failure::new("pipe", "has half a report in it".to_owned());
                return first.next().and_then(Result::ok).ok_or_else(torn);
            }
            Some((&child::STATUS, status)) => {
                let status = status.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                return Ok(ended(Some(status), cause));
            }
            _ => {}
        }
        let raw = supervised.status.filter(|_| !supervised.namespaces).map(WaitStatus::as_raw);
        Ok(ended(raw, cause))
    }
}

/// What a wait status and a cause come to. Limits that the kernel watches show in the signal.
fn ended(status: Option<i32>, cause: Cause) -> Report {
    let status = status.unwrap_or(libc::SIGKILL);
    let returncode = if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    let limit = match cause {
        Cause::Limit(limit) => Some(limit),
        Cause::Itself if returncode == -libc::SIGXCPU => Some(Limit::Cpu),
        Cause::Itself if returncode == -libc::SIGXFSZ => Some(Limit::FileSize),
        Cause::Stopped | Cause::Itself => None,
    };
    let returncode = if matches!(cause, Cause::Itself) { returncode } else { -libc::SIGKILL };
    Report::Ended { returncode, limit, stopped: matches!(cause, Cause::Stopped) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
