//! Looks after what a repository would run later, outside: what a command has changed of it is put back when it is over.
//! A private root keeps what is there from being written in the first place; what was not there can still be made.
//!
//! ```text
//!  hold ────► Snapshot of the workspace ◄── find: the git directories, all that `git status` goes into
//!               │                             └── index: the submodules that git knows (reading: not too much of it)
//!  release ─► settle: what was there is as it was · what is new is tame (config: only what git itself writes)
//!               │           · an index that is not understood is the one before, or none
//!               └── thing: files, links and directories, by the workspace's handle
//! ```
//!
//! In a git directory `hooks` and `config` are looked after, and what leads git to others. The workspace's own also stays
//! what git takes for a repository: else it would take the workspace itself for one, and read its `config`.
//!
//! Several commands may work in one workspace at a time, or in one that lies in another's (nested). What the first one
//! found is what the last one leaves; so none of them can make another's handiwork look like the way it always was.
//!
//! Deliberately absent: repositories in the workspace that its own does not name as submodules, and what the user's own
//! config or a link in its place leads to (`core.hooksPath`, `include.path`).

mod config;
mod find;
mod index;
mod nested;
mod reading;
mod snapshot;
mod tame;
#[cfg(test)]
mod tests;
mod thing;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use self::find::{Indexes, Role, find};
use self::reading::Reading;
use self::snapshot::Snapshot;

/// What is looked after in a git directory: what is run, and what says what is run or where that is said.
const GUARDED: &[&str] = &["hooks", "config", "config.worktree", "commondir"];

/// Each costs a command some microseconds, so there are not more; what has none is put back.
const MOST_MOUNTS: usize = 32;

/// A workspace, by its device and inode.
type Key = (u64, u64);

/// The repositories in which commands are running.
#[derive(Clone, Default)]
pub(super) struct Repositories(Arc<Mutex<HashMap<Key, Watched>>>);

struct Watched {
    commands: usize,
    before: Arc<Snapshot>,
    workspace: Dir,
}

/// One command's part in it.
pub(super) struct Held {
    all: Repositories,
    key: Key,
    workspace: Option<Dir>,
}

/// What became of a repository's hooks and config while a command ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repository {
    /// They are as they were.
    Unchanged,
    /// They were changed, and put back.
    PutBack,
    /// They were changed, and could not be put back.
    Changed,
}

/// What a private root mounts over itself.
pub(super) struct Mount {
    /// From the workspace.
    pub(super) path: PathBuf,
    /// Whether nothing in it may be written. If not, it just cannot be moved.
    pub(super) read_only: bool,
}

/// What of a workspace's git directories is to be mounted; what is not there is passed over.
pub(super) fn mounts(workspace: BorrowedFd<'_>) -> io::Result<Vec<Mount>> {
    let dir = Dir::from_std_file(File::from(workspace.try_clone_to_owned()?));
    let found = find(&dir, MOST_MOUNTS, Indexes::Leave, &mut Reading::default());
    let mut mounts = Vec::new();
    // Git itself writes the config of submodules when it brings them up to date, what it was before: that is put back only.
    for dir in found.dirs.iter().filter_map(|(dir, role)| (*role == Role::Top).then_some(dir)) {
        if !dir.as_os_str().is_empty() {
            mounts.push(Mount { path: dir.clone(), read_only: false });
        }
        mounts.extend(GUARDED.iter().map(|name| Mount { path: dir.join(name), read_only: true }));
    }
    mounts.extend(found.pointers.keys().map(|path| Mount { path: path.clone(), read_only: true }));
    mounts.truncate(MOST_MOUNTS);
    Ok(mounts)
}

impl Repositories {
    /// Takes note of how things are, unless another command is at work here already.
    pub(super) fn hold(&self, workspace: &OwnedFd) -> io::Result<Held> {
        let stat = rustix::fs::fstat(workspace)?;
        let key = (stat.st_dev, stat.st_ino);
        let dir = Dir::from_std_file(File::from(workspace.as_fd().try_clone_to_owned()?));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = all.get_mut(&key) {
            watched.commands += 1;
        } else {
            let mut before = Snapshot::of(&dir)?;
            for other in all.values() {
                before.agree(&dir, &other.before, &other.workspace)?;
            }
            all.insert(key, Watched { commands: 1, before: Arc::new(before), workspace: dir.try_clone()? });
        }
        Ok(Held { all: self.clone(), key, workspace: Some(dir) })
    }
}

impl Held {
    /// Puts back what has changed.
    pub(super) fn release(mut self) -> Repository {
        self.put_back()
    }

    fn put_back(&mut self) -> Repository {
        let Some(dir) = self.workspace.take() else { return Repository::Unchanged };
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watched) = all.get_mut(&self.key) else { return Repository::Unchanged };
        watched.commands -= 1;
        let done = match watched.before.settle(&dir) {
            Ok(false) => Repository::Unchanged,
            Ok(true) => Repository::PutBack,
            Err(error) => {
                tracing::error!(%error, "a command changed a repository's hooks or config, and they could not be put back");
                Repository::Changed
            }
        };
        if watched.commands == 0 {
            all.remove(&self.key);
        }
        done
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.put_back();
    }
}
