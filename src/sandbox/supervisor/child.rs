//! What becomes the command: the walls are put up from the inside, then it is started.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::super::spec::{EXEC, Job, Spec};
use super::ready::Ready;
use super::{Failure, exit, last_errno, privileges, probe, root, step};

/// What a command is given.
pub(super) struct Handles {
    pub workspace: OwnedFd,
    pub directory: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Puts up the walls and becomes the program. Nothing comes back from here but a failure; the caller has the memory of
/// its parent, which stands still.
pub(super) fn become_command(
    spec: &Spec,
    ready: &Ready,
    handles: &Handles,
    parent: Pid,
) -> Result<Infallible, Failure> {
    step("lifeline", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(Failure::new("lifeline", "the supervisor is gone".to_owned()));
    }
    privileges::go_last(ready.proc())?;
    step("session", rustix::process::setsid())?;
    step("stdout", rustix::stdio::dup2_stdout(&handles.stdout))?;
    step("stderr", rustix::stdio::dup2_stderr(&handles.stderr))?;
    if spec.walls.namespaces {
        step("workdir", rustix::process::chdir(spec.workspace.join(&spec.workdir)))?;
    } else {
        step("workdir", rustix::process::fchdir(&handles.directory))?;
    }
    if spec.walls.any() {
        privileges::drop_all()?;
    }
    if let Some(rules) = &ready.rules {
        rules.restrict(spec, handles.workspace.as_fd())?;
    }
    // After the rules: what they are about is opened in numbers that a command may not have.
    privileges::limit(&spec.limits, spec.walls.namespaces)?;
    // Made ready before the filters are in force, which refuse nothing that is needed from here on.
    let environment = c_strings(spec.environment.iter().map(|(name, value)| joined(name, value)))?;
    ready.confine()?;
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
fn exec(programs: &[PathBuf], argv: &[String], environment: &[CString]) -> Result<Infallible, Failure> {
    let argv = c_strings(argv.iter().map(OsString::from))?;
    let (argv, environment) = (pointers(&argv), pointers(environment));
    let mut why = Errno::NOENT;
    privileges::hear_signals();
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
