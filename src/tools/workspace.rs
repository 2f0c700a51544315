//! The only way to a file.
//!
//! A workspace is a directory handle. Paths are resolved below it by the kernel's rules (`openat2` with
//! `RESOLVE_BENEATH`, or step by step where that is not to be had; both in cap-std), so neither `..` nor a symbolic
//! link nor a directory that is exchanged meanwhile leads out.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use cap_tempfile::TempFile;
use rustix::fs::OFlags;

/// As many links as the system itself follows in one path.
const MAX_LINKS: usize = 40;

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
    #[error("{0}: is not a regular file")]
    NotAFile(String),
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
        let dir = root.dir.open_dir(&path).map_err(|error| io_error(below, error))?;
        Ok(Self { dir, root: code_dir.join(path) })
    }

    /// Opens a regular file for reading. Whatever else lies there is refused without waiting for it.
    pub(super) fn open_file(&self, path: &str) -> Result<File, PathError> {
        let relative = self.relative(path)?;
        // A pipe without a writer would block an ordinary open for ever.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        let file = self.dir.open_with(relative, &options).map_err(|error| io_error(path, error))?.into_std();
        let metadata = file.metadata().map_err(|error| io_error(path, error))?;
        if metadata.is_file() { Ok(file) } else { Err(PathError::NotAFile(path.to_owned())) }
    }

    /// A directory, as a handle for a command to start in.
    pub(super) fn directory(&self, path: &str) -> Result<OwnedFd, PathError> {
        let relative = self.relative(path)?;
        let dir = self.dir.open_dir(relative).map_err(|error| io_error(path, error))?;
        Ok(dir.into_std_file().into())
    }

    /// Puts `content` in the place of a file in one step, or makes the file and the directories above it. Mode and
    /// owner of an existing file are kept, and a link is followed, not replaced.
    pub(super) fn replace(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        let (parent, name) = self.place(path)?;
        let failed = |error| io_error(path, error);
        let mut file = TempFile::new(&parent).map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        if let Ok(old) = parent.symlink_metadata(&name) {
            // Only root can give a file away; for others the new file is theirs, as the old one will have been.
            let (owner, group) = (rustix::fs::Uid::from_raw(old.uid()), rustix::fs::Gid::from_raw(old.gid()));
            let _ = rustix::fs::fchown(file.as_file(), Some(owner), Some(group));
            let mode = cap_std::fs::Permissions::from_mode(old.permissions().mode() & 0o7777);
            file.as_file().set_permissions(mode).map_err(failed)?;
        }
        file.replace(&name).map_err(failed)
    }

    /// Removes a file, or the file a link leads to.
    pub(super) fn remove(&self, path: &str) -> Result<(), PathError> {
        let (parent, name) = self.place(path)?;
        parent.remove_file(name).map_err(|error| io_error(path, error))
    }

    /// The path as it is shown in a diff: below the workspace, without `.` and `..` that lead nowhere.
    pub(super) fn shown(&self, path: &str) -> Result<String, PathError> {
        let mut parts: Vec<String> = Vec::new();
        let relative = self.relative(path)?;
        for part in relative.components() {
            match part {
                Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
                Component::ParentDir => drop(parts.pop()),
                _ => {}
            }
        }
        Ok(parts.join("/"))
    }

    /// The directory a file lies or will lie in, and its name there, links resolved. Each step is taken from a handle: a
    /// name that the system gives for a file (`/proc/self/fd`) is another one while the file is being replaced.
    fn place(&self, path: &str) -> Result<(Dir, PathBuf), PathError> {
        let failed = |error| io_error(path, error);
        let not_a_file = || PathError::NotAFile(path.to_owned());
        let mut relative = self.relative(path)?;
        if path.ends_with('/') {
            return Err(not_a_file());
        }
        for links in 0..MAX_LINKS {
            let name = relative.file_name().map(PathBuf::from).ok_or_else(not_a_file)?;
            let above = relative.parent().filter(|parent| !parent.as_os_str().is_empty()).map(Path::to_owned);
            let parent = match &above {
                Some(above) => self.open_or_make_dir(above).map_err(failed)?,
                None => self.dir.try_clone().map_err(failed)?,
            };
            match parent.symlink_metadata(&name) {
                Ok(found) if found.is_symlink() => {
                    let target = parent.read_link_contents(&name).map_err(failed)?;
                    if target.is_absolute() {
                        return Err(PathError::Outside(path.to_owned()));
                    }
                    relative = above.unwrap_or_default().join(target);
                }
                Ok(found) if found.is_file() => return Ok((parent, name)),
                Ok(_) => return Err(not_a_file()),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Err(_) if links > 0 => return Err(PathError::Dangling(path.to_owned())),
                Err(_) => return Ok((parent, name)),
            }
        }
        Err(failed(rustix::io::Errno::LOOP.into()))
    }

    fn open_or_make_dir(&self, path: &Path) -> io::Result<Dir> {
        match self.dir.open_dir(path) {
            // A path that is refused in the end must not have made directories on its way.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !leads_up(path) => {
                self.dir.create_dir_all(path)?;
                self.dir.open_dir(path)
            }
            opened => opened,
        }
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

/// Whether a path has a `..` in it.
fn leads_up(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

/// cap-std reports a way out as a permission error of its own, without a code of the system.
fn io_error(path: &str, source: io::Error) -> PathError {
    let escapes = source.kind() == io::ErrorKind::PermissionDenied && source.raw_os_error().is_none();
    let no_such_kind = source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
    if escapes {
        PathError::Outside(path.to_owned())
    } else if no_such_kind {
        PathError::NotAFile(path.to_owned())
    } else {
        PathError::Io { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().unwrap();
        let code = dir.path().join("code");
        std::fs::create_dir_all(code.join("src")).unwrap();
        std::fs::create_dir(dir.path().join("code-evil")).unwrap();
        std::fs::write(dir.path().join("code-evil/secret"), "s").unwrap();
        std::fs::write(code.join("src/a"), "a").unwrap();
        let workspace = Workspace::open(&code, None).unwrap();
        (dir, workspace)
    }

    fn read(workspace: &Workspace, path: &str) -> Result<String, PathError> {
        let mut text = String::new();
        workspace.open_file(path)?.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn paths_inside_are_followed_and_paths_outside_are_not() {
        let (dir, workspace) = workspace();
        let code = dir.path().join("code");
        symlink("src/a", code.join("inner")).unwrap();
        symlink("../code-evil/secret", code.join("outer")).unwrap();
        symlink(dir.path(), code.join("up")).unwrap();
        for inside in ["src/a", "./src/../src/a", "inner", &code.join("src/a").display().to_string()] {
            assert_eq!(read(&workspace, inside).unwrap(), "a", "{inside}");
        }
        let sibling = dir.path().join("code-evil/secret").display().to_string();
        for outside in [
            "../code-evil/secret",
            "outer",
            "up/code-evil/secret",
            "/etc/passwd",
            &sibling,
            "src/../../code-evil/secret",
        ] {
            assert!(matches!(read(&workspace, outside), Err(PathError::Outside(_))), "{outside}");
            assert!(workspace.replace(outside, b"x").is_err(), "{outside}");
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("code-evil/secret")).unwrap(), "s");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let (dir, workspace) = workspace();
        let pipe = dir.path().join("code/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        for path in ["pipe", "src", "."] {
            assert!(matches!(workspace.open_file(path), Err(PathError::NotAFile(_))), "{path}");
            assert!(matches!(workspace.replace(path, b"x"), Err(PathError::NotAFile(_))), "{path}");
        }
        assert!(matches!(workspace.open_file(""), Err(PathError::Invalid(_))));
        assert!(workspace.open_file("src/none").is_err_and(|error| error.is_not_found()));
    }

    #[test]
    fn replacing_keeps_the_mode_and_does_not_write_through_a_hard_link() {
        let (dir, workspace) = workspace();
        let (file, other) = (dir.path().join("code/src/a"), dir.path().join("outside"));
        std::fs::hard_link(&file, &other).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o751)).unwrap();
        symlink("src/a", dir.path().join("code/link")).unwrap();
        workspace.replace("link", b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "a");
        assert!(dir.path().join("code/link").symlink_metadata().unwrap().is_symlink());
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o751);
        assert_eq!(std::fs::read_dir(dir.path().join("code/src")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_replaced_all_the_time_is_found_under_its_own_name() {
        let (dir, workspace) = workspace();
        let code = dir.path().join("code");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..300).for_each(|_| workspace.replace("src/a", b"x").unwrap()));
            }
        });
        let names: Vec<_> = std::fs::read_dir(code.join("src")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn a_dangling_link_creates_nothing() {
        let (dir, workspace) = workspace();
        for refused in ["q/../../e", "r/../e", "new/"] {
            assert!(workspace.replace(refused, b"x").is_err(), "{refused}");
        }
        assert_eq!(std::fs::read_dir(dir.path().join("code")).unwrap().count(), 1);
        symlink("src/later", dir.path().join("code/dangling")).unwrap();
        assert!(matches!(workspace.replace("dangling", b"x"), Err(PathError::Dangling(_))));
        workspace.replace("new/dir/file", b"x").unwrap();
        assert_eq!(read(&workspace, "new/dir/file").unwrap(), "x");
    }
}
