//! A private root: the system read-only, the workspace, an own `/tmp`, `/proc` and `/dev`, and nothing else.
//!
//! Everything is taken by handle before the new root is put together, then the old one is let go of.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::super::repository::{Mount, mounts};
use super::super::spec::Spec;
use super::{Failure, step};

/// What the skeleton of the root may take: it holds nothing but names.
const SKELETON_BYTES: &str = "1m";
/// Files in the private temporary directory; each takes about a kilobyte of the kernel's memory.
const TEMPORARY_FILES: &str = "100000";

const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const WRITABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A device can be written to all the same; what cannot be changed is who may.
const DEVICE: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("shm", "/tmp"),
];

/// A tree that is to be put somewhere.
struct Tree {
    handle: OwnedFd,
    at: PathBuf,
    is_dir: bool,
}

/// Makes the root and goes into it. The caller is alone in its mount namespace.
pub(super) fn enter(spec: &Spec, workspace: BorrowedFd<'_>) -> Result<(), Failure> {
    let quiet = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("mounts", rustix::mount::mount_change("/", quiet))?;
    let mut trees = Vec::new();
    for path in spec.view.system.iter().chain(&spec.view.read) {
        trees.push(take(path, READ_ONLY)?);
    }
    for path in &spec.view.write {
        trees.push(take(path, WRITABLE)?);
    }
    for device in DEVICES {
        trees.push(take(&Path::new("/dev").join(device), DEVICE)?);
    }
    let own = take(&spec.workspace, WRITABLE)?;
    if identity(&own.handle)? != identity(workspace)? {
        return Err(Failure::new("workspace", "is not the directory any more that it was".to_owned()));
    }
    let mounts = mounts(workspace).map_err(|error| Failure::new("repository", error.to_string()))?;
    let proc = step("proc", file_system("proc", &[], MountAttrFlags::MOUNT_ATTR_NOEXEC))?;
    // It takes memory, and it is a disk to those who write to it.
    let size = spec.limits.memory.min(spec.limits.disk).to_string();
    let options = [("size", size.as_str()), ("nr_inodes", TEMPORARY_FILES), ("mode", "1777")];
    let temporary = step("tmpfs", file_system("tmpfs", &options, MountAttrFlags::empty()))?;
    let options = [("size", SKELETON_BYTES), ("mode", "755")];
    let root = step("tmpfs", file_system("tmpfs", &options, MountAttrFlags::empty()))?;

    // Somewhere has to be its place until it is the root; what lies below has been taken already.
    step("root", attach(root.as_fd(), CWD, "/usr"))?;
    step("root", rustix::process::fchdir(&root))?;
    let root = root.as_fd();
    for (link, target) in &spec.view.links {
        step("root", rustix::fs::symlinkat(target, root, inside(link)))?;
    }
    for (name, tree) in [("proc", &proc), ("tmp", &temporary)] {
        step("root", rustix::fs::mkdirat(root, name, Mode::RWXU))?;
        step("root", attach(tree.as_fd(), root, name))?;
    }
    for tree in &trees {
        put(root, tree)?;
    }
    for (link, target) in DEVICE_LINKS {
        step("dev", rustix::fs::symlinkat(*target, root, format!("dev/{link}")))?;
    }
    put(root, &own)?;
    cover(root, &spec.view.hidden)?;
    protect(root, inside(&spec.workspace), &mounts)?;
    step("root", set(root, READ_ONLY, false))?;
    step("root", rustix::process::pivot_root(".", "."))?;
    step("root", rustix::mount::unmount(".", UnmountFlags::DETACH))?;
    step("root", rustix::process::chdir("/"))
}

/// Takes the kernel's settings out of a command's hands: to the kernel, root's number owns them even here.
pub(super) fn seal_settings() -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = step("proc", rustix::fs::open("/proc", flags, Mode::empty()))?;
    step("proc", set(proc.as_fd(), READ_ONLY, false))
}

/// A copy of a tree as it is seen here, with what is mounted in it.
fn take(path: &Path, attributes: u64) -> Result<Tree, Failure> {
    let failed = |errno| Failure::of("mounts", &path.display().to_string(), errno);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let handle = rustix::mount::open_tree(CWD, path, flags).map_err(failed)?;
    let stat = rustix::fs::fstat(&handle).map_err(failed)?;
    set(handle.as_fd(), attributes, true).map_err(failed)?;
    Ok(Tree { handle, at: path.to_owned(), is_dir: FileType::from_raw_mode(stat.st_mode).is_dir() })
}

fn put(root: BorrowedFd<'_>, tree: &Tree) -> Result<(), Failure> {
    let at = inside(&tree.at);
    let failed = |errno| Failure::of("root", &tree.at.display().to_string(), errno);
    if let Some(parent) = at.parent() {
        make_dirs(root, parent).map_err(failed)?;
    }
    let made = if tree.is_dir {
        rustix::fs::mkdirat(root, at, Mode::RWXU)
    } else {
        rustix::fs::mknodat(root, at, FileType::RegularFile, Mode::RUSR, 0)
    };
    // It may lie in a tree that has been put there before.
    match made {
        Ok(()) | Err(Errno::EXIST | Errno::ROFS) => attach(tree.handle.as_fd(), root, at).map_err(failed),
        Err(errno) => Err(failed(errno)),
    }
}

fn make_dirs(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<()> {
    let mut so_far = PathBuf::new();
    for part in path.components() {
        so_far.push(part);
        match rustix::fs::mkdirat(root, &so_far, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Lays something empty over what is not to be seen.
fn cover(root: BorrowedFd<'_>, hidden: &[PathBuf]) -> Result<(), Failure> {
    if hidden.is_empty() {
        return Ok(());
    }
    // Not even root reads them: it has no capabilities here.
    let covers = step("hidden", file_system("tmpfs", &[("size", "4k"), ("mode", "700")], MountAttrFlags::empty()))?;
    step("hidden", rustix::fs::mkdirat(&covers, "dir", Mode::empty()))?;
    step("hidden", rustix::fs::mknodat(&covers, "file", FileType::RegularFile, Mode::empty(), 0))?;
    for path in hidden {
        let failed = |errno| Failure::of("hidden", &path.display().to_string(), errno);
        let at = inside(path);
        let stat = match rustix::fs::statat(root, at, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat.map_err(failed)?,
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let cover = if FileType::from_raw_mode(stat.st_mode).is_dir() { "dir" } else { "file" };
        let cover = rustix::mount::open_tree(&covers, cover, flags).map_err(failed)?;
        set(cover.as_fd(), READ_ONLY, false).map_err(failed)?;
        attach(cover.as_fd(), root, at).map_err(failed)?;
    }
    Ok(())
}

/// Keeps what a repository would run from being written. The repository's own directory becomes a mount as well, so that
/// it cannot be moved aside and another be put in its place.
fn protect(root: BorrowedFd<'_>, workspace: &Path, mounts: &[Mount]) -> Result<(), Failure> {
    for mount in mounts {
        let path = workspace.join(&mount.path);
        // What a link leads to is put back when the command is over.
        if matches!(kind(root, &path), Some(FileType::Directory | FileType::RegularFile)) {
            again(root, &path, if mount.read_only { READ_ONLY } else { 0 })?;
        }
    }
    Ok(())
}

/// Mounts something over itself.
fn again(root: BorrowedFd<'_>, path: &Path, attributes: u64) -> Result<(), Failure> {
    let failed = |errno| Failure::of("repository", &path.display().to_string(), errno);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = rustix::mount::open_tree(root, path, flags).map_err(failed)?;
    if attributes != 0 {
        set(tree.as_fd(), attributes, true).map_err(failed)?;
    }
    attach(tree.as_fd(), root, path).map_err(failed)
}

fn kind(root: BorrowedFd<'_>, path: &Path) -> Option<FileType> {
    let stat = rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

fn attach(tree: BorrowedFd<'_>, to: BorrowedFd<'_>, at: impl rustix::path::Arg) -> rustix::io::Result<()> {
    rustix::mount::move_mount(tree, "", to, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn file_system(kind: &str, options: &[(&str, &str)], more: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *name, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | more;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Adds attributes to a mount, and to all mounts in it.
#[expect(unsafe_code, reason = "rustix has no mount_setattr")]
fn set(mount: BorrowedFd<'_>, attributes: u64, all: bool) -> rustix::io::Result<()> {
    let wanted = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if all { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, and the kernel reads as many bytes of `wanted` as it is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(&wanted),
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

fn identity(handle: impl AsFd) -> Result<(u64, u64), Failure> {
    let stat = step("workspace", rustix::fs::fstat(handle))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// A path of the machine, as seen from the handle of the new root.
fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// A path for a system call.
pub(super) fn c_path(path: &Path) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Failure::new("path", "has a NUL in it".to_owned()))
}
