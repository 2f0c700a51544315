//! One group by its handle: what its processes have used, who is in it, and their end.
//!
//! A handle is good wherever it came from: a supervisor in a private root gets it from the service.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

/// Longer than any of these files, of which only a few lines are wanted.
const LONGEST: usize = 4096;

/// What all processes of a group have used since somebody began to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Usage {
    /// Processor time, also of those that have ended and that nobody waited for.
    pub cpu: Duration,
    /// Processes and threads there are; none where they are not counted.
    pub processes: Option<u64>,
    /// Processes that were ended because there was no more memory for the group.
    pub oom_kills: u64,
    /// New processes that were refused because there were too many in the group.
    pub forks_refused: u64,
}

/// Counts from where it was made.
#[derive(Debug)]
pub(in super::super) struct Meter {
    group: OwnedFd,
    begin: Usage,
    /// The processor time of this process is not what is asked for.
    without_me: bool,
}

impl Meter {
    /// Of a group's directory.
    pub(in super::super) fn new(group: OwnedFd) -> io::Result<Self> {
        let begin = total(group.as_fd())?;
        Ok(Self { group, begin, without_me: false })
    }

    pub(super) fn directory_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }

    /// Takes this process, which is in the group, out of its account.
    pub(in super::super) fn leave_out_this_process(&mut self) {
        self.without_me = true;
    }

    /// What has been used since.
    pub(in super::super) fn usage(&self) -> io::Result<Usage> {
        let now = total(self.group.as_fd())?;
        let mine = if self.without_me { processor_time() } else { Duration::ZERO };
        Ok(Usage {
            cpu: now.cpu.saturating_sub(self.begin.cpu).saturating_sub(mine),
            processes: now.processes,
            oom_kills: now.oom_kills.saturating_sub(self.begin.oom_kills),
            forks_refused: now.forks_refused.saturating_sub(self.begin.forks_refused),
        })
    }

    /// Moves a process into the group.
    #[cfg(test)]
    pub(in super::super) fn enter(&self, pid: i32) -> io::Result<()> {
        write(self.group.as_fd(), "cgroup.procs", &pid.to_string())
    }

    /// Ends every process in the group, those included that are just being forked.
    pub(in super::super) fn kill(&self) -> io::Result<()> {
        write(self.group.as_fd(), "cgroup.kill", "1")
    }
}

/// What this process has used so far: it was forked when the account began.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Whether anybody is alive in it.
pub(super) fn is_populated(group: BorrowedFd<'_>) -> bool {
    read(group, "cgroup.events").is_ok_and(|events| number(&events, "populated") != Some(0))
}

fn total(group: BorrowedFd<'_>) -> io::Result<Usage> {
    let time = read(group, "cpu.stat")?;
    let micros = number(&time, "usage_usec").ok_or_else(|| io::Error::other("cpu.stat has no usage_usec"))?;
    // These are there only with their controllers.
    let count = |file: &str, name: &str| read(group, file).ok().and_then(|text| number(&text, name)).unwrap_or(0);
    Ok(Usage {
        cpu: Duration::from_micros(micros),
        processes: read(group, "pids.current").ok().and_then(|text| text.trim().parse().ok()),
        oom_kills: count("memory.events", "oom_kill"),
        forks_refused: count("pids.events", "max"),
    })
}

/// The number behind a name that has a line of its own.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn read(group: BorrowedFd<'_>, file: &str) -> io::Result<String> {
    let file = rustix::fs::openat(group, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0; LONGEST];
    let length = rustix::io::read(&file, &mut bytes[..])?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn write(group: BorrowedFd<'_>, file: &str, text: &str) -> io::Result<()> {
    let file = rustix::fs::openat(group, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// This machine may have no such controllers in version 2: files of the same form stand in for them.
    #[test]
    fn what_controllers_tell_is_counted_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("cpu.stat", "usage_usec 1000\nuser_usec 900\nsystem_usec 100\n");
        put("memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 1\n");
        put("pids.events", "max 3\n");
        put("pids.current", "5\n");
        let meter = Meter::new(fs::File::open(dir.path()).unwrap().into()).unwrap();
        put("cpu.stat", "usage_usec 4500\nuser_usec 900\nsystem_usec 100\n");
        put("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 3\noom_group_kill 2\n");
        let usage = meter.usage().unwrap();
        let cpu = Duration::from_micros(3500);
        assert_eq!(usage, Usage { cpu, processes: Some(5), oom_kills: 1, forks_refused: 0 });
        put("cgroup.events", "populated 0\nfrozen 0\n");
        assert!(!is_populated(meter.directory_fd()));
    }
}
