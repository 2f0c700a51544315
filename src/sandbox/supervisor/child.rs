//! What becomes the command: the walls are put up from the inside, then it is started.

use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::super::spec::{EXEC, Job, Network, Report, Spec};
use super::{Failure, landlock, last_errno, privileges, probe, root, seccomp, step};

/// The first byte of what is written to the pipe: the private root stands.
pub(super) const ROOT: u8 = b'R';
/// The command has ended; its wait status follows.
pub(super) const STATUS: u8 = b'S';
/// Nothing was run; a [`Report::Failed`] follows.
pub(super) const FAILED: u8 = b'F';

/// Leaves the machine's namespaces. The one for processes takes effect for the next child.
pub(super) fn unshare(network: Network) -> Result<(), Failure> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let mut flags = UnshareFlags::NEWUSER | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    // SAFETY: no descriptor table is unshared, so no descriptor changes its meaning.
    step("namespaces", unsafe { rustix::thread::unshare_unsafe(flags) })?;
    let write = |file: &str, text: String| {
        std::fs::write(file, text).map_err(|error| Failure::new("namespaces", format!("{file}: {error}")))
    };
    // The user keeps its number: files look as they do outside.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{0} {0} 1", user.as_raw()))?;
    write("/proc/self/gid_map", format!("{0} {0} 1", group.as_raw()))?;
    if network == Network::None { loopback() } else { Ok(()) }
}

/// Switches the new network's loopback on: a test may start a server and talk to it.
fn loopback() -> Result<(), Failure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = step("loopback", socket)?;
    // SAFETY: of a C struct of numbers and bytes, all zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap_or_default();
    // SAFETY: the kernel reads a request as long as this struct, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == 0 { Ok(()) } else { Err(Failure::of("loopback", "lo", last_errno())) }
}

/// The life of the forked process.
pub(super) fn main(spec: &Spec, handles: &[OwnedFd; 2], pipe: OwnedFd, parent: Pid) -> ! {
    let mut pipe = std::fs::File::from(pipe);
    let failure = match live(spec, handles, &mut pipe, parent) {
        Ok(code) => exit(code),
        Err(failure) => failure,
    };
    let Failure { step, error, errno } = failure;
    let report = Report::Failed { step: step.to_owned(), error, errno };
    if let Ok(report) = serde_json::to_vec(&report) {
        // Without it the supervisor says that the command was killed, which is the truth as well.
        let _ = pipe.write_all(&[&[FAILED], &report[..]].concat());
    }
    exit(127)
}

fn live(spec: &Spec, handles: &[OwnedFd; 2], pipe: &mut std::fs::File, parent: Pid) -> Result<i32, Failure> {
    step("lifeline", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    privileges::go_last();
    if spec.walls.namespaces {
        // SAFETY: no descriptor table is unshared.
        step("mounts", unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) })?;
        root::enter(spec, handles[0].as_fd())?;
        privileges::bound_namespace(&spec.limits);
        root::seal_settings()?;
        pipe.write_all(&[ROOT]).map_err(|error| Failure::new("pipe", error.to_string()))?;
        // SAFETY: there is one thread.
        match unsafe { libc::fork() } {
            -1 => return Err(Failure::of("fork", "fork", last_errno())),
            0 => {}
            command => return init(command, pipe),
        }
    } else if rustix::process::getppid() != Some(parent) {
        return Err(Failure::new("lifeline", "the supervisor is gone".to_owned()));
    }
    command(spec, handles).map(|never| match never {})
}

/// Process number 1: waits for the command, and for whatever else loses its parent. When it leaves, the kernel ends
/// what is left.
fn init(command: i32, pipe: &mut std::fs::File) -> Result<i32, Failure> {
    // The pipes are the command's.
    let null = rustix::stdio::stdin();
    step("stdout", rustix::stdio::dup2_stdout(null))?;
    step("stderr", rustix::stdio::dup2_stderr(null))?;
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == command => {
                let status = status.as_raw().to_ne_bytes();
                let said = pipe.write_all(&[&[STATUS], &status[..]].concat());
                return said.map(|()| 0).map_err(|error| Failure::new("pipe", error.to_string()));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::of("wait", "wait", errno)),
        }
    }
}

/// Nothing comes back from here but a failure.
enum Never {}

fn command(spec: &Spec, handles: &[OwnedFd; 2]) -> Result<Never, Failure> {
    step("session", rustix::process::setsid())?;
    if spec.walls.namespaces {
        step("workdir", rustix::process::chdir(spec.workspace.join(&spec.workdir)))?;
    } else {
        step("workdir", rustix::process::fchdir(&handles[1]))?;
    }
    privileges::limit(&spec.limits, spec.walls.namespaces)?;
    if spec.walls.any() {
        privileges::drop_all()?;
    }
    if spec.walls.landlock {
        landlock::restrict(spec, handles[0].as_fd())?;
    }
    // Made ready before the filters are in force, which refuse nothing that is needed from here on.
    let environment = c_strings(spec.environment.iter().map(|(name, value)| joined(name, value)))?;
    if spec.walls.seccomp {
        let failed = |error: seccompiler::Error| Failure::new("seccomp", error.to_string());
        for filter in seccomp::filters(spec.walls, spec.network).map_err(failed)? {
            seccompiler::apply_filter(&filter).map_err(failed)?;
        }
    }
    if spec.walls.any() {
        privileges::make_sure(spec.walls.seccomp)?;
    }
    match &spec.job {
        Job::Probe(targets) => {
            let holes = probe::attack(targets, spec);
            // As a program would say it.
            let mut stdout = std::io::stdout();
            let said = stdout.write_all(holes.join("\n").as_bytes()).and_then(|()| stdout.flush());
            exit(i32::from(said.is_err() || !holes.is_empty()))
        }
        Job::Run { programs, argv } => exec(programs, argv, &environment),
    }
}

/// Becomes the first of `programs` that can be started.
fn exec(programs: &[PathBuf], argv: &[String], environment: &[CString]) -> Result<Never, Failure> {
    let argv = c_strings(argv.iter().map(OsString::from))?;
    let (argv, environment) = (pointers(&argv), pointers(environment));
    let mut why = Errno::NOENT;
    // SAFETY: restores what the standard library's start changed; no handler is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    for program in programs {
        let path = root::c_path(program)?;
        // SAFETY: all pointers are to C strings that live until the end of this function, the lists end with null.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
        match last_errno() {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => why = Errno::ACCESS,
            errno => return Err(Failure { step: EXEC, error: errno.to_string(), errno: Some(errno.raw_os_error()) }),
        }
    }
    Err(Failure { step: EXEC, error: why.to_string(), errno: Some(why.raw_os_error()) })
}

fn joined(name: &OsString, value: &OsString) -> OsString {
    let mut both = name.clone();
    both.push("=");
    both.push(value);
    both
}

fn c_strings(texts: impl Iterator<Item = OsString>) -> Result<Vec<CString>, Failure> {
    texts
        .map(|text| CString::new(text.as_bytes()).map_err(|_| Failure::new(EXEC, "a word has a NUL in it".to_owned())))
        .collect()
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Ends this process and nothing else: what the supervisor would do at its exit is not this one's to do.
fn exit(code: i32) -> ! {
    // SAFETY: it does not return and touches no memory.
    unsafe { libc::_exit(code) }
}
