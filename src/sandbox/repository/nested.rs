//! Workspaces may lie in each other, and then several commands look after the same git directory. What the first of them
//! found is what the last one leaves: a snapshot that is taken while others are held takes from them what they know.
//!
//! Deliberately absent: git directories that the other command does not look after. To these it could do what it wants.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use super::GUARDED;
use super::find::{Indexes, Role, find};
use super::reading::Reading;
use super::snapshot::{MOST_NEW, Snapshot, id};
use super::tame::is_sample;
use super::thing::{Leads, too_much};

/// How a path from another workspace is one from this.
enum Shift {
    /// The other lies in this one.
    Below(PathBuf),
    /// This one lies in the other.
    Above(PathBuf),
}

impl Shift {
    fn between(here: &Path, there: &Path) -> Option<Self> {
        let below = there.strip_prefix(here).map(|offset| Self::Below(offset.to_owned()));
        below.or_else(|_| here.strip_prefix(there).map(|offset| Self::Above(offset.to_owned()))).ok()
    }

    fn to_here(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Below(offset) => Some(offset.join(path)),
            Self::Above(offset) => path.strip_prefix(offset).ok().map(Path::to_owned),
        }
    }
}

impl Snapshot {
    /// Makes what both look after the way the other found it, and forgets what has been made since.
    pub(super) fn agree(&mut self, here: &Dir, other: &Self, there: &Dir) -> io::Result<()> {
        let root = root(there)?;
        let shift = Shift::between(&self::root(here)?, &root);
        let to_here = |path: &Path| shift.as_ref().and_then(|shift| shift.to_here(path));
        let mut agreed = BTreeSet::new();
        for dir in other.found.dirs.keys() {
            let same = other.ids.get(dir).map(|id| self.ids.iter().filter(move |(_, own)| *own == id));
            let same = same.into_iter().flatten().map(|(own, _)| own.clone());
            let own: Vec<_> = same.chain(to_here(dir)).collect();
            for own in own {
                self.take(&own, other, dir);
                agreed.insert(own);
            }
        }
        if shift.is_none() {
            return Ok(());
        }
        let most = other.found.looked + MOST_NEW;
        let now = find(there, most, Indexes::ReadAgain(&other.found), &mut Reading::default());
        if let Some(error) = now.error {
            return Err(error);
        }
        if let Some(path) = now.excess.first() {
            return Err(too_much(path));
        }
        for dir in now.dirs.keys().filter(|dir| !other.found.dirs.contains_key(*dir)) {
            let id = id(there, dir)?;
            let same = self.ids.iter().filter(|(_, own)| Some(**own) == id).map(|(own, _)| own.clone());
            let own: Vec<_> = same.chain(to_here(dir)).filter(|own| !agreed.contains(own)).collect();
            for own in own {
                self.forget(&own);
            }
        }
        for (path, odd) in now.odd {
            if other.found.odd.get(&path) != Some(&odd)
                && let Some(own) = to_here(&path)
            {
                self.found.odd.remove(&own);
            }
        }
        for path in now.pointers.keys().chain(other.found.pointers.keys()) {
            let (before, now) = (other.found.pointers.get(path), now.pointers.get(path));
            let changed = before.map(|(thing, _)| thing) != now.map(|(thing, _)| thing);
            let Some(own) = to_here(path).filter(|_| changed) else { continue };
            match before {
                Some((thing, to)) => {
                    let to = match to {
                        Leads::Inside(to) => to_here(to).map_or_else(|| Leads::Outside(root.join(to)), Leads::Inside),
                        to => to.clone(),
                    };
                    self.found.pointers.insert(own, (thing.clone(), to));
                }
                None => drop(self.found.pointers.remove(&own)),
            }
        }
        Ok(())
    }
    /// Takes what another found in one of its directories.
    fn take(&mut self, own: &Path, other: &Self, dir: &Path) {
        let role = *self.found.dirs.entry(own.to_owned()).or_insert(Role::Inner);
        if let Some(id) = other.ids.get(dir) {
            self.ids.entry(own.to_owned()).or_insert(*id);
        }
        let both_top = role == Role::Top && other.found.dirs.get(dir) == Some(&Role::Top);
        // Samples, which are taken note of in the workspace's own repository only, stay as they are.
        let is_left_out = |path: &Path, from: &Path| {
            !both_top && path.strip_prefix(from).is_ok_and(|inner| inner.ancestors().any(is_sample))
        };
        for name in GUARDED.iter().map(Path::new) {
            let guarded = own.join(name);
            self.things.retain(|path, _| !path.starts_with(&guarded) || is_left_out(path, own));
            let theirs = dir.join(name);
            for (path, thing) in other.things.range(theirs.clone()..).take_while(|(path, _)| path.starts_with(&theirs))
            {
                if !is_left_out(path, dir)
                    && let Ok(inner) = path.strip_prefix(dir)
                {
                    self.things.insert(own.join(inner), thing.clone());
                }
            }
            // One in a directory that is not there any more.
            while let Some(orphan) = self.orphan(&guarded) {
                self.things.remove(&orphan);
            }
        }
    }

    fn orphan(&self, below: &Path) -> Option<PathBuf> {
        let inner = self.things.range(below.to_owned()..).take_while(|(path, _)| path.starts_with(below));
        let has_dir = |path: &Path| {
            path.parent().and_then(|above| self.things.get(above)).is_some_and(super::thing::Thing::is_dir)
        };
        inner.map(|(path, _)| path).find(|path| *path != below && !has_dir(path)).cloned()
    }

    /// Forgets a directory, so that it will be one that is new.
    fn forget(&mut self, dir: &Path) {
        self.found.dirs.remove(dir);
        self.ids.remove(dir);
        let guarded: Vec<_> = GUARDED.iter().map(|name| dir.join(name)).collect();
        self.things.retain(|path, _| !guarded.iter().any(|guarded| path.starts_with(guarded)));
        self.heads.retain(|path, _| path.parent() != Some(dir));
    }
}

/// Where a workspace is now.
fn root(workspace: &Dir) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", workspace.as_fd().as_raw_fd()))
}
