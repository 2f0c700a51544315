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

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io::{self, BufReader, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::Dir;

use super::index::{HASHES, submodules};
use super::thing::{Leads, Stamp, Thing, leads, look, metadata, names, open_file, opened};

pub(super) const DOT_GIT: &str = ".git";
pub(super) const WORKTREES: &str = "worktrees";
const MODULES: &str = "modules";
const COMMON: &str = "commondir";

/// Deeper than the names of submodules are.
const MOST_DEEP: usize = 64;

/// More submodules than are kept in mind between two looks at an index.
const MOST_REMEMBERED: usize = 1000;

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
    indexes: BTreeMap<PathBuf, Index>,
    /// How much was looked at for it.
    pub(super) looked: usize,
    /// What was not looked at, because it was too much.
    pub(super) excess: Vec<PathBuf>,
    /// The first thing that could not be looked at.
    pub(super) error: Option<io::Error>,
}

/// What an index says.
#[derive(Clone, Debug)]
struct Index {
    stamp: Stamp,
    submodules: Vec<PathBuf>,
    shared: Option<String>,
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
pub(super) fn find(workspace: &Dir, most: usize, indexes: Indexes<'_>) -> Found {
    let mut search =
        Search { workspace, indexes, next: VecDeque::new(), seen: HashSet::new(), found: Found::default() };
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
        let Some(thing) = look(self.workspace, &path, None)? else { return Ok(()) };
        let dir = if thing.is_dir() { Some(path) } else { self.follow(&path, worktree, thing) };
        if let Some(dir) = dir {
            self.go(Place::GitDir(dir, role, Some(worktree.to_owned())));
        }
        Ok(())
    }

    /// Where in the workspace a link leads, or a file that says `gitdir: path`.
    fn follow(&mut self, path: &Path, worktree: &Path, thing: Thing) -> Option<PathBuf> {
        let mut to = leads(self.workspace, path);
        if let Leads::Inside(there) = &to
            && let Ok(Some(Thing::File { content, .. })) = look(self.workspace, there, None)
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
        if common && let Some(Thing::File { content, .. }) = look(self.workspace, &dir.join(COMMON), None)? {
            let there = dir.join(OsStr::from_bytes(line(&content)));
            if let Leads::Inside(there) = leads(self.workspace, &there) {
                self.go(Place::GitDir(there, role, None));
            }
        }
        match worktree {
            Some(worktree) if !matches!(self.indexes, Indexes::Leave) => self.index(dir, "index", worktree, common),
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

    /// The submodules that an index names and that are there.
    fn index(&mut self, dir: &Path, name: &str, worktree: &Path, common: bool) -> io::Result<()> {
        let path = dir.join(name);
        let Some(metadata) = metadata(self.workspace, &path)? else { return Ok(()) };
        let is_link = metadata.is_symlink();
        // What lies outside was not made by a command.
        let leads_inside = || is_link && matches!(leads(self.workspace, &path), Leads::Inside(_));
        if !metadata.is_file() && !leads_inside() {
            return Ok(());
        }
        let known = if let Indexes::ReadAgain(before) = self.indexes { before.indexes.get(&path) } else { None };
        let index = if let Some(known) = known.filter(|known| known.stamp == Stamp::of(&metadata)) {
            for named in &known.submodules {
                self.submodule(worktree.join(named));
            }
            known.clone()
        } else {
            let Some((submodules, shared)) = self.read_index(&path, dir, worktree, common)? else { return Ok(()) };
            Index { stamp: Stamp::of(&metadata), submodules, shared }
        };
        if name == "index"
            && let Some(shared) = &index.shared
        {
            self.index(dir, &format!("sharedindex.{shared}"), worktree, common)?;
        }
        // A link's own time says nothing.
        if !is_link && Stamp::settled(&metadata).is_some() && index.submodules.len() < MOST_REMEMBERED {
            self.found.indexes.insert(path, index);
        }
        Ok(())
    }

    /// The first submodules an index names, for they may be many; and the name of the other one it goes on in.
    fn read_index(
        &mut self,
        path: &Path,
        dir: &Path,
        worktree: &Path,
        common: bool,
    ) -> io::Result<Option<(Vec<PathBuf>, Option<String>)>> {
        let Some(file) = open_file(self.workspace, path)? else { return Ok(None) };
        let mut reader = BufReader::with_capacity(64 * 1024, file);
        let hashes = if common || self.has_format(dir)? { &HASHES[..] } else { &HASHES[..1] };
        let (mut named, mut shared) = (Vec::new(), None);
        for hash in hashes {
            reader.rewind()?;
            let mut each = |path: &[u8]| {
                let path = Path::new(OsStr::from_bytes(path));
                if path.components().all(|part| matches!(part, Component::Normal(_))) {
                    self.submodule(worktree.join(path));
                    if named.len() < MOST_REMEMBERED {
                        named.push(path.to_owned());
                    }
                }
            };
            match submodules(&mut reader, *hash, &mut each) {
                Ok(other) => shared = shared.or(other),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.found.excess.push(path.to_owned());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some((named, shared)))
    }

    fn submodule(&mut self, path: PathBuf) {
        let there = is_real_dir(self.workspace, &path)
            .and_then(|is_dir| Ok(is_dir && metadata(self.workspace, &path.join(DOT_GIT))?.is_some()));
        // One that is closed will be opened when its turn comes.
        if there.unwrap_or(true) {
            self.go(Place::Worktree(path, Role::Inner));
        }
    }

    /// Whether a repository says in which format it is.
    fn has_format(&self, dir: &Path) -> io::Result<bool> {
        let config = look(self.workspace, &dir.join("config"), None)?;
        Ok(match config {
            Some(Thing::File { content, .. }) => {
                content.windows(12).any(|word| word.eq_ignore_ascii_case(b"objectformat"))
            }
            config => config.is_some(),
        })
    }
}
