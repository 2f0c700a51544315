//! How a directory takes its place whole.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::directory::Mode;
use crate::export::ExportError;
use crate::export::manifest;
use crate::export::parent::Parent;

/// Refuses to write where something is in the way.
pub(super) fn is_free(target: &Path, mode: Mode) -> Result<(), ExportError> {
    let refuse = |detail: &str| Err(ExportError::Place { path: target.to_owned(), detail: detail.to_owned() });
    match target.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ExportError::File { path: target.to_owned(), source }),
        Ok(metadata) if !metadata.is_dir() => return refuse("is there, and is no directory"),
        Ok(_) => {}
    }
    let failed = |source| ExportError::File { path: target.to_owned(), source };
    let names: Vec<_> = fs::read_dir(target).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    let foreign = names.iter().map(DirEntry::file_name).find(|name| !OURS.iter().any(|ours| name == ours));
    match mode {
        _ if names.is_empty() => Ok(()),
        Mode::New if target.join(manifest::NAME).is_file() => {
            refuse("has an export already; --incremental adds to it, --overwrite replaces it")
        }
        Mode::New => refuse("is not empty"),
        Mode::Incremental | Mode::Overwrite if !target.join(manifest::NAME).is_file() => {
            refuse("is not empty, and has no export of this program's")
        }
        Mode::Incremental | Mode::Overwrite if Parent::open(target)?.is_none() => refuse("is being changed"),
        // The old directory goes with all that is in it: what somebody else has put there is not ours to remove.
        Mode::Incremental | Mode::Overwrite => foreign.map_or(Ok(()), |name| {
            refuse(&format!(
                "has {} in it, which is no part of an export and would be lost: put it elsewhere",
                name.display()
            ))
        }),
    }
}

/// What an export has in it.
const OURS: [&str; 5] = ["data", "README.md", "index.jsonl", "rejected.jsonl", manifest::NAME];

/// A directory that is being written, beside the place that it is to take.
pub(super) struct Work {
    dir: PathBuf,
    /// Held as long as it is written; beside it, for it is to be moved.
    lock: Option<Lock>,
}

impl Work {
    /// Begins anew; what one who was killed has left is removed.
    pub(super) fn begin(target: &Path) -> Result<Self, ExportError> {
        let failed = |path: &Path, source| ExportError::File { path: path.to_owned(), source };
        let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "name the directory: it is replaced as a whole");
        let name = target.file_name().ok_or_else(nameless).map_err(|source| failed(target, source))?;
        let beside = |ending: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(ending);
            above(target).join(hidden)
        };
        let (dir, path) = (beside(".partial"), beside(".lock"));
        fs::create_dir_all(above(target)).map_err(|source| failed(above(target), source))?;
        let Some(lock) = Lock::take(&path).map_err(|source| failed(&path, source))? else {
            let detail = "another export to the same place is being written".to_owned();
            return Err(ExportError::Place { path: target.to_owned(), detail });
        };
        put_back(target, &beside(".old")).map_err(|source| failed(target, source))?;
        // What one has left who was killed. It has no more in it than an export has.
        match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&dir, error)),
            Ok(mut entries) => {
                let ours = |name: &OsStr| OURS.iter().any(|ours| name == *ours);
                if entries.any(|entry| entry.is_ok_and(|entry| !ours(&entry.file_name()))) {
                    let detail =
                        "is where an export is written before it takes its place, and has something else in it";
                    return Err(ExportError::Place { path: dir, detail: detail.to_owned() });
                }
                fs::remove_dir_all(&dir).map_err(|source| failed(&dir, source))?;
            }
        }
        fs::create_dir(&dir).map_err(|source| failed(&dir, source))?;
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
        File::open(above(target)).and_then(|dir| dir.sync_all()).map_err(failed)?;
        if replaced {
            // The new one is there. What is left of the old one is in nobody's way.
            if let Err(error) = fs::remove_dir_all(&self.dir) {
                tracing::warn!(%error, "an old export cannot be removed: {}", self.dir.display());
            }
        }
        self.lock = None;
        Ok(())
    }

    /// Removes it.
    pub(super) fn discard(&mut self) -> Result<(), ExportError> {
        // Held to the end.
        let Some(_lock) = self.lock.take() else { return Ok(()) };
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

/// The directory that has it in it.
fn above(target: &Path) -> &Path {
    target.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A locked file that says that somebody is writing. It is gone when nobody is.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes it; `None` if another one has it.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            // Not through a link: in a directory that others write to, it might lead anywhere.
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW);
            let file = options.open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Whoever had it may have removed it between the two: then this is a file that nobody else will find.
            match path.metadata() {
                Ok(found) if found.ino() == file.metadata()?.ino() => {
                    return Ok(Some(Self { path: path.to_owned(), _file: file }));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before it is let go of.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "a lock file is left behind: {}", self.path.display());
        }
    }
}

/// Has two directories change places. Where the file system cannot do that at once, there is a moment without the old one.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            let aside = new.with_extension("old");
            fs::rename(old, &aside)?;
            fs::rename(new, old)?;
            fs::rename(&aside, new)
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends what one has begun who was killed between two renames.
fn put_back(target: &Path, aside: &Path) -> io::Result<()> {
    match (target.try_exists()?, aside.try_exists()?) {
        (false, true) => fs::rename(aside, target),
        (true, true) => fs::remove_dir_all(aside),
        (_, false) => Ok(()),
    }
}

/// Has a file of the old directory in the new one, too: the same file, if the file system can do that.
pub(super) fn link(old: &Path, new: &Path, name: &str) -> Result<(), ExportError> {
    let (from, to) = (old.join(name), new.join(name));
    let linked = fs::hard_link(&from, &to).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound => Err(error),
        _ => fs::copy(&from, &to).map(drop),
    });
    linked.map_err(|source| ExportError::File { path: from, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn an_export() -> String {
        let options = crate::export::Options::from_words(&[]).unwrap();
        let manifest = manifest::Manifest::new(&options, &crate::export::Totals::default(), None, Vec::new());
        serde_json::to_string(&manifest).unwrap()
    }

    #[test]
    fn links_and_other_peoples_directories_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (target, precious) = (dir.path().join("data"), dir.path().join("precious"));
        fs::write(&precious, "keep").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join(".data.lock")).unwrap();
        assert!(Work::begin(&target).is_err());
        fs::remove_file(dir.path().join(".data.lock")).unwrap();
        fs::create_dir(dir.path().join(".data.partial")).unwrap();
        fs::write(dir.path().join(".data.partial/thesis.txt"), "mine").unwrap();
        assert!(Work::begin(&target).is_err());
        assert!(link(dir.path(), dir.path(), "precious").is_err());
        let kept = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((kept("precious"), kept(".data.partial/thesis.txt")), ("keep".to_owned(), "mine".to_owned()));
    }

    #[test]
    fn one_writes_at_a_time_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("data set");
        let work = Work::begin(&target).unwrap();
        fs::write(work.dir().join("README.md"), "x").unwrap();
        assert!(matches!(Work::begin(&target), Err(ExportError::Place { .. })));
        drop(work);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        // One who was killed has left this.
        fs::create_dir_all(dir.path().join(".data set.partial/data")).unwrap();
        fs::write(dir.path().join(".data set.partial/data/train-00000.jsonl"), "x").unwrap();
        fs::write(dir.path().join(".data set.lock"), "").unwrap();
        let mut work = Work::begin(&target).unwrap();
        assert_eq!(fs::read_dir(work.dir().join("data")).unwrap().count(), 0);
        work.appear(&target, Mode::New).unwrap();
        drop(work);
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["data set"]);
    }

    #[test]
    fn only_an_export_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("data");
        fs::create_dir(&target).unwrap();
        assert!(is_free(&target, Mode::New).is_ok(), "an empty directory is in nobody's way");
        fs::write(target.join("thesis.txt"), "x").unwrap();
        for mode in [Mode::New, Mode::Overwrite, Mode::Incremental] {
            assert!(is_free(&target, mode).is_err(), "{mode:?}");
        }
        fs::write(target.join(manifest::NAME), "{}").unwrap();
        assert!(is_free(&target, Mode::Overwrite).is_err(), "a manifest of somebody else's");
        fs::write(target.join(manifest::NAME), an_export()).unwrap();
        assert!(is_free(&target, Mode::New).is_err());
        let told = is_free(&target, Mode::Incremental).unwrap_err().to_string();
        assert!(told.contains("thesis.txt"), "{told}");
        fs::remove_file(target.join("thesis.txt")).unwrap();
        assert!(is_free(&target, Mode::Overwrite).is_ok() && is_free(&target, Mode::Incremental).is_ok());
        let mut work = Work::begin(&target).unwrap();
        fs::write(work.dir().join("README.md"), "new").unwrap();
        work.appear(&target, Mode::Overwrite).unwrap();
        assert_eq!(fs::read_to_string(target.join("README.md")).unwrap(), "new");
        drop(work);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_who_was_killed_between_two_renames_has_lost_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (target, aside) = (dir.path().join("data"), dir.path().join(".data.old"));
        fs::create_dir(&aside).unwrap();
        fs::write(aside.join(manifest::NAME), "old").unwrap();
        drop(Work::begin(&target).unwrap());
        assert_eq!(fs::read_to_string(target.join(manifest::NAME)).unwrap(), "old");
        fs::create_dir(&aside).unwrap();
        drop(Work::begin(&target).unwrap());
        assert!(target.exists() && !aside.exists());
    }
}
