//! The temporary directories of commands that have no `/tmp` of their own.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::super::remove::remove_tree;

/// All of one steward's, in a directory that goes with it.
pub(super) struct Temporary {
    above: PathBuf,
    count: u64,
    /// Directories that a command has left as they were given to it, as most do: the next one can have them.
    untouched: Vec<Directory>,
}

/// One command's.
pub(super) struct Directory {
    path: PathBuf,
    /// Seconds and nanoseconds of when it was made: whatever is done to it changes this, and no command can set it.
    made: (i64, i64),
}

impl Temporary {
    pub(super) fn new(at: &Path) -> io::Result<Self> {
        let above = tempfile::Builder::new().prefix("codex-agent-").tempdir_in(at)?.keep();
        Ok(Self { above, count: 0, untouched: Vec::new() })
    }

    pub(super) fn give(&mut self) -> io::Result<Directory> {
        // Without a root of its own a command can have closed it.
        match fs::set_permissions(&self.above, fs::Permissions::from_mode(0o700)) {
            // Somebody clears the place now and then.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.untouched.clear();
                fs::DirBuilder::new().mode(0o700).create(&self.above)?;
            }
            done => done?,
        }
        if let Some(directory) = self.untouched.pop() {
            return Ok(directory);
        }
        self.count += 1;
        Directory::make(self.above.join(self.count.to_string()))
    }

    /// Takes back what a command had.
    pub(super) fn take(&mut self, directory: Directory) {
        if directory.clear() {
            self.untouched.push(directory);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nobody is here to be told.
        let _ = remove_tree(&self.above);
    }
}

impl Directory {
    fn make(path: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let made = changed(&path)?;
        Ok(Self { path, made })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, unless it is as it was; whether it is.
    pub(super) fn clear(&self) -> bool {
        let empty = || fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_none());
        let as_it_was = changed(&self.path).is_ok_and(|now| now == self.made) && empty();
        if !as_it_was {
            // What cannot be removed now goes with the directory above.
            let _ = remove_tree(&self.path);
        }
        as_it_was
    }
}

fn changed(path: &Path) -> io::Result<(i64, i64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_not_given_again_and_nothing_is_left() {
        let home = tempfile::tempdir().unwrap();
        let mut all = Temporary::new(home.path()).unwrap();
        let first = all.give().unwrap();
        let path = first.path().to_owned();
        all.take(first);
        let again = all.give().unwrap();
        assert_eq!(again.path(), path);
        fs::write(path.join("file"), "x").unwrap();
        fs::remove_file(path.join("file")).unwrap();
        all.take(again);
        assert!(!path.exists());
        let other = all.give().unwrap();
        assert_ne!(other.path(), path);
        fs::write(other.path().join("file"), "x").unwrap();
        drop(all);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
