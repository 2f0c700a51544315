//! What lies at a path: taken note of, compared, and made as it was. All paths are taken from the workspace's handle, and
//! none of them leads out of it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};

use super::super::remove::remove_tree_at;

/// More than any repository has in them; a command would not be run rather than run unwatched.
const MOST_THINGS: usize = 5000;
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// All of them are added up after each file that is larger.
const NOT_LARGE: usize = 16 * 1024;
/// Git takes no larger file for one that says where a repository is, and writes no larger config.
pub(super) const MOST_SMALL: u64 = 1024 * 1024;

/// The rights without which its owner, if it is not root, cannot use a directory.
pub(super) const OWNER: u32 = 0o700;

/// Times of files are told in ticks of the kernel's clock. What was changed in the tick in which it was looked at could be
/// changed again in it; a second is far more than one.
const SETTLED: Duration = Duration::from_secs(1);

/// By their paths from the workspace, so that a directory comes before what is in it.
pub(super) type Things = BTreeMap<PathBuf, Thing>;

#[derive(Clone, Debug)]
pub(super) enum Thing {
    Directory { mode: u32 },
    File { mode: u32, content: Arc<[u8]>, stamp: Option<Stamp> },
    Link(PathBuf),
}

/// By this one sees that a file has not been written to since: nobody can set the time of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    inode: (u64, u64),
    pub(super) size: u64,
    changed: (i64, i64),
}

impl PartialEq for Thing {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory { mode }, Self::Directory { mode: other }) => mode == other,
            (Self::Link(target), Self::Link(other)) => target == other,
            (Self::File { mode, content, .. }, Self::File { mode: other, content: others, .. }) => {
                mode == other && (Arc::ptr_eq(content, others) || content == others)
            }
            _ => false,
        }
    }
}

impl Thing {
    pub(super) fn is_dir(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    /// Makes it, where nothing is.
    pub(super) fn make(&self, workspace: &Dir, path: &Path) -> io::Result<()> {
        match self {
            Self::Directory { mode } => {
                workspace.create_dir(path)?;
                workspace.set_permissions(path, Permissions::from_mode(*mode))
            }
            Self::Link(target) => workspace.symlink_contents(target, path),
            Self::File { mode, content, .. } => {
                let parent = open_dir(workspace, path.parent().unwrap_or(Path::new("")))?;
                let mut file = cap_tempfile::TempFile::new(&parent)?;
                file.write_all(content)?;
                file.as_file().set_permissions(Permissions::from_mode(*mode))?;
                file.replace(path.file_name().unwrap_or_default())
            }
        }
    }
}

/// What lies there itself, if something does.
pub(super) fn metadata(workspace: &Dir, path: &Path) -> io::Result<Option<Metadata>> {
    if path.as_os_str().is_empty() {
        return workspace.dir_metadata().map(Some);
    }
    match workspace.symlink_metadata(path) {
        Err(error) if is_nothing(&error) => Ok(None),
        metadata => metadata.map(Some),
    }
}

/// The same with what is in it. Pipes and devices count as nothing: nobody runs them. A file that was `before` is not read
/// again if it has not been changed.
pub(super) fn look(workspace: &Dir, path: &Path, before: Option<&Thing>) -> io::Result<Option<Thing>> {
    let Some(metadata) = metadata(workspace, path)? else { return Ok(None) };
    let mode = metadata.mode() & 0o7777;
    if metadata.is_dir() {
        return Ok(Some(Thing::Directory { mode }));
    }
    if metadata.is_symlink() {
        return Ok(Some(Thing::Link(workspace.read_link_contents(path)?)));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    if let Some(thing @ Thing::File { stamp: Some(stamp), .. }) = before
        && *stamp == Stamp::of(&metadata)
    {
        return Ok(Some(thing.clone()));
    }
    if metadata.size() > MOST_BYTES {
        return Err(too_much(path));
    }
    let Some(file) = open_file(workspace, path)? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut content)?;
    Ok(Some(Thing::File { mode, content: content.into(), stamp: Stamp::settled(&metadata) }))
}

/// The same of a file that is small if git has written it; one that is not is an error.
pub(super) fn look_small(workspace: &Dir, path: &Path) -> io::Result<Option<Thing>> {
    let large = metadata(workspace, path)?.is_some_and(|now| now.is_file() && now.size() > MOST_SMALL);
    if large { Err(too_much(path)) } else { look(workspace, path, None) }
}

/// All that lies there and below, of whose names `wanted` approves.
pub(super) fn look_below(
    workspace: &Dir,
    path: &Path,
    before: &Things,
    wanted: &dyn Fn(&Path) -> bool,
    into: &mut Things,
) -> io::Result<()> {
    let Some(thing) = look(workspace, path, before.get(path))? else { return Ok(()) };
    let is_dir = thing.is_dir();
    let is_large = matches!(&thing, Thing::File { content, .. } if content.len() > NOT_LARGE);
    into.insert(path.to_owned(), thing);
    if into.len() > MOST_THINGS || (is_large && is_too_much(into)) {
        return Err(too_much(path));
    }
    if is_dir {
        for inner in names(workspace, path)?.into_iter().filter(|inner| wanted(inner)) {
            look_below(workspace, &inner, before, wanted, into)?;
        }
    }
    Ok(())
}

/// Whether more is remembered than should be.
pub(super) fn is_too_much(things: &Things) -> bool {
    let size = |thing: &Thing| if let Thing::File { content, .. } = thing { content.len() as u64 } else { 0 };
    things.values().map(size).sum::<u64>() > MOST_BYTES || things.len() > MOST_THINGS
}

pub(super) fn too_much(path: &Path) -> io::Error {
    io::Error::other(format!("there is too much in {} to be looked after", path.display()))
}

/// The paths of what is in a directory.
pub(super) fn names(workspace: &Dir, path: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = open_dir(workspace, path)?;
    dir.entries()?.map(|entry| Ok(path.join(entry?.file_name()))).collect()
}

/// Opens it to read, unless it is no file: to open a pipe would be to wait for its other end.
pub(super) fn open_file(workspace: &Dir, path: &Path) -> io::Result<Option<cap_std::fs::File>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = match workspace.open_with(path, &options) {
        // A command has closed it to its owner, who is the owner of this process as well.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let now = metadata(workspace, path)?.filter(|now| now.is_file() && now.mode() & 0o400 == 0).ok_or(error)?;
            workspace.set_permissions(path, Permissions::from_mode(now.mode() & 0o7777 | 0o400))?;
            let file = workspace.open_with(path, &options);
            workspace.set_permissions(path, Permissions::from_mode(now.mode() & 0o7777))?;
            file?
        }
        file => file?,
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Makes sure that a directory is there, all the way, and that its owner may use it. Whether it was not so.
pub(super) fn ensure_dir(workspace: &Dir, path: &Path, modes: &BTreeMap<PathBuf, u32>) -> io::Result<bool> {
    let mut changed = false;
    for part in ways(path) {
        let mode = modes.get(part).copied().unwrap_or(0o755);
        match metadata(workspace, part)? {
            Some(now) if now.is_dir() => {
                if mode & OWNER & !now.mode() != 0 {
                    workspace.set_permissions(part, Permissions::from_mode(mode))?;
                    changed = true;
                }
            }
            _ => {
                remove(workspace, part)?;
                Thing::Directory { mode }.make(workspace, part)?;
                changed = true;
            }
        }
    }
    Ok(changed)
}

/// Opens what a command closed to its owner, who is the owner of this process as well; then does it again.
pub(super) fn opened<T>(workspace: &Dir, path: &Path, act: &mut dyn FnMut() -> io::Result<T>) -> io::Result<T> {
    match act() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            for part in ways(path) {
                if let Some(now) = metadata(workspace, part)?.filter(Metadata::is_dir)
                    && now.mode() & OWNER != OWNER
                {
                    let mode = now.mode() & 0o7777 | OWNER;
                    workspace.set_permissions(part, Permissions::from_mode(mode))?;
                }
            }
            act()
        }
        done => done,
    }
}

/// Opens the workspace itself to its owner, if a command has closed it. Whether it had.
pub(super) fn open_workspace(workspace: &Dir) -> io::Result<bool> {
    let mode = workspace.dir_metadata()?.mode();
    let closed = mode & OWNER != OWNER;
    if closed {
        let path = format!("/proc/self/fd/{}", workspace.as_fd().as_raw_fd());
        let open = std::os::unix::fs::PermissionsExt::from_mode(mode & 0o7777 | OWNER);
        std::fs::set_permissions(path, open)?;
    }
    Ok(closed)
}

/// Takes it away, whatever it is.
pub(super) fn remove(workspace: &Dir, path: &Path) -> io::Result<()> {
    match metadata(workspace, path)? {
        // The directory above is opened as one that lies in the workspace; from there on no link is followed.
        Some(metadata) if metadata.is_dir() => {
            let above = open_dir(workspace, path.parent().unwrap_or(Path::new("")))?;
            remove_tree_at(above.as_fd(), Path::new(path.file_name().unwrap_or_default()))
        }
        Some(_) => workspace.remove_file(path),
        None => Ok(()),
    }
}

/// Where a path leads when all its links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    Inside(PathBuf),
    Outside(PathBuf),
    Nowhere,
}

pub(super) fn leads(workspace: &Dir, path: &Path) -> Leads {
    let here = PathBuf::from(format!("/proc/self/fd/{}", workspace.as_fd().as_raw_fd()));
    let (Ok(root), Ok(there)) = (std::fs::canonicalize(&here), std::fs::canonicalize(here.join(path))) else {
        return Leads::Nowhere;
    };
    match there.strip_prefix(&root) {
        Ok(inside) => Leads::Inside(inside.to_owned()),
        Err(_) => Leads::Outside(there),
    }
}

/// A path and all above it, from the workspace down, without the workspace itself.
pub(super) fn ways(path: &Path) -> Vec<&Path> {
    let mut ways: Vec<_> = path.ancestors().filter(|way| !way.as_os_str().is_empty()).collect();
    ways.reverse();
    ways
}

fn open_dir(workspace: &Dir, path: &Path) -> io::Result<Dir> {
    if path.as_os_str().is_empty() { workspace.try_clone() } else { workspace.open_dir(path) }
}

fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// One that can be relied on.
    #[expect(clippy::disallowed_methods, reason = "compared with what the kernel's own clock has written to the disk")]
    pub(super) fn settled(metadata: &Metadata) -> Option<Self> {
        let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
        let age = SystemTime::now().duration_since(changed).ok()?;
        // The second may have just ended when it was changed.
        (age > 2 * SETTLED).then(|| Self::of(metadata))
    }
}
