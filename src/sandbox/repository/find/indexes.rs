//! What a repository's indexes name: the submodules that git would enter.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::MetadataExt;

use super::super::index::{HASHES, Told, submodules};
use super::super::reading::{Index, MOST_LOOKS, Which};
use super::super::thing::{Leads, Stamp, Thing, leads, metadata, too_much};
use super::{DOT_GIT, Indexes, MOST_DEEP, Odd, Place, Role, Search, is_real_dir};

/// More submodules than are kept in mind between two looks at an index.
const MOST_REMEMBERED: usize = 1000;

impl Search<'_> {
    /// The submodules that a repository's index names, and the one that this shares entries with.
    pub(super) fn indexes(&mut self, dir: &Path, worktree: &Path, two_formats: bool) -> io::Result<()> {
        let which = Which { two_formats, all: false };
        let Some(index) = self.index(&dir.join("index"), worktree, which)? else { return Ok(()) };
        if let Some(shared) = &index.shared {
            self.index(&dir.join(format!("sharedindex.{shared}")), worktree, Which { all: index.nameless, ..which })?;
        }
        Ok(())
    }

    /// What an index says; the submodules in it that are there will be looked at.
    fn index(&mut self, path: &Path, worktree: &Path, which: Which) -> io::Result<Option<Arc<Index>>> {
        let Some(now) = metadata(self.workspace, path)? else { return Ok(None) };
        let (mut there, mut stamp) = (path.to_owned(), Stamp::of(&now));
        if now.is_symlink() {
            self.found.odd.insert(path.to_owned(), Odd::Link(self.workspace.read_link_contents(path)?));
            // What lies outside was not made by a command.
            let Leads::Inside(inside) = leads(self.workspace, path) else { return Ok(None) };
            let target = metadata(self.workspace, &inside)?.filter(cap_std::fs::Metadata::is_file);
            let Some(target) = target else { return Ok(None) };
            (there, stamp) = (inside, Stamp::of(&target));
        } else if !now.is_file() {
            self.found.odd.insert(path.to_owned(), Odd::Other);
            return Ok(None);
        }
        let known = if let Indexes::ReadAgain(before) = self.indexes { before.indexes.get(path) } else { None };
        let known = known.filter(|known| known.stamp == stamp && known.which == which).cloned();
        // What was there before is not to be lost because there is too much else now.
        let free = known.is_some();
        let index = match known {
            Some(known) => Some(known),
            None => self.reading.index(self.workspace, &there, stamp, which, |content| says(content, which))?,
        };
        let whole = index.as_ref().is_some_and(|index| {
            index.submodules.iter().all(|named| self.submodule(worktree, named, free)) && index.understood
        });
        if !whole {
            let odd = if now.is_file() { Odd::File(stamp) } else { Odd::Other };
            self.not_whole(path, odd, index.is_some());
        }
        if let Some(index) = &index
            && whole
            && now.is_file()
        {
            if matches!(self.indexes, Indexes::Read)
                && let Some(content) = self.reading.keep(index)
            {
                let mode = now.mode() & 0o7777;
                self.found.kept.insert(path.to_owned(), Thing::File { mode, content, stamp: None });
            }
            if Stamp::settled(&now).is_some() && index.submodules.len() < MOST_REMEMBERED {
                self.found.indexes.insert(path.to_owned(), index.clone());
            }
        }
        Ok(index)
    }

    /// Before a command it is an error if there is too much to be read. What is not understood may be there already.
    fn not_whole(&mut self, path: &Path, odd: Odd, was_read: bool) {
        if matches!(self.indexes, Indexes::Read) && (!was_read || self.reading.is_over()) {
            self.found.error.get_or_insert(too_much(path));
        }
        self.found.odd.insert(path.to_owned(), odd);
    }

    /// Notes a submodule, if it is there. Whether so many could be looked for.
    fn submodule(&mut self, worktree: &Path, named: &Path, free: bool) -> bool {
        if !free && !self.reading.may_look(named) {
            return false;
        }
        let plain = named.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain && let Leads::Inside(there) = leads(self.workspace, &worktree.join(named)) {
            self.worktree_of(there);
        }
        if let Some(path) = inside(worktree, named) {
            self.worktree_of(path);
        }
        true
    }

    fn worktree_of(&mut self, path: PathBuf) {
        let has_git = metadata(self.workspace, &path.join(DOT_GIT)).map(|git| git.is_some());
        // One that is closed will be opened when its turn comes, and one that is too deep is not walked to.
        let deep = path.components().count() > MOST_DEEP;
        let there = has_git.and_then(|has| Ok(has && (deep || is_real_dir(self.workspace, &path)?)));
        if there.unwrap_or(true) {
            self.go(Place::Worktree(path, Role::Inner));
        }
    }
}

/// A path in a worktree, without the `.` and `..` in it, if it stays in the workspace.
fn inside(worktree: &Path, named: &Path) -> Option<PathBuf> {
    let mut path = worktree.to_owned();
    for part in named.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!path.as_os_str().is_empty()).then_some(path)
}

/// Reads an index in the formats that it may have.
fn says(content: &[u8], which: Which) -> (Told, Vec<PathBuf>) {
    let (mut all, mut paths) = (Told::default(), Vec::new());
    for hash in &HASHES[..if which.two_formats { 2 } else { 1 }] {
        let told = submodules(content, *hash, which.all, &mut |path| {
            // More could not be looked for.
            if paths.len() < MOST_LOOKS {
                paths.push(PathBuf::from(OsStr::from_bytes(path)));
            }
        });
        let better = told.understood && !all.understood;
        if better || all.shared.is_none() {
            all.shared = told.shared;
        }
        all.nameless |= told.nameless;
        all.understood |= told.understood;
    }
    (all, paths)
}
