//! How a directory takes its place whole.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::directory::Mode;
use crate::export::ExportError;
use crate::export::manifest;

/// Whose lock says that somebody is writing.
const LOCK: &str = ".lock";

/// Refuses to write where something is in the way.
pub(super) fn is_free(target: &Path, mode: Mode) -> Result<(), ExportError> {
    let refuse = |detail: &str| Err(ExportError::Place { path: target.to_owned(), detail: detail.to_owned() });
    match target.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ExportError::File { path: target.to_owned(), source }),
        Ok(metadata) if !metadata.is_dir() => return refuse("is there, and is no directory"),
        Ok(_) => {}
    }
    let empty =
        fs::read_dir(target).map_err(|source| ExportError::File { path: target.to_owned(), source })?.next().is_none();
    let export = target.join(manifest::NAME).is_file();
    match mode {
        _ if empty => Ok(()),
        Mode::New if export => refuse("has an export already; --incremental adds to it, --overwrite replaces it"),
        Mode::New => refuse("is not empty"),
        // What somebody else has put there is not ours to remove.
        Mode::Incremental | Mode::Overwrite if !export => refuse("is not empty, and has no export of this program's"),
        Mode::Incremental | Mode::Overwrite => Ok(()),
    }
}

/// A directory that is being written, beside the place that it is to take.
pub(super) struct Work {
    dir: PathBuf,
    /// Held as long as it is written.
    lock: Option<File>,
}

impl Work {
    /// Begins anew; what one who was killed has left is removed.
    pub(super) fn begin(target: &Path) -> Result<Self, ExportError> {
        let failed = |path: &Path, source| ExportError::File { path: path.to_owned(), source };
        let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "has no name");
        let name = target.file_name().ok_or_else(nameless).map_err(|source| failed(target, source))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let above = target.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = above.join(hidden);
        fs::create_dir_all(&dir).map_err(|source| failed(&dir, source))?;
        let path = dir.join(LOCK);
        let lock = File::create(&path).map_err(|source| failed(&path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let detail = "another export to the same place is being written".to_owned();
                return Err(ExportError::Place { path: target.to_owned(), detail });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&path, source)),
        }
        for entry in fs::read_dir(&dir).map_err(|source| failed(&dir, source))? {
            let path = entry.map_err(|source| failed(&dir, source))?.path();
            if path.file_name().is_some_and(|name| name == LOCK) {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|source| failed(&path, source))?;
        }
        let data = dir.join("data");
        fs::create_dir(&data).map_err(|source| failed(&data, source))?;
        Ok(Self { dir, lock: Some(lock) })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes the place of `target`, all at once.
    pub(super) fn appear(&mut self, target: &Path, mode: Mode) -> Result<(), ExportError> {
        let failed = |source| ExportError::File { path: target.to_owned(), source };
        fs::remove_file(self.dir.join(LOCK)).map_err(failed)?;
        for dir in [self.dir.join("data"), self.dir.clone()] {
            File::open(&dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        // Somebody may have put something there meanwhile.
        is_free(target, mode)?;
        let replaced = if target.join(manifest::NAME).is_file() {
            exchange(&self.dir, target).map_err(failed)?;
            true
        } else {
            // An empty directory gives way.
            fs::rename(&self.dir, target).map_err(failed)?;
            false
        };
        let above = target.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above).and_then(|dir| dir.sync_all()).map_err(failed)?;
        self.lock = None;
        if replaced {
            // The new one is there. What is left of the old one is in nobody's way.
            if let Err(error) = fs::remove_dir_all(&self.dir) {
                tracing::warn!(%error, "an old export cannot be removed: {}", self.dir.display());
            }
        }
        Ok(())
    }

    /// Removes it.
    pub(super) fn discard(&mut self) -> Result<(), ExportError> {
        if self.lock.take().is_none() {
            return Ok(());
        }
        fs::remove_dir_all(&self.dir).map_err(|source| ExportError::File { path: self.dir.clone(), source })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What was broken off is of no use. If it stays, the next one removes it.
        if let Err(error) = self.discard() {
            tracing::debug!(error = &error as &dyn std::error::Error, "a partial export cannot be removed");
        }
    }
}

/// Has two directories change places. Where the file system cannot do that at once, there is a moment without the old one.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            let mut aside = old.as_os_str().to_owned();
            aside.push(".old");
            fs::rename(old, &aside)?;
            fs::rename(new, old)?;
            fs::rename(&aside, new)
        }
        Err(error) => Err(error.into()),
    }
}

/// Has a file of the old directory in the new one, too: the same file, if the file system can do that.
pub(super) fn link(old: &Path, new: &Path, name: &str) -> Result<(), ExportError> {
    let (from, to) = (old.join(name), new.join(name));
    let linked = fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop));
    linked.map_err(|source| ExportError::File { path: from, source })
}
