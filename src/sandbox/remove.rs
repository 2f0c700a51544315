//! Takes a directory away with all that is in it, however it was left.

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Removes `path` if it is a directory. A tree may be deeper than there are descriptors or stack, and its directories
/// may be closed to their owner: so no way leads down more than one level, and what lies below is brought up.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    remove_tree_at(CWD, path)
}

/// The same, from the handle of the directory it lies in.
pub(super) fn remove_tree_at(at: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let top = match open(at, path) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let mut count = 0u64;
    loop {
        let names = names(&top)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            match rustix::fs::unlinkat(&top, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => flatten(&top, &name, &mut count)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    rustix::fs::unlinkat(at, path, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Empties a directory of `top`, moving its own directories beside it, and removes it.
fn flatten(top: &OwnedFd, name: &CString, count: &mut u64) -> io::Result<()> {
    let dir = open(top, name)?;
    for inner in names(&dir)? {
        match rustix::fs::unlinkat(&dir, &inner, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                // To be moved, a directory must be writable itself.
                drop(open(&dir, &inner)?);
                loop {
                    *count += 1;
                    let beside = format!(".codex-agent-{count}");
                    let flags = rustix::fs::RenameFlags::NOREPLACE;
                    match rustix::fs::renameat_with(&dir, &inner, top, beside, flags) {
                        Err(Errno::EXIST) => {}
                        moved => break moved?,
                    }
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Opens a directory, itself and not what a link leads to, with all rights for its owner.
fn open(at: impl std::os::fd::AsFd + Copy, path: impl rustix::path::Arg + Copy) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(at, path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // A link cannot have come in its place: nobody else is alive who could put one there.
            rustix::fs::chmodat(at, path, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(at, path, flags, Mode::empty())?
        }
        opened => opened?,
    };
    rustix::fs::fchmod(&dir, Mode::RWXU)?;
    Ok(dir)
}

fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_tree_that_is_deep_and_closed_goes_and_what_its_links_lead_to_stays() {
        let home = tempfile::tempdir().unwrap();
        let (tree, kept) = (home.path().join("tree"), home.path().join("kept"));
        std::fs::write(&kept, "x").unwrap();
        std::fs::create_dir(&tree).unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
        std::os::unix::fs::symlink(home.path(), tree.join("up")).unwrap();
        let mut at = open(CWD, &tree).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::openat(&at, "f", flags, Mode::RUSR).unwrap());
            at = open(&at, "d").unwrap();
        }
        let closed = tree.join("d/d");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && kept.exists());
        remove_tree(&tree).unwrap();
    }
}
