//! The processes of a command, as `/proc` shows them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

/// A pid may be used again, so what was found to be a stranger's is looked at again after so many looks.
const STRANGERS_KEPT: u32 = 20;

/// What one process uses. Times are in the clock's ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub parent: i32,
    pub threads: u64,
    pub ticks: u64,
    /// Of the children it has waited for.
    pub taken: u64,
    pub pages: u64,
    pub started: u64,
}

/// Finds them, look by look.
#[derive(Debug)]
pub(super) struct Processes {
    /// Where processes are listed.
    pub proc: PathBuf,
    /// The process that all of them descend from.
    pub ancestor: i32,
    strangers: HashSet<i32>,
    /// Those of the last look, with their beginnings: what belongs to the command once does so for ever.
    known: HashMap<i32, u64>,
    looks: u32,
}

impl Processes {
    pub(super) fn new(proc: PathBuf, ancestor: i32) -> Self {
        Self { proc, ancestor, strangers: HashSet::new(), known: HashMap::new(), looks: 0 }
    }

    /// All of them as they are now, without their ancestor.
    pub(super) fn look(&mut self) -> HashMap<i32, Usage> {
        let ancestor = self.ancestor;
        self.looks += 1;
        if self.looks.is_multiple_of(STRANGERS_KEPT) {
            self.strangers.clear();
        }
        let pids = numbers(&self.proc).into_iter().filter(|pid| !self.strangers.contains(pid));
        let all = all_of(&self.proc, pids);
        let mut ours = HashMap::new();
        for (pid, usage) in all.iter().filter(|(pid, _)| **pid != ancestor) {
            let parent = usage.parent;
            // If its parent went while it was read, the next look tells whose it is.
            let unclear = parent != 0 && !all.contains_key(&parent) && !self.strangers.contains(&parent);
            if self.known.get(pid) == Some(&usage.started) || descends(&all, *pid, ancestor) {
                ours.insert(*pid, *usage);
            } else if !unclear {
                self.strangers.insert(*pid);
            }
        }
        self.known = ours.iter().map(|(pid, usage)| (*pid, usage.started)).collect();
        ours
    }
}

/// Kills every process below this one that can be found. Where no wall keeps signals in this is all there is, and a command
/// that forks faster than it is read may get away from it.
pub(super) fn kill_descendants() {
    let proc = Path::new("/proc");
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let all = all_of(proc, numbers(proc));
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

fn all_of(proc: &Path, pids: impl IntoIterator<Item = i32>) -> HashMap<i32, Usage> {
    pids.into_iter().filter_map(|pid| Some((pid, usage(proc, pid)?))).collect()
}

fn numbers(proc: &Path) -> Vec<i32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub(super) fn usage(proc: &Path, pid: i32) -> Option<Usage> {
    parse(&fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?)
}

/// Whether a process is only there until somebody waits for it. One whose first thread has ended before others is not.
pub(super) fn has_ended(proc: &Path, pid: i32) -> bool {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rfind(')').and_then(|name| stat[name + 1..].trim_start().chars().next());
    matches!(state, Some('Z' | 'X')) && parse(&stat).is_some_and(|usage| usage.threads <= 1)
}

/// Reads a line of `/proc/PID/stat` (see proc(5)). The second field is the program's name and may contain anything.
fn parse(stat: &str) -> Option<Usage> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field N of the manual page is at N − 3.
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    Some(Usage {
        parent: fields.get(1)?.parse().ok()?,
        ticks: field(14)? + field(15)?,
        taken: field(16)? + field(17)?,
        threads: field(20)?,
        started: field(22)?,
        pages: field(24)?,
    })
}

/// A process's part of the memory that it has in its tables, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub all: u64,
    /// Of that, what is shared without a file.
    pub shared: u64,
}

pub(super) fn proportional(proc: &Path, pid: i32) -> Option<Part> {
    let text = fs::read_to_string(proc.join(pid.to_string()).join("smaps_rollup")).ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Some(Part { all: bytes("Pss:")?, shared: bytes("Pss_Shmem:").unwrap_or(0) })
}

/// What a process and the children it has waited for have written to disk, or would have if it had not been removed again
/// at once. None, if it keeps that from this user.
pub(super) fn written(proc: &Path, pid: i32) -> io::Result<Option<u64>> {
    let text = match fs::read_to_string(proc.join(pid.to_string()).join("io")) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        text => text?,
    };
    let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let both = number("write_bytes:").zip(number("cancelled_write_bytes:"));
    Ok(both.map(|(written, cancelled)| written.saturating_sub(cancelled)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_told_from_what_lives() {
        let (proc, me) = (Path::new("/proc"), rustix::process::getpid().as_raw_nonzero().get());
        assert!(!has_ended(proc, me));
        #[expect(clippy::disallowed_methods, reason = "a process to look at")]
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let begun = std::time::Instant::now();
        while !has_ended(proc, pid) {
            assert!(begun.elapsed() < std::time::Duration::from_mins(1));
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!has_ended(proc, pid), "it is not there any more");
    }

    #[test]
    fn a_name_cannot_forge_the_numbers_behind_it() {
        let stat = "7 (a) R 1 (b) S 5 7 7 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 3 0 999 1000 55 18446744073709551615";
        let usage = parse(stat).unwrap();
        assert_eq!(usage, Usage { parent: 5, threads: 3, ticks: 30, taken: 70, pages: 55, started: 999 });
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
        let (proc, me) = (Path::new("/proc"), rustix::process::getpid().as_raw_nonzero().get());
        let usage = usage(proc, me).unwrap();
        assert!(usage.threads > 0 && usage.pages > 0);
        assert!(proportional(proc, me).unwrap().all > 0);
        assert!(numbers(proc).contains(&me));
        written(proc, me).unwrap().unwrap();
    }

    /// A process table of files, with (pid, parent).
    fn lay_out(proc: &Path, processes: &[(i32, i32)]) {
        for entry in fs::read_dir(proc).unwrap().flatten() {
            fs::remove_dir_all(entry.path()).unwrap();
        }
        for (pid, parent) in processes {
            fs::create_dir(proc.join(pid.to_string())).unwrap();
            let stat = format!("{pid} (x) S {parent} 1 1 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 {pid}00 1000 5 0");
            fs::write(proc.join(format!("{pid}/stat")), stat).unwrap();
        }
    }

    #[test]
    fn whose_parent_went_meanwhile_is_no_stranger() {
        let proc = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(proc.path().to_owned(), 2);
        let mut look = |table: &[(i32, i32)]| {
            lay_out(proc.path(), table);
            let mut pids: Vec<i32> = processes.look().into_keys().collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(look(&[(1, 0), (2, 1), (3, 2), (4, 3), (8, 1)]), [3, 4]);
        // Known before, and new: the number of the parent stands in both.
        assert_eq!(look(&[(1, 0), (2, 1), (4, 3), (5, 3), (8, 1), (9, 8)]), [4]);
        assert_eq!(look(&[(1, 0), (2, 1), (4, 2), (5, 2), (8, 1), (9, 8)]), [4, 5]);
    }
}
