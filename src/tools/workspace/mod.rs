//! The only way to a file.
//!
//! A workspace is a directory handle. Paths are resolved below it by the kernel's rules (`openat2` with
//! `RESOLVE_BENEATH`, or step by step where that is not to be had; both in cap-std), so neither `..` nor a symbolic
//! link nor a directory that is exchanged meanwhile leads out.
//!
//! ```text
//!   path ─► relative ─► open_file: kind by name ─► open ─► kind again        (what may be read)
//!                   └─► place: directory handle + name ─► git: may it be?    (what may be changed)
//!                            └─► replace: new file, renamed over the old one
//! ```
//!
//! Deliberately absent: writing into a file that exists. A new one takes its name, so that a reader sees the old or the
//! new text whole, and another name of the old file (a hard link, perhaps outside) keeps the old text.

mod git;
mod kind;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use cap_tempfile::TempFile;
use rustix::fs::{OFlags, ResolveFlags};

/// As many links as the system itself follows in one path.
const MAX_LINKS: usize = 40;

/// The bits of a file's mode that its successor takes over. Set-user-id and set-group-id are dropped: with them, text
/// that a brain chose would run with the rights of the file's owner. The kernel drops them on a write in place, too.
const KEPT_MODE: u32 = 0o1777;

/// One task's directory tree.
pub struct Workspace {
    dir: Dir,
    root: PathBuf,
}

/// Why a path leads to nothing that may be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// It names a place outside the workspace, directly or through a link.
    #[error("{0}: this path leads out of the workspace")]
    Outside(String),
    /// No name at all, or one with a NUL.
    #[error("{0:?} is not a path")]
    Invalid(String),
    /// It is a directory, a pipe, a device or a socket.
    #[error("{path}: is {what}, not a regular file")]
    NotAFile {
        /// As the caller named it.
        path: String,
        /// What it is instead.
        what: &'static str,
    },
    /// It says what git runs.
    #[error(
        "{0}: edit_file does not change what git runs (.git/hooks, .git/config, .git/config.worktree, .git/commondir, a \
         .git that is a file), nor what makes a directory a repository (.git/HEAD): it would run later, outside the sandbox; read_file may read it"
    )]
    Guarded(String),
    /// A task's workspace in a repository's own directory, where nothing would be guarded.
    #[error("{0}: no task works in a .git directory: what it writes there would run later, outside the sandbox")]
    InGit(String),
    /// The system denies it to the service's user.
    #[error("{0}: permission denied: the service's user has no right to this file or to a directory above it")]
    Denied(String),
    /// A link whose target does not exist, so that writing would create something elsewhere.
    #[error("{0}: is a symbolic link to nothing")]
    Dangling(String),
    /// Everything else the system says.
    #[error("{path}: {source}")]
    Io {
        /// As the caller named it.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl PathError {
    /// Whether the file is simply not there; one whose name is too long cannot be.
    pub fn is_not_found(&self) -> bool {
        let kind = match self {
            Self::Io { source, .. } => source.kind(),
            _ => return false,
        };
        matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename)
    }
}

impl Workspace {
    /// Opens `below` under `code_dir`, or `code_dir` itself.
    pub fn open(code_dir: &Path, below: Option<&str>) -> Result<Self, PathError> {
        let name = code_dir.display().to_string();
        let dir = Dir::open_ambient_dir(code_dir, ambient_authority());
        let root = Self { dir: dir.map_err(|error| io_error(&name, error))?, root: code_dir.to_owned() };
        let Some(below) = below else { return Ok(root) };
        let path = root.relative(below)?;
        if git::is_in_a_git_dir(&path) {
            return Err(PathError::InGit(below.to_owned()));
        }
        let dir = root.dir.open_dir(&path).map_err(|error| io_error(below, error))?;
        Ok(Self { dir, root: code_dir.join(path) })
    }

    /// Opens a regular file for reading. Whatever else lies there is refused by its name, without opening it: the mere
    /// opening of a device may do something, and that of a pipe waits for a writer.
    pub fn open_file(&self, path: &str) -> Result<File, PathError> {
        let relative = self.relative(path)?;
        let failed = |error| io_error(path, error);
        let named = self.dir.metadata(&relative).map_err(failed)?;
        kind::of_name(named.file_type()).map_or(Ok(()), |what| Err(not_a_file(path, what)))?;
        // What was exchanged since must not block, nor become the service's terminal.
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        let file = self.dir.open_with(relative, &options).map_err(failed)?.into_std();
        let metadata = file.metadata().map_err(failed)?;
        let what = kind::of_file(&file, &metadata).map_err(failed)?;
        what.map_or(Ok(file), |what| Err(not_a_file(path, what)))
    }

    /// Whether the way to a file is in memory, so that to open it takes no wait for a disk. `false` where the kernel
    /// cannot tell.
    pub(super) fn is_at_hand(&self, path: &str) -> bool {
        let Ok(relative) = self.relative(path) else { return false };
        let (flags, resolve) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::BENEATH | ResolveFlags::CACHED);
        rustix::fs::openat2(&self.dir, relative, flags, rustix::fs::Mode::empty(), resolve).is_ok()
    }

    /// A directory, as a handle for a command to start in.
    pub(super) fn directory(&self, path: &str) -> Result<OwnedFd, PathError> {
        let relative = self.relative(path)?;
        let dir = self.dir.open_dir(relative).map_err(|error| io_error(path, error))?;
        Ok(dir.into_std_file().into())
    }

    /// Whether a file may be changed, made or removed; nothing is made on the way.
    pub(super) fn may_change(&self, path: &str) -> Result<(), PathError> {
        match self.place(path, Missing::Left) {
            Err(error) if error.is_not_found() => Ok(()),
            place => place.map(drop),
        }
    }

    /// Puts `content` in the place of a file in one step, or makes the file and the directories above it. Mode and
    /// owner of an existing file are kept, and a link is followed, not replaced.
    pub fn replace(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        let (parent, name) = self.place(path, Missing::Made)?;
        let failed = |error| io_error(path, error);
        let mut file = TempFile::new(&parent).map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        if let Ok(old) = parent.symlink_metadata(&name) {
            // Only root can give a file away; for others the new file is theirs, as the old one will have been.
            let (owner, group) = (rustix::fs::Uid::from_raw(old.uid()), rustix::fs::Gid::from_raw(old.gid()));
            let _ = rustix::fs::fchown(file.as_file(), Some(owner), Some(group));
            let mode = cap_std::fs::Permissions::from_mode(old.permissions().mode() & KEPT_MODE);
            file.as_file().set_permissions(mode).map_err(failed)?;
        }
        file.replace(&name).map_err(failed)
    }

    /// Removes a file, or the file a link leads to.
    pub(super) fn remove(&self, path: &str) -> Result<(), PathError> {
        let (parent, name) = self.place(path, Missing::Left)?;
        parent.remove_file(name).map_err(|error| io_error(path, error))
    }

    /// The path as it is shown in a diff: below the workspace, without `.` and `..` that lead nowhere.
    pub(super) fn shown(&self, path: &str) -> Result<String, PathError> {
        let words = git::by_words(&self.relative(path)?);
        Ok(words.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join("/"))
    }

    /// The directory a file lies or will lie in, and its name there, links resolved. Each step is taken from a handle: a
    /// name that the system gives for a file (`/proc/self/fd`) is another one while the file is being replaced.
    fn place(&self, path: &str, missing: Missing) -> Result<(Dir, PathBuf), PathError> {
        let failed = |error| io_error(path, error);
        let mut relative = self.relative(path)?;
        for links in 0..MAX_LINKS {
            let words = relative.as_os_str().as_encoded_bytes();
            if words.ends_with(b"/") || words.ends_with(b"/.") {
                return Err(not_a_file(path, "named as a directory"));
            }
            let Some(name) = relative.file_name().map(PathBuf::from) else {
                return Err(not_a_file(path, "a directory"));
            };
            // The words are looked at before anything is made, and again where a link has changed them.
            if git::is_guarded_by_name(&git::by_words(&relative)) {
                return Err(PathError::Guarded(path.to_owned()));
            }
            let above = relative.parent().map(Path::to_owned).unwrap_or_default();
            let missing = if links > 0 { Missing::Left } else { missing };
            let Some(parent) = self.directory_for(path, &above, &name, missing)? else {
                let nothing = failed(rustix::io::Errno::NOENT.into());
                return Err(if links > 0 { PathError::Dangling(path.to_owned()) } else { nothing });
            };
            match parent.symlink_metadata(&name) {
                Ok(found) if found.is_symlink() => {
                    let target = parent.read_link_contents(&name).map_err(failed)?;
                    if target.is_absolute() {
                        return Err(PathError::Outside(path.to_owned()));
                    }
                    relative = above.join(target);
                }
                Ok(found) => {
                    let what = kind::of_name(found.file_type());
                    return what.map_or(Ok((parent, name)), |what| Err(not_a_file(path, what)));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Err(_) if links > 0 => return Err(PathError::Dangling(path.to_owned())),
                Err(_) => return Ok((parent, name)),
            }
        }
        Err(failed(rustix::io::Errno::LOOP.into()))
    }

    /// The directory `above`, where a file `name` may be changed; `None` where it is missing and is to be left so.
    fn directory_for(&self, path: &str, above: &Path, name: &Path, missing: Missing) -> Result<Option<Dir>, PathError> {
        let failed = |error| io_error(path, error);
        let (existing, rest) = self.deepest(above).map_err(failed)?;
        self.guard(path, &existing, &rest.join(name))?;
        if rest.as_os_str().is_empty() {
            return Ok(Some(existing));
        }
        if missing == Missing::Left {
            return Ok(None);
        }
        existing.create_dir_all(&rest).map_err(failed)?;
        let made = existing.open_dir(&rest).map_err(failed)?;
        self.guard(path, &made, name)?;
        Ok(Some(made))
    }

    /// The deepest directory on a path that exists, and what is left of the path.
    fn deepest(&self, path: &Path) -> io::Result<(Dir, PathBuf)> {
        for existing in path.ancestors().filter(|existing| !existing.as_os_str().is_empty()) {
            match self.dir.open_dir(existing) {
                Ok(dir) => return Ok((dir, path.strip_prefix(existing).map_err(io::Error::other)?.to_owned())),
                // A path that is refused in the end must not have made directories on its way.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !leads_up(path) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((self.dir.try_clone()?, path.to_owned()))
    }

    /// Refuses what git would run. Where `dir` really is decides, not the words that led to it.
    fn guard(&self, path: &str, dir: &Dir, below: &Path) -> Result<(), PathError> {
        let failed = |error| io_error(path, error);
        let (root, real) = (real_path(&self.dir).map_err(failed)?, real_path(dir).map_err(failed)?.join(below));
        // A directory that was moved out of the workspace since its handle was opened.
        let inside = real.strip_prefix(&root).map_err(|_| PathError::Outside(path.to_owned()))?;
        if git::is_guarded_by_name(&real) || git::is_guarded_by_neighbours(&self.dir, inside) {
            return Err(PathError::Guarded(path.to_owned()));
        }
        Ok(())
    }

    /// The path below the workspace. An absolute one is taken by its components; whether it really stays inside is for
    /// the handle to decide.
    fn relative(&self, path: &str) -> Result<PathBuf, PathError> {
        if path.is_empty() || path.contains('\0') {
            return Err(PathError::Invalid(path.to_owned()));
        }
        let given = Path::new(path);
        let relative = if given.is_absolute() {
            given.strip_prefix(&self.root).map_err(|_| PathError::Outside(path.to_owned()))?
        } else {
            given
        };
        // cap-std needs a name for the directory itself.
        let empty = !relative.components().any(|part| !matches!(part, Component::CurDir));
        Ok(if empty { PathBuf::from(".") } else { relative.to_owned() })
    }
}

/// What to do about directories that are not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Made,
    Left,
}

/// Where a directory is now, as the kernel names it.
fn real_path(dir: &Dir) -> io::Result<PathBuf> {
    let name = rustix::fs::readlink(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(name.into_bytes())))
}

fn not_a_file(path: &str, what: &'static str) -> PathError {
    PathError::NotAFile { path: path.to_owned(), what }
}

/// Whether a path has a `..` in it.
fn leads_up(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

/// cap-std reports a way out as a permission error of its own, without a code of the system.
fn io_error(path: &str, source: io::Error) -> PathError {
    let escapes = source.kind() == io::ErrorKind::PermissionDenied && source.raw_os_error().is_none();
    let code = |errno: rustix::io::Errno| source.raw_os_error() == Some(errno.raw_os_error());
    if escapes {
        PathError::Outside(path.to_owned())
    } else if code(rustix::io::Errno::ACCESS) {
        PathError::Denied(path.to_owned())
    } else if code(rustix::io::Errno::NXIO) {
        not_a_file(path, "a socket or a device")
    } else {
        PathError::Io { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
