//! Looks at what a command uses, all of its processes together, and says when it is too much.
//!
//! The kernel's own limits hold for one process each; what eight of them take together only somebody who adds it up
//! can tell. Between two looks a command can take more than its limit: how much more is bounded by how fast memory and
//! disk can be written, and by the limits for one process.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::super::limits::{Limit, Limits};
use super::super::spec::Spec;

/// Files that a command may leave in its workspace; they take room on a disk that their length does not show.
const FILES: u64 = 200_000;

/// Processes that share their memory with each other and are not taken for more than they are.
const ASKED: usize = 16;

/// A walk through a workspace takes no longer, so that time and connection are looked at again.
const WALK: Duration = Duration::from_millis(200);

/// A pid may be used again, so what was found to be a stranger's is looked at again after so many looks.
const STRANGERS_KEPT: u32 = 20;

/// A page, as the kernel counts them for a process.
const PAGE: u64 = 4096;

/// The clock's ticks in a second, as `/proc` counts processor time: the same on every Linux of these processors.
const TICKS: u64 = 100;

/// Where processes are listed.
const PROC: &str = "/proc";

/// What one process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    parent: i32,
    threads: u64,
    ticks: u64,
    pages: u64,
    started: u64,
}

pub(super) struct Watch<'a> {
    spec: &'a Spec,
    root: Pid,
    strangers: HashSet<i32>,
    looks: u32,
    /// The most that all processes together had written to disk at any look. To a parent's account the kernel adds that of
    /// the children it has waited for.
    written: u64,
    /// The room on the workspace's disk when the command began: bytes and files.
    room: Option<(u64, u64)>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(spec: &'a Spec, root: Pid) -> Self {
        Self { spec, root, strangers: HashSet::new(), looks: 0, written: 0, room: room(&spec.workspace) }
    }

    /// The limit that the command is over, if it is over one.
    pub(super) fn exceeded(&mut self) -> Option<Limit> {
        let limits: &Limits = &self.spec.limits;
        let processes = self.processes();
        if processes.values().map(|usage| usage.threads).sum::<u64>() > limits.processes {
            return Some(Limit::Processes);
        }
        let ticks = processes.values().map(|usage| usage.ticks).sum::<u64>();
        if Duration::from_millis(ticks * 1000 / TICKS) > limits.cpu {
            return Some(Limit::Cpu);
        }
        let proc = Path::new(PROC);
        let shared = if self.spec.walls.namespaces { segments() } else { 0 };
        let resident = shared + processes.values().map(|usage| usage.pages * PAGE).sum::<u64>();
        // What processes share was counted for each of them: only now it is worth to ask for each one's part, and only of
        // a few. To tell, the kernel waits for a lock of each process, and a crowd of them can make that take minutes.
        if resident > limits.memory {
            let few = processes.len() <= ASKED;
            let parts = || processes.keys().map(|pid| proportional(proc, *pid)).sum::<Option<u64>>();
            if !few || parts().is_none_or(|parts| shared + parts > limits.memory) {
                return Some(Limit::Memory);
            }
        }
        let written = processes.keys().filter_map(|pid| written(proc, *pid)).sum::<u64>();
        self.written = self.written.max(written);
        (self.written > limits.disk || self.filled(limits.disk)).then_some(Limit::Disk)
    }

    /// Whether the workspace has grown too much by files that this command (or one beside it in the same workspace) has
    /// written since it began. It is walked only if its disk has lost that much.
    fn filled(&self, most: u64) -> bool {
        let (Some((bytes, files)), Some((bytes_now, files_now))) = (self.room, room(&self.spec.workspace)) else {
            return false;
        };
        if bytes.saturating_sub(bytes_now) <= most && files.saturating_sub(files_now) <= FILES {
            return false;
        }
        let since = fs::metadata(format!("/proc/{}", self.root.as_raw_nonzero())).map_or(0, |stat| stat.ctime());
        let (mut grown, mut count, mut dirs) = (0, 0, vec![self.spec.workspace.clone()]);
        let until = Instant::now() + WALK;
        while let Some(dir) = dirs.pop() {
            if Instant::now() > until {
                break;
            }
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(stat) = entry.metadata() else { continue };
                if stat.ctime() >= since {
                    count += 1;
                    grown += stat.blocks() * 512;
                }
                if stat.is_dir() {
                    dirs.push(entry.path());
                }
            }
            if grown > most || count > FILES {
                return true;
            }
        }
        false
    }

    fn processes(&mut self) -> HashMap<i32, Usage> {
        let proc = Path::new(PROC);
        let me = rustix::process::getpid().as_raw_nonzero().get();
        if self.spec.walls.namespaces {
            // The list is the command's own, but for this process.
            let pids = numbers(proc).into_iter().filter(|pid| *pid != me);
            return pids.filter_map(|pid| Some((pid, usage(proc, pid)?))).collect();
        }
        self.looks += 1;
        if self.looks.is_multiple_of(STRANGERS_KEPT) {
            self.strangers.clear();
        }
        let pids = numbers(proc).into_iter().filter(|pid| !self.strangers.contains(pid));
        let all: HashMap<i32, Usage> = pids.filter_map(|pid| Some((pid, usage(proc, pid)?))).collect();
        let (ours, strangers) = all.iter().partition::<HashMap<i32, Usage>, _>(|(pid, _)| descends(&all, **pid, me));
        self.strangers.extend(strangers.keys().filter(|pid| **pid != me));
        ours
    }
}

/// Kills every process below this one that can be found. Where no wall keeps signals in this is all there is, and a command
/// that forks faster than it is read may get away from it.
pub(super) fn kill_descendants() {
    let proc = Path::new("/proc");
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let all: HashMap<i32, Usage> = numbers(proc).into_iter().filter_map(|pid| Some((pid, usage(proc, pid)?))).collect();
    for pid in all.keys().filter(|pid| descends(&all, **pid, me)) {
        if let Some(pid) = Pid::from_raw(*pid) {
            // Gone already, if it fails.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Whether `pid` is below `ancestor`.
fn descends(all: &HashMap<i32, Usage>, pid: i32, ancestor: i32) -> bool {
    let mut at = pid;
    // No chain is longer than there are processes; a number that is used again could close one to a ring.
    for _ in 0..all.len() {
        match all.get(&at) {
            Some(usage) if usage.parent == ancestor => return true,
            Some(usage) => at = usage.parent,
            None => return false,
        }
    }
    false
}

fn numbers(proc: &Path) -> Vec<i32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn usage(proc: &Path, pid: i32) -> Option<Usage> {
    parse(&fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?)
}

/// Reads a line of `/proc/PID/stat` (see proc(5)). The second field is the program's name and may contain anything.
fn parse(stat: &str) -> Option<Usage> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field N of the manual page is at N − 3.
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    Some(Usage {
        parent: fields.get(1)?.parse().ok()?,
        ticks: field(14)? + field(15)? + field(16)? + field(17)?,
        threads: field(20)?,
        started: field(22)?,
        pages: field(24)?,
    })
}

/// A process's part of the memory it shares with others, in bytes.
fn proportional(proc: &Path, pid: i32) -> Option<u64> {
    let text = fs::read_to_string(proc.join(pid.to_string()).join("smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The memory in System V segments of this IPC namespace, which is the command's: it stays when nobody is attached.
fn segments() -> u64 {
    let text = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let Some(column) = lines.next().and_then(|mut head| head.position(|name| name == "rss")) else { return 0 };
    lines.filter_map(|mut line| line.nth(column)?.parse::<u64>().ok()).sum()
}

/// What a process has written to disk, or would have if it had not been removed again at once.
fn written(proc: &Path, pid: i32) -> Option<u64> {
    let text = fs::read_to_string(proc.join(pid.to_string()).join("io")).ok()?;
    let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(number("write_bytes:")?.saturating_sub(number("cancelled_write_bytes:")?))
}

/// The free bytes and files of the file system where `path` lies.
fn room(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_bavail * stat.f_frsize, stat.f_favail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_the_numbers_behind_it() {
        let stat = "7 (a) R 1 (b) S 5 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 3 0 999 1000 55 18446744073709551615";
        let usage = parse(stat).unwrap();
        assert_eq!(usage, Usage { parent: 5, threads: 3, ticks: 100, pages: 55, started: 999 });
        assert_eq!(parse("7 (a"), None);
    }

    #[test]
    fn descent_is_followed_and_a_ring_is_not_followed_for_ever() {
        let child_of = |parent| Usage { parent, ..Usage::default() };
        let all = HashMap::from([(2, child_of(1)), (3, child_of(2)), (4, child_of(5)), (5, child_of(4))]);
        assert!(descends(&all, 3, 1) && descends(&all, 2, 1));
        assert!(!descends(&all, 4, 1) && !descends(&all, 9, 1) && !descends(&all, 1, 1));
    }

    #[test]
    fn this_process_can_be_read() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let usage = usage(Path::new("/proc"), me).unwrap();
        assert!(usage.threads > 0 && usage.pages > 0);
        assert!(proportional(Path::new("/proc"), me).unwrap() > 0);
        assert!(numbers(Path::new("/proc")).contains(&me));
    }
}
