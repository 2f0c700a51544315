//! The life of a service's steward: it forks a supervisor for each command, and clears up after it.
//!
//! What is the same for all commands is made ready here once. What a repository would run later is looked after here as
//! well: the steward outlives the service's commands even where the service is killed, and it knows when each is over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::super::repository::{Held, Repositories, Repository};
use super::super::spec::{Aftermath, Report, Setup, WORKSPACE};
use super::super::wire::{self, Head};
use super::temporary::{Directory, Temporary};
use super::{Failure, Forked, Ready, fork, live, privileges};

/// The pause before a supervisor that was ended is ended again.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks after the commands of one service.
struct Steward {
    /// Why nothing can be run is told to whoever wants to run something.
    ready: Result<Ready, Failure>,
    /// Where there is no private root.
    temporary: Option<Temporary>,
    repositories: Repositories,
    commands: Vec<Supervised>,
}

/// A command and its supervisor.
struct Supervised {
    pid: Pid,
    process: OwnedFd,
    /// From here on the supervisor itself is ended.
    overdue: Instant,
    control: UnixStream,
    held: Held,
    temporary: Option<Directory>,
}

/// The whole of a process's life.
pub fn main() -> ExitCode {
    match connect().and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        // The other end has gone, and with it whoever could be told.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Takes the connection from standard input, where commands will have nothing.
fn connect() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    drop(null);
    privileges::close_all_but(&[socket.as_fd()])?;
    Ok(socket.into())
}

fn serve(socket: UnixStream) -> io::Result<()> {
    let setup: Setup = wire::receive(&socket)?;
    privileges::stand_apart()?;
    let temporary = (!setup.walls.namespaces).then(|| Temporary::new(&setup.temporary)).transpose();
    let (temporary, ready) = match temporary {
        Ok(temporary) => (temporary, Ready::new(setup)),
        Err(error) => (None, Err(Failure::new("temporary", error.to_string()))),
    };
    let mut steward = Steward { ready, temporary, repositories: Repositories::default(), commands: Vec::new() };
    let mut socket = Some(socket);
    while socket.is_some() || !steward.commands.is_empty() {
        if steward.wait(socket.as_ref())? {
            match socket.as_ref().map_or(Ok(None), wire::receive_head) {
                Ok(Some(head)) => steward.start(head),
                // Commands end by themselves: their own connections are gone as well.
                Ok(None) => socket = None,
                // One command's handles did not arrive, as where there were no descriptors left; its connection has ended.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        steward.clear_up();
    }
    Ok(())
}

impl Steward {
    /// Waits for something to do; whether the service has said something.
    fn wait(&self, socket: Option<&UnixStream>) -> io::Result<bool> {
        let mut all: Vec<PollFd<'_>> = socket.iter().map(|socket| PollFd::new(*socket, PollFlags::IN)).collect();
        all.extend(self.commands.iter().map(|command| PollFd::new(&command.process, PollFlags::IN)));
        let overdue = self.commands.iter().map(|command| command.overdue).min();
        let left = overdue.map(|overdue| timespec(overdue.saturating_duration_since(Instant::now())));
        match poll(&mut all, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(socket.is_some() && !all[0].revents().is_empty()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Forks the supervisor of a command, or says why there is none.
    fn start(&mut self, head: Head) {
        let control = match head.handles.control.try_clone() {
            Ok(control) => UnixStream::from(control),
            // The service sees that the connection has ended.
            Err(_) => return,
        };
        match self.try_start(head) {
            Ok((process, kept, temporary, overdue)) => {
                let Forked { pid, process } = process;
                self.commands.push(Supervised { pid, process, overdue, control, held: kept, temporary });
            }
            Err(failure) => {
                let _ = wire::send(&control, &Report::from(failure));
                let _ = wire::send(&control, &Aftermath { repository: Repository::Unchanged });
            }
        }
    }

    fn try_start(&mut self, head: Head) -> Result<(Forked, Held, Option<Directory>, Instant), Failure> {
        let overdue = Instant::now() + head.patience;
        let ready = self.ready.as_mut().map_err(|failure| failure.clone())?;
        ready.refresh()?;
        let failed = |error: io::Error| Failure::new(WORKSPACE, error.to_string());
        let kept = self.repositories.hold(&head.handles.workspace).map_err(failed)?;
        let temporary = self.temporary.as_mut().map(Temporary::give).transpose();
        let temporary = temporary.map_err(|error| Failure::new("temporary", error.to_string()))?;
        match fork(ready.walls(), head.handles.group.as_ref().map(AsFd::as_fd)) {
            Ok(Some(supervisor)) => Ok((supervisor, kept, temporary, overdue)),
            Ok(None) => live(ready, head, temporary),
            Err(failure) => {
                if let (Some(all), Some(temporary)) = (&mut self.temporary, temporary) {
                    all.take(temporary);
                }
                Err(failure)
            }
        }
    }

    /// Ends supervisors that are overdue, and finishes with those that have gone.
    fn clear_up(&mut self) {
        let now = Instant::now();
        for command in self.commands.iter_mut().filter(|command| command.overdue <= now) {
            // Gone already, if it fails.
            let _ = rustix::process::kill_process(command.pid, Signal::KILL);
            // It may take its time to go.
            command.overdue = now + AGAIN;
        }
        let gone = |command: &mut Supervised| {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            !matches!(rustix::process::waitid(WaitId::PidFd(command.process.as_fd()), options), Ok(None))
        };
        for command in self.commands.extract_if(.., gone) {
            let Supervised { control, held, temporary, .. } = command;
            if let (Some(all), Some(temporary)) = (&mut self.temporary, temporary) {
                all.take(temporary);
            }
            let _ = wire::send(&control, &Aftermath { repository: held.release() });
        }
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
