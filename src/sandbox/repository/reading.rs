//! How much is read of indexes, which may be of any size and any number: each once, and all of them not more than this.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;

use super::index::Told;
use super::thing::{Stamp, open_file};

/// An index of half a million files is as large. It is read in a fifth of a second.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Each costs some microseconds.
pub(super) const MOST_LOOKS: usize = 50_000;

/// What is kept of all indexes to be put back, for as long as a command runs.
const MOST_KEPT: usize = 8 * 1024 * 1024;

/// What an index says.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) stamp: Stamp,
    pub(super) which: Which,
    pub(super) submodules: Vec<PathBuf>,
    pub(super) shared: Option<String>,
    pub(super) nameless: bool,
    pub(super) understood: bool,
}

/// What of an index is asked: in which formats it may be, and whether all its entries may be submodules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Which {
    pub(super) two_formats: bool,
    pub(super) all: bool,
}

/// What was read at one time, be it in several passes.
pub(super) struct Reading {
    bytes: u64,
    looks: usize,
    over: bool,
    read: HashMap<(Stamp, Which), Arc<Index>>,
    content: HashMap<Stamp, Arc<[u8]>>,
    kept: usize,
}

impl Default for Reading {
    fn default() -> Self {
        let (read, content) = (HashMap::new(), HashMap::new());
        Self { bytes: MOST_BYTES, looks: MOST_LOOKS, over: false, read, content, kept: 0 }
    }
}

impl Reading {
    /// Reads it, unless it is too much.
    pub(super) fn index(
        &mut self,
        workspace: &Dir,
        path: &Path,
        stamp: Stamp,
        which: Which,
        says: impl FnOnce(&[u8]) -> (Told, Vec<PathBuf>),
    ) -> io::Result<Option<Arc<Index>>> {
        if let Some(index) = self.read.get(&(stamp, which)) {
            return Ok(Some(index.clone()));
        }
        if !self.may_read(stamp.size) {
            return Ok(None);
        }
        let Some(file) = open_file(workspace, path)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(stamp.size).read_to_end(&mut content)?;
        let (told, submodules) = says(&content);
        let Told { shared, nameless, understood } = told;
        let index = Arc::new(Index { stamp, which, submodules, shared, nameless, understood });
        self.read.insert((stamp, which), index.clone());
        if self.kept + content.len() <= MOST_KEPT {
            self.kept += content.len();
            self.content.insert(stamp, content.into());
        }
        Ok(Some(index))
    }

    /// The content of one that was read, if it is small.
    pub(super) fn keep(&self, index: &Index) -> Option<Arc<[u8]>> {
        self.content.get(&index.stamp).cloned()
    }

    /// Whether a submodule of this name may still be looked for. A long name costs as much as several.
    pub(super) fn may_look(&mut self, named: &Path) -> bool {
        let left = self.looks.checked_sub(1 + named.as_os_str().as_bytes().len() / 256);
        self.over |= left.is_none();
        self.looks = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether so much more may be read.
    pub(super) fn may_read(&mut self, size: u64) -> bool {
        let left = self.bytes.checked_sub(size);
        self.over |= left.is_none();
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }

    /// Whether something was too much.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}
