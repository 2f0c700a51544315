//! Finds the git directories of a workspace: those that `git status` in it reads config from and runs hooks of.
//!
//! ```text
//!  workspace/.git ── a directory, or a link or file that leads to one ──► git directory ─┬─ commondir ──► another
//!  workspace itself, if it is a bare repository ────────────────────────►                ├─ modules/**
//!                                                                                        ├─ worktrees/*
//!  submodule/.git ◄───────────────────────────── each that the index names ──────────────┘
//! ```
//!
//! Deliberately absent: a walk of the workspace. A repository in it that the index does not name is not entered by git.

mod indexes;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, MetadataExt};

use super::reading::{Index, Reading};
use super::thing::{Leads, MOST_SMALL, Stamp, Thing, leads, look, metadata, names, opened};

pub(super) const DOT_GIT: &str = ".git";
pub(super) const WORKTREES: &str = "worktrees";
pub(super) const MODULES: &str = "modules";
const COMMON: &str = "commondir";

/// Deeper than the names of submodules are.
const MOST_DEEP: usize = 64;

/// How git comes to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// It is the workspace's own repository. Without it git would look for another.
    Top,
    /// It belongs to another one.
    Inner,
}

/// What git would read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) dirs: BTreeMap<PathBuf, Role>,
    /// Links and files that lead to git directories.
    pub(super) pointers: BTreeMap<PathBuf, (Thing, Leads)>,
    /// The indexes, which need not be read again as long as they have not been changed.
    indexes: BTreeMap<PathBuf, Arc<Index>>,
    /// What lies in an index's place and is none, or one that is not understood.
    pub(super) odd: BTreeMap<PathBuf, Odd>,
    /// Indexes that are small enough to be put back.
    pub(super) kept: BTreeMap<PathBuf, Thing>,
    /// How much was looked at for it.
    pub(super) looked: usize,
    /// What was not looked at, because it was too much.
    pub(super) excess: Vec<PathBuf>,
    /// The first thing that could not be looked at.
    pub(super) error: Option<io::Error>,
}

/// What is in an index's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// Git may come elsewhere by it than this process does.
    Link(PathBuf),
    File(Stamp),
    Other,
}

/// Whether indexes are read: they may be large.
#[derive(Clone, Copy)]
pub(super) enum Indexes<'a> {
    Leave,
    Read,
    /// Those that have been changed since.
    ReadAgain(&'a Found),
}

/// Looks at `most` places.
pub(super) fn find(workspace: &Dir, most: usize, indexes: Indexes<'_>, reading: &mut Reading) -> Found {
    let (next, seen) = (VecDeque::new(), HashSet::new());
    let mut search = Search { workspace, indexes, reading, next, seen, found: Found::default() };
    search.go(Place::Worktree(PathBuf::new(), Role::Top));
    match is_bare(workspace) {
        Ok(true) => search.go(Place::GitDir(PathBuf::new(), Role::Top, Some(PathBuf::new()))),
        Ok(false) => {}
        Err(error) => search.found.error = Some(error),
    }
    while let Some(place) = search.next.pop_front() {
        let path = place.path();
        if search.found.looked == most || path.components().count() > MOST_DEEP {
            search.found.excess.push(path);
            continue;
        }
        search.found.looked += 1;
        if let Err(error) = opened(workspace, &path, &mut || search.look_at(&place)) {
            search.found.error.get_or_insert(error);
        }
    }
    search.found
}

/// Whether git might take the workspace itself for a repository: it has all the names.
pub(super) fn is_bare(workspace: &Dir) -> io::Result<bool> {
    let has = |name: &str| Ok::<_, io::Error>(metadata(workspace, Path::new(name))?.is_some());
    Ok(has("HEAD")? && (has(COMMON)? || (has("objects")? && has("refs")?)))
}

/// Whether a path is a directory without any link on its way.
pub(super) fn is_real_dir(workspace: &Dir, path: &Path) -> io::Result<bool> {
    for way in super::thing::ways(path) {
        if !metadata(workspace, way)?.is_some_and(|metadata| metadata.is_dir()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A path in a file as git reads it: without the end of the line, but with every other blank.
pub(super) fn line(content: &[u8]) -> &[u8] {
    let text = content.split(|byte| *byte == 0).next().unwrap_or_default();
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    &text[..end]
}

/// Somewhere to look.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// A directory with a `.git` in it.
    Worktree(PathBuf, Role),
    /// One, and where the files of its index are.
    GitDir(PathBuf, Role, Option<PathBuf>),
    /// A directory of git directories, at any depth; or one of them.
    Among(PathBuf),
}

impl Place {
    fn path(&self) -> PathBuf {
        match self {
            Self::Worktree(path, _) => path.join(DOT_GIT),
            Self::GitDir(path, ..) | Self::Among(path) => path.clone(),
        }
    }
}

struct Search<'a> {
    workspace: &'a Dir,
    indexes: Indexes<'a>,
    reading: &'a mut Reading,
    next: VecDeque<Place>,
    seen: HashSet<Place>,
    found: Found,
}

impl Search<'_> {
    fn go(&mut self, place: Place) {
        if self.seen.insert(place.clone()) {
            self.next.push_back(place);
        }
    }

    fn look_at(&mut self, place: &Place) -> io::Result<()> {
        match place {
            Place::Worktree(path, role) => self.worktree(path, *role),
            Place::GitDir(path, role, worktree) => self.git_dir(path, *role, worktree.as_deref()),
            Place::Among(path) => self.among(path),
        }
    }

    fn worktree(&mut self, worktree: &Path, role: Role) -> io::Result<()> {
        let path = worktree.join(DOT_GIT);
        let Some(thing) = self.look_small(&path)? else { return Ok(()) };
        let dir = if thing.is_dir() { Some(path) } else { self.follow(&path, worktree, thing) };
        if let Some(dir) = dir {
            self.go(Place::GitDir(dir, role, Some(worktree.to_owned())));
        }
        Ok(())
    }

    /// What git takes no large file for. What is too much is passed over: before a command it is not run, after it such
    /// files are taken away where they are new.
    fn look_small(&mut self, path: &Path) -> io::Result<Option<Thing>> {
        let size = metadata(self.workspace, path)?.filter(cap_std::fs::Metadata::is_file).map_or(0, |now| now.size());
        if size <= MOST_SMALL && self.reading.may_read(size) {
            return look(self.workspace, path, None);
        }
        let is_new = match self.indexes {
            Indexes::ReadAgain(before) => !path.parent().is_some_and(|dir| before.dirs.contains_key(dir)),
            Indexes::Leave | Indexes::Read => true,
        };
        if is_new && !self.found.excess.iter().any(|excess| excess == path) {
            self.found.excess.push(path.to_owned());
        }
        Ok(None)
    }

    /// Where in the workspace a link leads, or a file that says `gitdir: path`.
    fn follow(&mut self, path: &Path, worktree: &Path, thing: Thing) -> Option<PathBuf> {
        let mut to = leads(self.workspace, path);
        if let Leads::Inside(there) = &to
            && let Ok(Some(Thing::File { content, .. })) = self.look_small(there)
        {
            let named = line(content.strip_prefix(b"gitdir: ").unwrap_or_default());
            to = if named.is_empty() {
                Leads::Nowhere
            } else {
                leads(self.workspace, &worktree.join(OsStr::from_bytes(named)))
            };
        }
        self.found.pointers.insert(path.to_owned(), (thing, to.clone()));
        if let Leads::Inside(dir) = to { Some(dir) } else { None }
    }

    fn git_dir(&mut self, dir: &Path, role: Role, worktree: Option<&Path>) -> io::Result<()> {
        let known = self.found.dirs.entry(dir.to_owned()).or_insert(role);
        if role == Role::Top {
            *known = Role::Top;
        }
        for name in [MODULES, WORKTREES] {
            if metadata(self.workspace, &dir.join(name))?.is_some() {
                self.all_among(&dir.join(name))?;
            }
        }
        let common = metadata(self.workspace, &dir.join(COMMON))?.is_some();
        if common && let Some(Thing::File { content, .. }) = self.look_small(&dir.join(COMMON))? {
            let there = dir.join(OsStr::from_bytes(line(&content)));
            if let Leads::Inside(there) = leads(self.workspace, &there) {
                self.go(Place::GitDir(there, role, None));
            }
        }
        match worktree {
            Some(worktree) if !matches!(self.indexes, Indexes::Leave) => {
                let (two_formats, elsewhere) = self.settings(dir)?;
                for worktree in [worktree.to_owned()].into_iter().chain(elsewhere) {
                    self.indexes(dir, &worktree, common || two_formats)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The directories in a directory, which may be a link to it.
    fn all_among(&mut self, path: &Path) -> io::Result<()> {
        let Some(dir) = self.directory(path)? else { return Ok(()) };
        for inner in names(self.workspace, &dir)? {
            self.go(Place::Among(inner));
        }
        Ok(())
    }

    fn among(&mut self, path: &Path) -> io::Result<()> {
        let Some(dir) = self.directory(path)? else { return Ok(()) };
        if metadata(self.workspace, &dir.join("HEAD"))?.is_some() {
            self.go(Place::GitDir(dir, Role::Inner, None));
            return Ok(());
        }
        // The name of a submodule may have slashes in it.
        self.all_among(&dir)
    }

    fn directory(&mut self, path: &Path) -> io::Result<Option<PathBuf>> {
        Ok(match look(self.workspace, path, None)? {
            Some(Thing::Directory { .. }) => Some(path.to_owned()),
            Some(link @ Thing::Link(_)) => self.follow(path, path, link),
            _ => None,
        })
    }

    /// Whether a repository says in which format it is; and where its worktree is, if it says so.
    fn settings(&mut self, dir: &Path) -> io::Result<(bool, Vec<PathBuf>)> {
        let (mut two_formats, mut worktrees) = (false, Vec::new());
        for name in ["config", "config.worktree"] {
            let content = match self.look_small(&dir.join(name))? {
                Some(Thing::File { content, .. }) => content,
                other => {
                    two_formats |= other.is_some();
                    continue;
                }
            };
            two_formats |= content.windows(12).any(|word| word.eq_ignore_ascii_case(b"objectformat"));
            for worktree in content.split(|byte| *byte == b'\n').filter_map(super::config::worktree).take(MOST_DEEP) {
                if let Leads::Inside(there) = leads(self.workspace, &dir.join(worktree)) {
                    worktrees.push(there);
                }
            }
        }
        Ok((two_formats, worktrees))
    }
}
