//! The processes that stand between the service and a command.
//!
//! ```text
//!  service ── posix_spawn, once ──► steward ── fork ──► supervisor ── vfork ─► command
//!     │                                │                    │                     │ walls, limits, then exec
//!     ├── Setup; for each command ────►│ ready: handles,    │ private root        │
//!     │   a head with its handles      │ filters            │ watch: time, CPU,   ├─ stdout, stderr ──► service
//!     ├── Order (end of file: kill) ───┼───────────────────►│ memory, processes,  │
//!     │◄── Report ─────────────────────┼────────────────────┤ disk                │
//!     │◄── Aftermath ──────────────────┘ clears up          │ kill all, reap all  ┘
//! ```
//!
//! The steward is this same binary, started anew: forking the service itself would copy the tables of all its memory,
//! and after a fork in a process with threads almost nothing may be called. The steward is small and has one thread, so
//! a fork is cheap and safe there, and what is the same for all commands is done once.
//!
//! With namespaces the supervisor is process number 1 of a process namespace of its own, without them it is in a Landlock
//! domain that keeps signals in: either way `kill(-1)` reaches exactly what it started, and what loses its parent comes
//! back to it, so that it knows when the last one is gone. If a number 1 goes, the kernel ends all others.
//!
//! A command's connection to the service is its lifeline: where it ends, for whatever reason, so does the command.
#![expect(unsafe_code, reason = "fork, exec and kill(-1) have no safe form; each says why it is sound")]

mod account;
mod child;
mod disk;
mod landlock;
mod namespaces;
mod privileges;
mod probe;
mod processes;
mod ready;
mod root;
mod seccomp;
mod shared;
mod steward;
mod temporary;
mod watch;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus};

use self::child::Handles;
use self::ready::Ready;
use self::steward::timespec;
use self::temporary::Directory;
use self::watch::Watch;
use super::cgroup::Meter;
use super::limits::Limit;
use super::spec::{Order, Report, Spec, Walls};
use super::wire::{self, Head};

pub use steward::main;

/// The hidden verb.
pub const VERB: &str = "__supervise";

/// The pause between two looks at what a command uses: short at first, when a runaway grows fastest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(50));

/// A wall that could not be put up, or a program that could not be started.
#[derive(Clone, Debug)]
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

impl From<Failure> for Report {
    fn from(failure: Failure) -> Self {
        let Failure { step, error, errno } = failure;
        Self::Failed { step: step.to_owned(), error, errno }
    }
}

/// Names the step that failed.
fn step<T>(step: &'static str, done: rustix::io::Result<T>) -> Result<T, Failure> {
    done.map_err(|errno| Failure { step, error: errno.to_string(), errno: Some(errno.raw_os_error()) })
}

/// A process that was forked.
struct Forked {
    pid: Pid,
    process: OwnedFd,
}

/// Forks; `None` in the child. With namespaces it is born into those that a process cannot enter later, and into the control
/// group, if there is one: to move there the kernel would have all other processes wait.
fn fork(walls: Walls, group: Option<BorrowedFd<'_>>) -> Result<Option<Forked>, Failure> {
    let namespaces = if walls.namespaces { libc::CLONE_NEWUSER | libc::CLONE_NEWPID } else { 0 };
    let mut process: libc::c_int = -1;
    let pid = if let Some(group) = group {
        // SAFETY: of a C struct of numbers, all zero is a value.
        let mut wanted: libc::clone_args = unsafe { std::mem::zeroed() };
        wanted.flags = u64::from((namespaces | libc::CLONE_PIDFD).unsigned_abs()) | CLONE_INTO_CGROUP;
        wanted.pidfd = (&raw mut process).addr() as u64;
        wanted.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
        wanted.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
        // SAFETY: as below; the kernel reads as many bytes of the struct as it is told.
        unsafe { libc::syscall(libc::SYS_clone3, &raw const wanted, size_of::<libc::clone_args>()) }
    } else {
        let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
        let none = std::ptr::null::<libc::c_void>();
        // SAFETY: without a stack and without shared memory this is a fork. The process has one thread, so the child may do
        // whatever it could do. The kernel writes one descriptor to where it is told to.
        unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut process, none, none) }
    };
    let what = if walls.namespaces { "namespaces" } else { "fork" };
    match pid {
        // A container's runtime may refuse this call and not the other, and a group may have been taken away.
        -1 if group.is_some() => fork(walls, None),
        -1 => Err(Failure::of(what, "clone", last_errno())),
        0 => Ok(None),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
            let process = unsafe { OwnedFd::from_raw_fd(process) };
            Ok(Some(Forked { pid: step(what, pid.ok_or(Errno::CHILD))?, process }))
        }
    }
}

/// From `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How it came to its end.
#[derive(Clone, Copy)]
enum Cause {
    Itself,
    Limit(Limit),
    Stopped,
}

/// The life of a supervisor, in the process that was forked for it.
fn live(ready: &mut Ready, head: Head, temporary: Option<Directory>) -> ! {
    // Whatever happens, this process must not go on as a second steward.
    let lived = catch_unwind(AssertUnwindSafe(|| supervise(ready, head, temporary)));
    exit(i32::from(!matches!(lived, Ok(Ok(())))))
}

/// Supervises one command.
fn supervise(ready: &mut Ready, head: Head, temporary: Option<Directory>) -> io::Result<()> {
    let wire::Handles { workspace, directory, stdout, stderr, control, group } = head.handles;
    // Other commands' connections are none of this one's business; an end that stays open here is no end there.
    let mine = [&workspace, &directory, &stdout, &stderr, &control].map(AsFd::as_fd);
    let group_too: Vec<BorrowedFd<'_>> = group.iter().map(AsFd::as_fd).collect();
    privileges::close_all_but(&[&ready.handles()[..], &mine, &group_too].concat())?;
    // It comes on top of what is watched anyway.
    let mut meter = group.and_then(|group| Meter::new(group).ok());
    if let Some(meter) = &mut meter {
        meter.leave_out_this_process();
    }
    let control = UnixStream::from(control);
    let order: Order = wire::receive(&control)?;
    let spec = ready.spec(order, temporary.as_ref().map(Directory::path));
    let handles = Handles { workspace, directory, stdout, stderr };
    let report = run(&spec, ready, handles, meter.as_ref(), &control);
    if let Some(temporary) = temporary {
        // The steward looks, too.
        let _ = temporary.clear();
    }
    wire::send(&control, &report.unwrap_or_else(Report::from))
}

fn run(
    spec: &Spec,
    ready: &Ready,
    handles: Handles,
    meter: Option<&Meter>,
    control: &UnixStream,
) -> Result<Report, Failure> {
    let deadline = Instant::now() + spec.timeout;
    let keeps = if spec.walls.namespaces {
        namespaces::enter(spec, ready, handles.workspace.as_fd())?;
        Keeps::Own
    } else {
        step("subreaper", rustix::process::set_child_subreaper(Some(rustix::process::getpid())))?;
        if spec.walls.landlock { scope()? } else { Keeps::Nothing }
    };
    if is_ready(control) {
        // The service has given up, or has gone, before it began.
        return Ok(ended(None, Cause::Stopped));
    }
    let pid = start(spec, ready, &handles);
    // The pipes are the command's alone, so that their end is its end.
    drop(handles);
    let mut supervised = Supervised { pid: None, keeps, meter, status: None };
    let cause = pid.and_then(|pid| {
        supervised.pid = Some(pid);
        supervised.wait(spec, control, deadline, pid)
    });
    supervised.end();
    // Whom the kernel ended for its memory has ended by itself, to look at it.
    let no_memory = meter.and_then(|meter| meter.usage().ok()).is_some_and(|usage| usage.oom_kills > 0);
    let cause = cause.map(|cause| match cause {
        Cause::Itself if no_memory => Cause::Limit(Limit::Memory),
        other => other,
    });
    Ok(ended(supervised.status.map(WaitStatus::as_raw), cause?))
}

/// Whether the connection has ended: nothing is said in it after the order.
fn is_ready(control: &UnixStream) -> bool {
    let mut ready = [PollFd::new(control, PollFlags::IN)];
    poll(&mut ready, Some(&timespec(Duration::ZERO))).is_ok_and(|count| count > 0)
}

/// The stack of a process that becomes a command. It needs less, but for the self-test.
const STACK: usize = 256 * 1024;

/// A command that is being started.
struct Start<'a> {
    spec: &'a Spec,
    ready: &'a Ready,
    handles: &'a Handles,
    parent: Pid,
    failure: Option<Failure>,
}

/// Starts the command in a process that has the memory of this one until it becomes the program, so that no tables are
/// copied to be thrown away; this process stands still until then. So it is with `posix_spawn`, which knows no walls.
fn start(spec: &Spec, ready: &Ready, handles: &Handles) -> Result<Pid, Failure> {
    extern "C" fn begin(start: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it is the one below, whose owner stands still.
        let start = unsafe { &mut *start.cast::<Start<'_>>() };
        let become_command = || child::become_command(start.spec, start.ready, start.handles, start.parent);
        start.failure = Some(match catch_unwind(AssertUnwindSafe(become_command)) {
            Ok(Err(failure)) => failure,
            Err(_) => Failure::new("walls", "a fault of the supervisor's own".to_owned()),
        });
        127
    }
    let parent = rustix::process::getpid();
    let mut start = Start { spec, ready, handles, parent, failure: None };
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs `begin` on a stack of its own, which lives until it has ended or become another program: for
    // that long this call does not return. This process has one thread, so nobody else sees what the child does to its
    // memory.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(begin, top.cast(), flags, (&raw mut start).cast())
    };
    if pid == -1 {
        return Err(Failure::of("fork", "clone", last_errno()));
    }
    match start.failure {
        Some(failure) => Err(failure),
        None => step("fork", Pid::from_raw(pid).ok_or(Errno::CHILD)),
    }
}

/// What keeps this process's signals among what it started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// A process namespace of its own.
    Own,
    /// A Landlock domain.
    Domain,
    Nothing,
}

/// Confines this process's signals, and makes sure of it: on that rests what `kill(-1)` reaches.
fn scope() -> Result<Keeps, Failure> {
    landlock::keep_signals_in()?;
    let parent = step("scope", rustix::process::getppid().ok_or(Errno::SRCH))?;
    match rustix::process::test_kill_process(parent) {
        Err(Errno::PERM) => Ok(Keeps::Domain),
        _ => Err(Failure::new("landlock", "does not keep signals in".to_owned())),
    }
}

/// What was started.
struct Supervised<'a> {
    pid: Option<Pid>,
    keeps: Keeps,
    meter: Option<&'a Meter>,
    /// Of the command itself.
    status: Option<WaitStatus>,
}

impl Supervised<'_> {
    /// Returns when the command has ended or has to be ended.
    fn wait(&mut self, spec: &Spec, control: &UnixStream, deadline: Instant, pid: Pid) -> Result<Cause, Failure> {
        let process = step("pidfd", rustix::process::pidfd_open(pid, PidfdFlags::empty()))?;
        let mut watch = Watch::new(spec, self.meter);
        let (mut pause, longest) = LOOKS;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut ready = [PollFd::new(&process, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
            match poll(&mut ready, Some(&timespec(left.min(pause)))) {
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
        if Some(pid) == self.pid {
            self.status = Some(status);
        }
    }

    /// Kills everything that was started, and returns when nothing of it is left.
    fn end(&mut self) {
        if self.keeps != Keeps::Nothing {
            // SAFETY: no memory is involved. Signals of this process reach only what it started, see `Keeps`: all that is
            // there is killed in one go, and who is being forked at that moment is never born.
            unsafe { libc::kill(-1, libc::SIGKILL) };
        }
        loop {
            if self.keeps == Keeps::Nothing {
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

/// Ends this process and nothing else: what its parent would do at its exit is not this one's to do.
fn exit(code: i32) -> ! {
    // SAFETY: it does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
