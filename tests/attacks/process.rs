//! The process table, as far as a command could have left something in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// More than any limit lets through; what gets here is stopped, so that a failing test does not take the machine along.
const RUNAWAY_PROCESSES: usize = 2000;
const RUNAWAY_MB: u64 = 8192;

/// One running process.
struct Process {
    pid: u32,
    parent: u32,
    line: String,
    directory: Option<PathBuf>,
}

/// The most that was seen of a command's processes, and of the service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    pub processes: usize,
    pub rss_mb: u64,
    pub service_rss_mb: u64,
    /// Whether somebody outside could connect to the port that was watched.
    pub connected: bool,
}

impl Peak {
    /// Looks once more.
    pub fn look(&mut self, service: u32, home: &Path, port: Option<u16>) {
        let commands = of_commands(service, home);
        self.processes = self.processes.max(commands.len());
        let rss = commands.iter().map(|pid| rss_mb(*pid)).sum();
        self.rss_mb = self.rss_mb.max(rss);
        self.service_rss_mb = self.service_rss_mb.max(rss_mb(service));
        self.connected |= port.is_some_and(|port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        if commands.len() > RUNAWAY_PROCESSES || rss > RUNAWAY_MB {
            for pid in commands {
                let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The command lines that have `word` in them and are not another run's.
pub fn with_line(word: &str, home: &Path) -> Vec<String> {
    let elsewhere = |process: &Process| {
        let directory = process.directory.as_deref().map(|path| path.to_string_lossy().into_owned());
        directory.is_some_and(|path| path.contains("/code/") && !path.starts_with(&*home.to_string_lossy()))
    };
    let here = all().into_iter().filter(|process| process.line.contains(word) && !elsewhere(process));
    here.map(|process| format!("{}: {}", process.pid, process.line)).collect()
}

/// What the service's steward started and what runs in the service's directories.
pub fn of_commands(service: u32, home: &Path) -> BTreeSet<u32> {
    let processes = all();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in &processes {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let code = home.join("code");
    let is_here = |process: &&Process| process.directory.as_deref().is_some_and(|path| path.starts_with(&code));
    let mut found: BTreeSet<u32> = processes.iter().filter(is_here).map(|process| process.pid).collect();
    let mut parents = stewards(&processes, service);
    let others = children.remove(&service).unwrap_or_default().into_iter().filter(|child| !parents.contains(child));
    found.extend(others);
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.insert(child);
            parents.push(child);
        }
    }
    found.remove(&service);
    found
}

/// The process that starts the service's commands, which is there before the first one.
pub fn steward(service: u32) -> Vec<u32> {
    stewards(&all(), service)
}

fn stewards(processes: &[Process], service: u32) -> Vec<u32> {
    let is_one = |process: &&Process| process.parent == service && process.line.ends_with("__supervise ");
    processes.iter().filter(is_one).map(|process| process.pid).collect()
}

/// Niceness, real-time priority, policy and processors of each of a process's threads.
pub fn priorities(pid: u32) -> BTreeMap<String, String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |path: &Path| {
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let processors = status.lines().find(|line| line.starts_with("Cpus_allowed:"))?;
        // Counted from the state, which is field 3 of the file: nice is 19, rt_priority 40, policy 41.
        Some(format!("nice {} rt {} policy {} {processors}", fields[16], fields[37], fields[38]))
    };
    let named = threads.filter_map(|entry| Some((entry.file_name().into_string().ok()?, of(&entry.path())?)));
    named.collect()
}

/// A process's resource limits, as the kernel words them.
pub fn limits(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap()
}

pub fn rss_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.unwrap_or(0) >> 10
}

fn all() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let read = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        Some(Process { pid, parent, line, directory: std::fs::read_link(entry.path().join("cwd")).ok() })
    };
    entries.filter_map(read).collect()
}
