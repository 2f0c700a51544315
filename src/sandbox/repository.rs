//! Looks after what a repository would run later, outside: what a command has changed of it is put back when it is over.
//! A private root keeps what is there from being written in the first place; what was not there can still be made.
//!
//! Several commands may work in one workspace at a time. What the first one found is what the last one leaves; so none of
//! them can make another's handiwork look like the way it always was.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::{Dir, MetadataExt, OpenOptionsExt, PermissionsExt};
use serde::{Deserialize, Serialize};

use super::remove::remove_tree_at;

/// What is looked after, in `.git`. The mounts in `supervisor/root.rs` protect the same.
const NAMES: &[&str] = &["hooks", "config", "config.worktree", "commondir"];

/// More than any repository has in them; a command would not be run rather than run unwatched.
const MOST_FILES: usize = 1000;
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A workspace, by its device and inode.
type Key = (u64, u64);

/// The repositories in which commands are running.
#[derive(Clone, Default)]
pub(super) struct Repositories(Arc<Mutex<HashMap<Key, Watched>>>);

struct Watched {
    commands: usize,
    before: Snapshot,
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

/// What there was: by its path from the workspace, sorted, so that a directory comes before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Snapshot(Vec<(PathBuf, Thing)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Directory,
    File { mode: u32, content: Vec<u8> },
    Link(PathBuf),
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
            all.insert(key, Watched { commands: 1, before: Snapshot::of(&dir)? });
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
        let before = watched.before.clone();
        let changed = Snapshot::of(&dir).map_or(true, |now| now != before);
        let mut done = if changed { Repository::PutBack } else { Repository::Unchanged };
        if changed && let Err(error) = before.restore(&dir) {
            tracing::error!(%error, "a command changed a repository's hooks or config, and they could not be put back");
            done = Repository::Changed;
        }
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

impl Snapshot {
    fn of(workspace: &Dir) -> io::Result<Self> {
        let mut snapshot = Self::default();
        let git = Path::new(".git");
        match kind(workspace, git)? {
            // Who has no repository here may make one.
            None => return Ok(snapshot),
            Some(Thing::Directory) => {}
            Some(pointer) => {
                snapshot.0.push((git.to_owned(), pointer));
                return Ok(snapshot);
            }
        }
        snapshot.0.push((git.to_owned(), Thing::Directory));
        for name in NAMES {
            snapshot.add(workspace, &git.join(name), &mut 0)?;
        }
        snapshot.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(snapshot)
    }

    fn add(&mut self, workspace: &Dir, path: &Path, bytes: &mut u64) -> io::Result<()> {
        let Some(thing) = kind(workspace, path)? else { return Ok(()) };
        if let Thing::File { content, .. } = &thing {
            *bytes += content.len() as u64;
        }
        if self.0.len() >= MOST_FILES || *bytes > MOST_BYTES {
            return Err(io::Error::other("there is too much in .git/hooks to be looked after"));
        }
        let is_dir = thing == Thing::Directory;
        self.0.push((path.to_owned(), thing));
        if is_dir {
            for entry in workspace.read_dir(path)? {
                self.add(workspace, &path.join(entry?.file_name()), bytes)?;
            }
        }
        Ok(())
    }

    /// Makes it as it was. All paths are taken from the workspace's handle and none of them leads out of it.
    fn restore(&self, workspace: &Dir) -> io::Result<()> {
        let git = Path::new(".git");
        let was_there = |path: &Path| self.0.iter().any(|(known, _)| known == path);
        if !was_there(git) {
            return Ok(());
        }
        if kind(workspace, git)?.is_some_and(|now| (now == Thing::Directory) != self.holds_dir(git)) {
            remove(workspace, git)?;
        }
        if self.holds_dir(git) {
            if kind(workspace, git)? == Some(Thing::Directory) {
                // Whoever closed it had the same rights as this process.
                workspace.set_permissions(git, cap_std::fs::Permissions::from_mode(0o755))?;
            }
            for name in NAMES {
                remove(workspace, &git.join(name))?;
            }
        }
        for (path, thing) in &self.0 {
            match thing {
                Thing::Directory => match workspace.create_dir(path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                },
                Thing::Link(target) => workspace.symlink_contents(target, path)?,
                Thing::File { mode, content } => {
                    let parent = workspace.open_dir(path.parent().unwrap_or(git))?;
                    let mut file = cap_tempfile::TempFile::new(&parent)?;
                    file.write_all(content)?;
                    file.as_file().set_permissions(cap_std::fs::Permissions::from_mode(*mode))?;
                    file.replace(path.file_name().unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }

    fn holds_dir(&self, path: &Path) -> bool {
        self.0.iter().any(|(known, thing)| known == path && *thing == Thing::Directory)
    }
}

/// What lies there, if something does. Pipes and devices count as nothing: nobody runs them.
fn kind(workspace: &Dir, path: &Path) -> io::Result<Option<Thing>> {
    let metadata = match workspace.symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        metadata => metadata?,
    };
    if metadata.is_dir() {
        return Ok(Some(Thing::Directory));
    }
    if metadata.is_symlink() {
        return Ok(Some(Thing::Link(workspace.read_link_contents(path)?)));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.size() > MOST_BYTES {
        return Err(io::Error::other(format!("{} is too large to be looked after", path.display())));
    }
    // A pipe may have come in its place, and to open one would be to wait for its other end.
    let mut options = cap_std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = workspace.open_with(path, &options)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut content)?;
    Ok(Some(Thing::File { mode: metadata.mode() & 0o7777, content }))
}

fn remove(workspace: &Dir, path: &Path) -> io::Result<()> {
    match workspace.symlink_metadata(path) {
        // The directory above is opened as one that lies in the workspace; from there on no link is followed.
        Ok(metadata) if metadata.is_dir() => match (path.parent(), path.file_name()) {
            (Some(above), Some(name)) if !above.as_os_str().is_empty() => {
                remove_tree_at(workspace.open_dir(above)?.as_fd(), Path::new(name))
            }
            _ => remove_tree_at(workspace.as_fd(), path),
        },
        Ok(_) => workspace.remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn workspace() -> (tempfile::TempDir, OwnedFd) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".git/hooks/deep")).unwrap();
        fs::write(home.path().join(".git/config"), "[core]\n").unwrap();
        fs::write(home.path().join(".git/hooks/deep/x"), "x").unwrap();
        symlink("deep/x", home.path().join(".git/hooks/pre-commit")).unwrap();
        let handle = File::open(home.path()).unwrap().into();
        (home, handle)
    }

    fn state(home: &tempfile::TempDir) -> Snapshot {
        Snapshot::of(&Dir::open_ambient_dir(home.path(), cap_std::ambient_authority()).unwrap()).unwrap()
    }

    #[test]
    fn what_a_command_did_to_hooks_and_config_is_put_back() {
        let (home, handle) = workspace();
        let (git, before) = (home.path().join(".git"), state(&home));
        let attacks: &[fn(&Path)] = &[
            |git| fs::write(git.join("config"), "[core]\nfsmonitor = evil\n").unwrap(),
            |git| fs::write(git.join("hooks/post-checkout"), "evil").unwrap(),
            |git| fs::remove_dir_all(git.join("hooks")).unwrap(),
            |git| fs::remove_file(git.join("config")).unwrap(),
            |git| fs::write(git.join("config.worktree"), "evil").unwrap(),
            |git| {
                fs::rename(git, git.with_extension("aside")).unwrap();
                fs::create_dir(git).unwrap();
                fs::write(git.join("config"), "evil").unwrap();
            },
            |git| {
                fs::rename(git, git.with_extension("other")).unwrap();
                symlink("/etc", git).unwrap();
            },
            |git| {
                fs::remove_dir_all(git.join("hooks")).unwrap();
                symlink("/etc", git.join("hooks")).unwrap();
            },
            |git| {
                fs::write(git.join("hooks/pre-commit.sample"), "evil").unwrap();
                for dir in ["hooks", ""] {
                    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o555);
                    fs::set_permissions(git.join(dir), closed).unwrap();
                }
            },
            |git| {
                let mut at = fs::File::open(git.join("hooks")).unwrap();
                for _ in 0..5000 {
                    rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
                    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
                    at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).unwrap().into();
                }
            },
        ];
        for (number, attack) in attacks.iter().enumerate() {
            let held = Repositories::default().hold(&handle).unwrap();
            attack(&git);
            assert_eq!(held.release(), Repository::PutBack, "attack {number} was not seen");
            assert_eq!(state(&home), before, "attack {number}");
        }
        assert_eq!(Repositories::default().hold(&handle).unwrap().release(), Repository::Unchanged);
    }

    #[test]
    fn of_several_commands_none_makes_its_work_the_way_it_was() {
        let (home, handle) = workspace();
        let (config, all) = (home.path().join(".git/config"), Repositories::default());
        let first = all.hold(&handle).unwrap();
        fs::write(&config, "evil").unwrap();
        let second = all.hold(&handle).unwrap();
        assert_eq!(first.release(), Repository::PutBack);
        assert_eq!(fs::read_to_string(&config).unwrap(), "[core]\n");
        fs::write(&config, "evil").unwrap();
        drop(second);
        assert_eq!(fs::read_to_string(&config).unwrap(), "[core]\n");
        assert!(all.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_repository_may_be_made_where_there_was_none() {
        let home = tempfile::tempdir().unwrap();
        let held = Repositories::default().hold(&File::open(home.path()).unwrap().into()).unwrap();
        fs::create_dir_all(home.path().join(".git/hooks")).unwrap();
        held.release();
        assert!(home.path().join(".git/hooks").exists());
    }
}
