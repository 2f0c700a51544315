//! Looks at what a command uses, all of its processes together, and says when it is too much.
//!
//! The kernel's own limits hold for one process each; what eight of them take together only somebody who adds it up
//! can tell. Between two looks a command can take more than its limit: how much more is bounded by how fast memory and
//! disk can be written, and by the limits for one process.
//!
//! Of a process that comes and goes between two looks only what a parent has taken over by waiting for it is seen, or what
//! it has left on the disk. A control group knows better, where there is one.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::super::cgroup::Meter;
use super::super::limits::{Limit, Limits};
use super::super::spec::Spec;
use super::account::{Entry, Ledger};
use super::disk::Disk;
use super::processes::{Processes, Usage, proportional, usage, written};
use super::shared::Shared;

pub(super) use super::processes::kill_descendants;

/// Processes that share their memory with each other and are not taken for more than they are.
const ASKED: usize = 16;

/// A page, as the kernel counts them for a process.
const PAGE: u64 = 4096;

/// The clock's ticks in a second, as `/proc` counts processor time: the same on every Linux of these processors.
const TICKS: u64 = 100;

pub(super) struct Watch<'a> {
    spec: &'a Spec,
    processes: Processes,
    /// The account of the control group that the command is in.
    meter: Option<&'a Meter>,
    time: Ledger,
    /// The time was over its limit at the last look.
    late: bool,
    bytes: Ledger,
    /// The last that each process told of what it has written.
    told: HashMap<(i32, u64), u64>,
    /// What was written was over its limit at the last look.
    heavy: bool,
    disk: Disk,
    shared: Shared,
}

impl<'a> Watch<'a> {
    pub(super) fn new(spec: &'a Spec, meter: Option<&'a Meter>) -> Self {
        // With a process namespace the list is its own, and this process is number 1 in it.
        let ancestor = rustix::process::getpid().as_raw_nonzero().get();
        let mut places = vec![spec.workspace.clone()];
        if !spec.walls.namespaces {
            // In a private root it is memory, and has its own bound.
            places.push(spec.temporary.clone());
        }
        Self {
            spec,
            processes: Processes::new(PathBuf::from("/proc"), ancestor),
            meter,
            time: Ledger::default(),
            late: false,
            bytes: Ledger::default(),
            told: HashMap::new(),
            heavy: false,
            disk: Disk::new(places, spec.limits.disk),
            shared: Shared::new(),
        }
    }

    /// The limit that the command is over, if it is over one.
    pub(super) fn exceeded(&mut self) -> Option<Limit> {
        let limits: &Limits = &self.spec.limits;
        if let Some(limit) = self.exceeded_in_group(limits) {
            return Some(limit);
        }
        let processes = self.processes.look();
        if processes.values().map(|usage| usage.threads).sum::<u64>() > limits.processes {
            return Some(Limit::Processes);
        }
        let ticks = self.ticks(&processes);
        let late = Duration::from_millis(ticks * 1000 / TICKS) > limits.cpu;
        // Twice: a child that is just being taken over may be read in its parent's account and in its own.
        if std::mem::replace(&mut self.late, late) && late {
            return Some(Limit::Cpu);
        }
        let segments = if self.spec.walls.namespaces { segments() } else { 0 };
        if self.memory_of(&processes, segments) > limits.memory {
            return Some(Limit::Memory);
        }
        let heavy = self.written(&processes) > limits.disk;
        let heavy = std::mem::replace(&mut self.heavy, heavy) && heavy;
        (heavy || self.disk.filled(&self.processes.proc, processes.keys())).then_some(Limit::Disk)
    }

    /// The limit that the kernel has noticed by itself, or the time that it has counted.
    fn exceeded_in_group(&self, limits: &Limits) -> Option<Limit> {
        let usage = self.meter?.usage().ok()?;
        let noticed = [
            (usage.oom_kills > 0, Limit::Memory),
            (usage.forks_refused > 0, Limit::Processes),
            (usage.cpu > limits.cpu, Limit::Cpu),
        ];
        noticed.into_iter().find_map(|(over, limit)| over.then_some(limit))
    }

    /// The memory of all, in bytes; exact only where it comes near the limit.
    fn memory_of(&self, processes: &HashMap<i32, Usage>, segments: u64) -> u64 {
        let resident = segments + processes.values().map(|usage| usage.pages * PAGE).sum::<u64>();
        if resident + self.shared.grown() <= self.spec.limits.memory {
            return resident;
        }
        let crowd = processes.len() > ASKED;
        if crowd && resident > self.spec.limits.memory {
            return resident;
        }
        let proc = &self.processes.proc;
        let shared = self.shared.of(proc, processes.keys());
        // What processes share was counted for each of them: only now it is worth to ask for each one's part, and only of
        // a few. To tell, the kernel waits for a lock of each process, and a crowd of them can make that take minutes.
        let parts = || processes.keys().map(|pid| proportional(proc, *pid)).collect::<Option<Vec<_>>>();
        match (!crowd).then(parts).flatten() {
            Some(parts) => {
                let seen = parts.iter().map(|part| part.shared).sum::<u64>();
                segments + parts.iter().map(|part| part.all).sum::<u64>() + shared.saturating_sub(seen)
            }
            None => resident.max(shared),
        }
    }

    /// The processor time of all, those included that have ended.
    fn ticks(&mut self, processes: &HashMap<i32, Usage>) -> u64 {
        let entry = |usage: &Usage| Entry {
            parent: usage.parent,
            started: usage.started,
            total: usage.ticks + usage.taken,
            taken: usage.taken,
        };
        let mut entries: HashMap<i32, Entry> = processes.iter().map(|(pid, usage)| (*pid, entry(usage))).collect();
        // What has lost its parent is waited for by the ancestor; its own time is not the command's.
        if let Some((pid, usage)) = self.ancestor() {
            entries.insert(pid, Entry { total: usage.taken, ..entry(&usage) });
        }
        self.time.look(entries)
    }

    /// The bytes that all have written, those included that have ended. The accounts do not tell a process's own from
    /// those it has taken over.
    fn written(&mut self, processes: &HashMap<i32, Usage>) -> u64 {
        let mut told = HashMap::new();
        let mut entries = HashMap::new();
        for (pid, usage) in processes.iter().map(|(pid, usage)| (*pid, *usage)).chain(self.ancestor()) {
            let key = (pid, usage.started);
            let bytes = match written(&self.processes.proc, pid) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => self.told.get(&key).copied().unwrap_or(0),
                Err(_) => continue,
            };
            told.insert(key, bytes);
            let Usage { parent, started, .. } = usage;
            entries.insert(pid, Entry { parent, started, total: bytes, taken: bytes });
        }
        self.told = told;
        self.bytes.look(entries)
    }

    fn ancestor(&self) -> Option<(i32, Usage)> {
        let ancestor = self.processes.ancestor;
        Some((ancestor, usage(&self.processes.proc, ancestor)?))
    }
}

/// The memory in System V segments of this IPC namespace, which is the command's: it stays when nobody is attached.
fn segments() -> u64 {
    let text = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let Some(column) = lines.next().and_then(|mut head| head.position(|name| name == "rss")) else { return 0 };
    lines.filter_map(|mut line| line.nth(column)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::super::limits::Limits;
    use super::super::super::spec::{Job, Network, Spec, Walls};
    use super::super::super::view::View;
    use super::*;

    #[test]
    fn the_groups_account_ends_what_no_process_shows() {
        let dir = tempfile::tempdir().unwrap();
        let spend = |micros: u64| fs::write(dir.path().join("cpu.stat"), format!("usage_usec {micros}\n")).unwrap();
        let spec = Spec {
            walls: Walls { namespaces: false, landlock: true, seccomp: true },
            network: Network::None,
            view: View::new(&[], &[], None, &[]).unwrap(),
            // Of this process and its children, which others may have started, nothing is too much.
            limits: Limits {
                memory: u64::MAX / 4,
                processes: 100_000,
                cpu: Duration::from_hours(1),
                ..Limits::default()
            },
            job: Job::Run { programs: Vec::new(), argv: Vec::new() },
            environment: Vec::new(),
            workspace: dir.path().to_owned(),
            workdir: PathBuf::new(),
            temporary: dir.path().to_owned(),
            timeout: Duration::from_hours(1),
        };
        spend(5_000_000);
        let meter = Meter::new(fs::File::open(dir.path()).unwrap().into()).unwrap();
        let mut watch = Watch::new(&spec, Some(&meter));
        assert_eq!(watch.exceeded(), None);
        spend(3_606_000_000);
        assert_eq!(watch.exceeded(), Some(Limit::Cpu));
    }
}
