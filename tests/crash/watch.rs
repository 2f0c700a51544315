//! What a life of the service takes of the machine: looked at from outside, all the while.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::common::Service;

/// How often it is looked at, for the most there ever was.
const LOOKS: Duration = Duration::from_millis(20);

/// One look, or the most of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// In KiB.
    pub memory: u64,
    pub files: u64,
    pub threads: u64,
    pub children: u64,
    /// The write-ahead log, in KiB.
    pub log: u64,
}

/// Looks at a service until it is dropped.
pub struct Watch {
    process: PathBuf,
    log: PathBuf,
    most: Arc<Mutex<Look>>,
    _until: DropGuard,
}

impl Watch {
    pub fn on(service: &Service) -> Self {
        let process = PathBuf::from(format!("/proc/{}", service.pid()));
        let log = service.home.output().join("codex-agent.db-wal");
        let (most, until) = (Arc::<Mutex<Look>>::default(), CancellationToken::new());
        let watch = Self { process, log, most, _until: until.clone().drop_guard() };
        let (process, log, most) = (watch.process.clone(), watch.log.clone(), Arc::clone(&watch.most));
        tokio::spawn(until.run_until_cancelled_owned(async move {
            let mut looks = tokio::time::interval(LOOKS);
            while let Some(look) = Look::at(&process, &log) {
                most.lock().unwrap().or(look);
                looks.tick().await;
            }
        }));
        watch
    }

    pub fn now(&self) -> Look {
        Look::at(&self.process, &self.log).unwrap()
    }

    pub fn most(&self) -> Look {
        *self.most.lock().unwrap()
    }
}

impl Look {
    /// Nothing if there is no such process any more.
    fn at(process: &Path, log: &Path) -> Option<Self> {
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        // The service hides its descriptors from other users, but not how many there are.
        let files = process.join("fd").metadata().ok()?.len();
        let children = std::fs::read_dir(process.join("task")).ok()?.filter_map(|thread| {
            let children = std::fs::read_to_string(thread.ok()?.path().join("children")).ok()?;
            Some(children.split_whitespace().count() as u64)
        });
        Some(Self {
            // A process that has ended and is not waited for has none.
            memory: number("VmRSS:")?,
            files,
            threads: number("Threads:")?,
            children: children.sum(),
            log: log.metadata().map_or(0, |log| log.len()) / 1024,
        })
    }

    fn or(&mut self, other: Self) {
        *self = Self {
            memory: self.memory.max(other.memory),
            files: self.files.max(other.files),
            threads: self.threads.max(other.threads),
            children: self.children.max(other.children),
            log: self.log.max(other.log),
        };
    }
}
