//! What a workspace's git directories were before a command, and how they are made so again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, MetadataExt};

use super::GUARDED;
use super::find::{DOT_GIT, Found, Indexes, Role, find, is_bare, is_real_dir};
use super::reading::Reading;
use super::tame::{is_sample, is_tame, tame};
use super::thing::{
    Leads, Thing, Things, ensure_dir, is_too_much, look, look_below, metadata, open_workspace, opened, remove,
    too_much, ways,
};

/// More git directories than are looked after in a workspace.
const MOST: usize = 2000;
/// More than a command makes. What is beyond is taken away unseen.
pub(super) const MOST_NEW: usize = 500;
/// How often is looked again where something was taken away unseen.
const PASSES: usize = 10;

/// What makes a directory a repository to git.
const OBJECTS: [&str; 2] = ["objects", "refs"];
const HEAD: &str = "HEAD";

/// A directory, by its device and inode.
pub(super) type Id = (u64, u64);

#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) found: Found,
    /// The directories themselves, whatever their paths are.
    pub(super) ids: BTreeMap<PathBuf, Id>,
    /// The guarded ones of all git directories.
    pub(super) things: Things,
    /// Of the workspace's own repository what makes it one.
    pub(super) heads: Things,
    /// The directories on the way to it, with their modes.
    modes: BTreeMap<PathBuf, u32>,
}

impl Snapshot {
    pub(super) fn of(workspace: &Dir) -> io::Result<Self> {
        let mut found = find(workspace, MOST, Indexes::Read, &mut Reading::default());
        if let Some(error) = found.error.take() {
            return Err(error);
        }
        if let Some(path) = found.excess.first() {
            return Err(too_much(path));
        }
        let mut snapshot =
            Self { found, ids: BTreeMap::new(), things: Things::new(), heads: Things::new(), modes: BTreeMap::new() };
        let dirs: Vec<_> = snapshot.found.dirs.iter().map(|(dir, role)| (dir.clone(), *role)).collect();
        for (dir, role) in dirs {
            if let Some(id) = id(workspace, &dir)? {
                snapshot.ids.insert(dir.clone(), id);
            }
            for name in GUARDED {
                look_at(workspace, &dir.join(name), role, &Things::new(), &mut snapshot.things)?;
            }
            if role == Role::Top {
                snapshot.add_head(workspace, &dir)?;
            }
        }
        if is_too_much(&snapshot.things) {
            return Err(too_much(Path::new(DOT_GIT)));
        }
        Ok(snapshot)
    }

    /// All that is put back, to be compared.
    #[cfg(test)]
    pub(super) fn things(self) -> (Things, Vec<PathBuf>) {
        (self.things, self.found.dirs.into_keys().collect())
    }

    /// Takes note of what makes it a repository, if it is one.
    fn add_head(&mut self, workspace: &Dir, dir: &Path) -> io::Result<()> {
        for way in ways(dir) {
            self.add_mode(workspace, way)?;
        }
        let head = dir.join(HEAD);
        let Some(head_now) = valid_head(workspace, &head)? else { return Ok(()) };
        let common = self.things.contains_key(&dir.join("commondir"));
        let mut heads = Things::from([(head, head_now)]);
        for path in OBJECTS.map(|name| dir.join(name)) {
            match look(workspace, &path, None)? {
                Some(thing @ (Thing::Directory { .. } | Thing::Link(_))) => drop(heads.insert(path, thing)),
                _ if common => {}
                _ => return Ok(()),
            }
        }
        for path in heads.iter().filter(|(_, thing)| thing.is_dir()).map(|(path, _)| path) {
            self.add_mode(workspace, path)?;
        }
        self.heads.append(&mut heads);
        Ok(())
    }

    fn add_mode(&mut self, workspace: &Dir, path: &Path) -> io::Result<()> {
        if let Some(metadata) = metadata(workspace, path)? {
            self.modes.insert(path.to_owned(), metadata.mode() & 0o7777);
        }
        Ok(())
    }

    /// Makes it as it was, and what is new harmless. Whether there was anything to be done. What fails does not keep the
    /// rest from being done.
    pub(super) fn settle(&self, workspace: &Dir) -> io::Result<bool> {
        let mut done = Done::default();
        done.note(open_workspace(workspace));
        let git = Path::new(DOT_GIT);
        if let Some((pointer, _)) = self.found.pointers.get(git) {
            done.note(make_so(workspace, git, pointer));
        }
        for (dir, role) in &self.found.dirs {
            if *role == Role::Top {
                done.note(ensure_dir(workspace, dir, &self.modes));
            }
        }
        for (path, thing) in &self.heads {
            done.note(opened(workspace, path, &mut || self.put_back_head(workspace, path, thing)));
        }
        for (dir, role) in &self.found.dirs {
            // One that belongs to another may be taken away.
            match opened(workspace, dir, &mut || is_real_dir(workspace, dir)) {
                Ok(true) => {
                    for name in GUARDED {
                        done.note(self.put_back(workspace, &dir.join(name), *role));
                    }
                }
                Ok(false) => {}
                Err(error) => done.note(Err(error)),
            }
        }
        self.tame_what_is_new(workspace, &mut done);
        let bare = Path::new("");
        if !self.found.dirs.contains_key(bare) {
            // There may be other things of these names in a workspace, so they are left alone.
            done.note(is_bare(workspace).and_then(|is_one| {
                let wild = is_one && !is_tame(workspace, bare).unwrap_or(false);
                if wild { remove(workspace, Path::new(HEAD)).map(|()| true) } else { Ok(false) }
            }));
        }
        done.error.map_or(Ok(done.changed), Err)
    }

    fn put_back_head(&self, workspace: &Dir, path: &Path, thing: &Thing) -> io::Result<bool> {
        if path.ends_with(HEAD) {
            let valid = matches!(valid_head(workspace, path), Ok(Some(_)));
            return if valid { Ok(false) } else { make_so(workspace, path, thing) };
        }
        let is_dir = metadata(workspace, path)?.is_some_and(|now| now.is_dir());
        if is_dir || thing.is_dir() {
            return ensure_dir(workspace, path, &self.modes);
        }
        make_so(workspace, path, thing)
    }

    fn put_back(&self, workspace: &Dir, path: &Path, role: Role) -> io::Result<bool> {
        let before = self.things.range(path.to_owned()..).take_while(|(inner, _)| inner.starts_with(path));
        let mut now = Things::new();
        let looked = look_at(workspace, path, role, &self.things, &mut now);
        if looked.is_ok() && before.clone().eq(&now) {
            return Ok(false);
        }
        remove(workspace, path)?;
        // A directory may be one that its owner cannot write to, so it gets its mode last.
        let mut closed = Vec::new();
        for (inner, thing) in before {
            match thing {
                Thing::Directory { mode } => {
                    Thing::Directory { mode: mode | 0o700 }.make(workspace, inner)?;
                    closed.push((inner, *mode));
                }
                thing => thing.make(workspace, inner)?,
            }
        }
        for (inner, mode) in closed.into_iter().rev() {
            workspace.set_permissions(inner, cap_std::fs::PermissionsExt::from_mode(mode))?;
        }
        Ok(true)
    }

    fn tame_what_is_new(&self, workspace: &Dir, done: &mut Done) {
        let mut reading = Reading::default();
        for pass in 1..=PASSES {
            let now = find(workspace, self.found.looked + MOST_NEW, Indexes::ReadAgain(&self.found), &mut reading);
            for (path, (thing, to)) in &now.pointers {
                let before = self.found.pointers.get(path);
                let same = before.is_some_and(|(before, led)| before == thing && (led == to || *to == Leads::Nowhere));
                // Nor may one lead to the workspace itself: it would make other things in it hooks and config.
                let astray = !matches!(to, Leads::Inside(dir) if !dir.as_os_str().is_empty());
                if !same && astray {
                    done.note(remove(workspace, path).map(|()| true));
                }
            }
            let new = now.dirs.keys().filter(|dir| !self.found.dirs.contains_key(*dir) && !dir.as_os_str().is_empty());
            for dir in new {
                done.note(tame(workspace, dir));
            }
            let odd: Vec<_> = now.odd.iter().filter(|(path, odd)| self.found.odd.get(*path) != Some(odd)).collect();
            for (path, _) in &odd {
                done.note(opened(workspace, path, &mut || self.put_back_index(workspace, path, !reading.is_over())));
            }
            if now.excess.is_empty() && now.error.is_none() && odd.is_empty() {
                return;
            }
            if pass == PASSES && (now.error.is_some() || !now.excess.is_empty()) {
                done.note(Err(now.error.unwrap_or_else(|| too_much(Path::new(DOT_GIT)))));
            }
            for path in now.excess.iter().filter(|path| !self.knows_below(path)) {
                done.note(opened(workspace, path, &mut || remove(workspace, path)).map(|()| true));
            }
        }
    }

    /// Without an index git takes all for deleted, and makes another. One that could not be read again is not put back:
    /// nobody would look into its submodules.
    fn put_back_index(&self, workspace: &Dir, path: &Path, may_be_read: bool) -> io::Result<bool> {
        remove(workspace, path)?;
        self.found
            .kept
            .get(path)
            .filter(|_| may_be_read)
            .map_or(Ok(()), |index| index.make(workspace, path))
            .map(|()| true)
    }

    /// Whether something that is looked after lies there.
    fn knows_below(&self, path: &Path) -> bool {
        let dirs = self.found.dirs.range(path.to_owned()..).next();
        dirs.is_some_and(|(dir, _)| dir.starts_with(path))
    }
}

/// Whether anything was done, and the first thing that could not be.
#[derive(Default)]
struct Done {
    changed: bool,
    error: Option<io::Error>,
}

impl Done {
    fn note(&mut self, done: io::Result<bool>) {
        match done {
            Ok(changed) => self.changed |= changed,
            Err(error) => drop(self.error.get_or_insert(error)),
        }
    }
}

pub(super) fn id(workspace: &Dir, dir: &Path) -> io::Result<Option<Id>> {
    Ok(metadata(workspace, dir)?.map(|now| (now.dev(), now.ino())))
}

/// Of what belongs to another repository, samples are left out: there are many of them, and nobody runs them.
fn look_at(workspace: &Dir, path: &Path, role: Role, before: &Things, into: &mut Things) -> io::Result<()> {
    let wanted = |inner: &Path| role == Role::Top || !is_sample(inner);
    look_below(workspace, path, before, &wanted, into)
}

/// Puts a link or a file there, if it is not there.
fn make_so(workspace: &Dir, path: &Path, thing: &Thing) -> io::Result<bool> {
    if matches!(look(workspace, path, Some(thing)), Ok(Some(now)) if now == *thing) {
        return Ok(false);
    }
    remove(workspace, path)?;
    thing.make(workspace, path)?;
    Ok(true)
}

/// As git reads it: the name of a branch, or of a commit.
fn valid_head(workspace: &Dir, path: &Path) -> io::Result<Option<Thing>> {
    let head = look(workspace, path, None)?;
    let valid = match &head {
        Some(Thing::Link(target)) => target.starts_with("refs"),
        Some(Thing::File { mode, content, .. }) if mode & 0o400 != 0 => {
            let branch = content.strip_prefix(b"ref:").map(<[u8]>::trim_ascii_start);
            let commit = content.iter().take_while(|byte| byte.is_ascii_hexdigit()).count() >= 40;
            commit || branch.is_some_and(|branch| branch.starts_with(b"refs/"))
        }
        _ => false,
    };
    Ok(head.filter(|_| valid))
}
