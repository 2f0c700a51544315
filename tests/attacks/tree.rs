//! A directory tree as it was, to be compared with what it is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Every path below one, itself included, with all that a command could have changed about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, String>);

/// Whether modification times count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    Count,
    DoNot,
}

impl Tree {
    /// The tree as it is now. Nothing at all is a tree as well.
    pub fn of(path: &Path, times: Times) -> Self {
        let mut tree = Self::default();
        tree.add(path, times);
        tree
    }

    /// What is different now, a line for each path.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let paths = self.0.keys().chain(now.0.keys().filter(|path| !self.0.contains_key(*path)));
        let nothing = "nothing".to_owned();
        let changed = paths.filter_map(|path| {
            let (then, now) = (self.0.get(path).unwrap_or(&nothing), now.0.get(path).unwrap_or(&nothing));
            (then != now).then(|| format!("{}: was {then}, is {now}", path.display()))
        });
        changed.collect()
    }

    fn add(&mut self, path: &Path, times: Times) {
        let Ok(metadata) = path.symlink_metadata() else { return };
        let mut text = format!("mode {:o} of {}:{}", metadata.permissions().mode(), metadata.uid(), metadata.gid());
        if times == Times::Count {
            let _ = write!(text, " of {}.{:09}", metadata.mtime(), metadata.mtime_nsec());
        }
        if metadata.is_file() {
            let bytes = std::fs::read(path).unwrap_or_default();
            let _ = write!(text, " {:?}", String::from_utf8_lossy(&bytes));
        } else if metadata.is_symlink() {
            let _ = write!(text, " to {:?}", std::fs::read_link(path));
        }
        self.0.insert(path.to_owned(), text);
        if metadata.is_dir() {
            for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
                self.add(&entry.path(), times);
            }
        }
    }
}

/// How much of the disk is used below a directory, in megabytes.
pub fn used_mb(directory: &Path) -> u64 {
    fn blocks(path: &Path) -> u64 {
        let Ok(metadata) = path.symlink_metadata() else { return 0 };
        let below = if metadata.is_dir() {
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| blocks(&entry.path())).sum()
        } else {
            0
        };
        metadata.blocks() + below
    }
    // A block is 512 bytes, whatever the file system's are.
    blocks(directory) >> 11
}
