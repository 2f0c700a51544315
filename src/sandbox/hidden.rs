//! What lies among the system's files and is not everybody's.
//!
//! Commands run as the service's user, so a file that this user may read and others may not (a key in `/etc`, a `.env` in
//! `/opt/agent`) would be theirs as well. It is looked for once, when the service starts, which must not take long:
//!
//! ```text
//!  /etc, /usr/local, /opt   all the way down, level by level, up to so many entries
//!  /usr, /bin, /lib, …      two levels: packages put them there, and they show secrets to nobody
//! ```
//!
//! Beyond the bound, a directory in `/opt` is not shown at all: what is there can be shown by `SANDBOX_READ`, and a command
//! that misses a program is told so. `/usr/local` and `/etc` are shown and a warning names them: without them nothing works.
//! Deliberately absent: what is put there while the service runs.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;

/// How much is looked at: whether all of it is somebody's who may keep secrets there, and how many levels and entries. An
/// entry takes one or two microseconds, all of them together at worst some fifty milliseconds.
const LOOKED_AT: &[(&str, usize, usize)] = &[
    ("/etc", usize::MAX, 10_000),
    ("/usr/local", usize::MAX, 15_000),
    ("/opt", usize::MAX, 15_000),
    ("/usr", 2, 10_000),
    ("/bin", 2, 5_000),
    ("/sbin", 2, 5_000),
    ("/lib", 2, 5_000),
    ("/lib32", 2, 5_000),
    ("/lib64", 2, 5_000),
    ("/libx32", 2, 5_000),
];

/// Where a directory is rather left out than shown without having been looked through.
const DISPENSABLE: &str = "/opt";

/// More than so many things to hide in one directory of those make it the service's own. Each costs every command a mount.
const HIDEABLE: usize = 64;

/// What commands may not see below `system`, though it lies there and this user may read it. What is `shown` on purpose
/// is not hidden.
pub(super) fn below(system: &[PathBuf], shown: &[&Path]) -> Vec<PathBuf> {
    let mut hidden = Vec::new();
    for (dir, levels, most) in LOOKED_AT {
        let dir = Path::new(dir);
        if !system.iter().any(|path| dir.starts_with(path)) || fs::symlink_metadata(dir).map_or(true, |it| !it.is_dir())
        {
            continue;
        }
        let mut found = Found::look(dir, *levels, *most);
        if dir == Path::new(DISPENSABLE) {
            for left_out in found.leave_out(dir, shown) {
                tracing::warn!(
                    path = %left_out.display(),
                    "commands do not see it: too much in it for a look, or too much that is not everybody's; SANDBOX_READ shows it"
                );
            }
        } else if *levels == usize::MAX && !found.pending.is_empty() {
            tracing::warn!(
                path = %dir.display(),
                "commands see it, and there is too much in it to look for files that only the service's user may read"
            );
        }
        hidden.append(&mut found.hidden);
    }
    let mut spared = Vec::new();
    for path in hidden {
        spare(path, shown, &mut spared);
    }
    spared.sort();
    spared.dedup();
    spared
}

/// The directories and files that make up `dir` without what is hidden; a directory without any of that stays one entry.
pub(super) fn without(dir: &Path, hidden: &[PathBuf]) -> Vec<PathBuf> {
    let hidden: HashSet<&Path> = hidden.iter().map(PathBuf::as_path).collect();
    let mixed: HashSet<&Path> = hidden.iter().flat_map(|path| path.ancestors().skip(1)).collect();
    let (mut seen, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = dirs.pop() {
        if hidden.contains(&*path) {
            continue;
        }
        if !mixed.contains(&*path) {
            seen.push(path);
            continue;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            // A link shows nothing that its target does not.
            if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
                dirs.push(entry.path());
            }
        }
    }
    seen
}

/// What a look has found.
#[derive(Debug, Default)]
struct Found {
    hidden: Vec<PathBuf>,
    /// Directories that it did not come to, or not to the end of.
    pending: VecDeque<PathBuf>,
}

impl Found {
    /// Looks at what is in `dir`, level by level: what is put there on purpose lies rather high up.
    fn look(dir: &Path, levels: usize, most: usize) -> Self {
        let mut found = Self { hidden: Vec::new(), pending: VecDeque::from([dir.to_owned()]) };
        let (mut count, top) = (0, dir.components().count());
        while let Some(dir) = found.pending.pop_front() {
            let deep = dir.components().count() - top + 1 >= levels;
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                count += 1;
                if count > most {
                    found.pending.push_front(dir);
                    return found;
                }
                let Ok(metadata) = entry.metadata() else { continue };
                let (mode, path) = (metadata.permissions().mode(), || entry.path());
                if metadata.is_symlink() {
                    continue;
                }
                let everybodys = if metadata.is_dir() { mode & 0o005 == 0o005 } else { mode & 0o004 != 0 };
                if !everybodys || !(metadata.is_dir() || metadata.is_file()) {
                    found.hidden.extend(Some(path()).filter(|path| is_ours(path)));
                } else if metadata.is_dir() && !deep {
                    found.pending.push_back(path());
                }
            }
        }
        found
    }

    /// Hides the whole directories directly in `top` that were not looked through or would be hidden in many pieces; those.
    fn leave_out(&mut self, top: &Path, shown: &[&Path]) -> Vec<PathBuf> {
        let mut left_out = Vec::new();
        for entry in fs::read_dir(top).into_iter().flatten().flatten() {
            let path = entry.path();
            let pending = self.pending.iter().any(|dir| dir.starts_with(&path) || dir == top);
            let pieces = self.hidden.iter().filter(|hidden| hidden.starts_with(&path)).count();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let as_wished = shown.iter().any(|shown| path.starts_with(shown));
            if is_dir && !as_wished && (pending || pieces > HIDEABLE) {
                self.hidden.retain(|hidden| !hidden.starts_with(&path));
                left_out.push(path);
            }
        }
        self.hidden.extend(left_out.iter().cloned());
        left_out
    }
}

/// Whether this user, and with it a command, could read it or go into it: by owner, group or a list of its own.
fn is_ours(path: &Path) -> bool {
    let may = |access| rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS) != Err(Errno::ACCESS);
    may(Access::READ_OK) || may(Access::EXEC_OK)
}

/// Hides `path`, or where something below it is shown on purpose, what lies beside that.
fn spare(path: PathBuf, shown: &[&Path], hidden: &mut Vec<PathBuf>) {
    if shown.iter().any(|shown| path.starts_with(shown)) {
        return;
    }
    if !shown.iter().any(|shown| shown.starts_with(&path)) {
        hidden.push(path);
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        spare(entry.path(), shown, hidden);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files below a fresh directory, closed to others where the name says so; directories are open but for `closed`.
    fn lay_out(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let with_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        with_mode(dir.path(), 0o755);
        for file in files {
            let file = dir.path().join(file);
            for parent in file.ancestors().skip(1).take_while(|parent| *parent != dir.path()) {
                fs::create_dir_all(parent).unwrap();
                with_mode(parent, if parent.ends_with("closed") { 0o700 } else { 0o755 });
            }
            fs::write(&file, "").unwrap();
            with_mode(&file, if file.ends_with("secret") { 0o640 } else { 0o644 });
        }
        dir
    }

    fn under(root: &Path, names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| root.join(name)).collect()
    }

    fn sorted(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
        paths.sort();
        paths
    }

    #[test]
    fn what_not_everybody_may_read_is_taken_out() {
        let dir = lay_out(&["open/a", "open/deep/b", "mixed/secret", "mixed/c", "closed/d", "e"]);
        let root = dir.path();
        let found = Found::look(root, usize::MAX, 1000);
        let hidden = sorted(found.hidden);
        assert_eq!(hidden, under(root, &["closed", "mixed/secret"]));
        assert!(found.pending.is_empty());
        assert_eq!(sorted(without(root, &hidden)), under(root, &["e", "mixed/c", "open"]));
        assert_eq!(without(root, &[]), [root]);
        // Two levels down nobody looks, if that is asked for.
        assert_eq!(Found::look(root, 1, 1000).hidden, under(root, &["closed"]));
    }

    #[test]
    fn what_was_not_looked_through_is_left_out() {
        let many: Vec<String> = (0..200).map(|number| format!("big/deep/{number}")).collect();
        let mut files: Vec<&str> = many.iter().map(String::as_str).collect();
        files.extend(["small/a", "small/secret"]);
        let dir = lay_out(&files);
        let root = dir.path();
        let mut found = Found::look(root, usize::MAX, 100);
        assert_eq!(found.leave_out(root, &[]), under(root, &["big"]));
        assert_eq!(sorted(found.hidden), under(root, &["big", "small/secret"]));
        // Unless somebody wants it shown.
        let mut found = Found::look(root, usize::MAX, 100);
        assert!(found.leave_out(root, &[&root.join("big")]).is_empty());
    }

    #[test]
    fn what_is_of_many_pieces_is_left_out_as_one() {
        let many: Vec<String> = (0..=HIDEABLE).map(|number| format!("own/{number}/secret")).collect();
        let files: Vec<&str> = many.iter().map(String::as_str).collect();
        let dir = lay_out(&files);
        let mut found = Found::look(dir.path(), usize::MAX, 1000);
        assert_eq!(found.hidden.len(), HIDEABLE + 1);
        assert_eq!(found.leave_out(dir.path(), &[]), found.hidden);
    }

    #[test]
    fn what_is_shown_on_purpose_is_spared() {
        let dir = lay_out(&["closed/a/x", "closed/b/y", "other/secret"]);
        let root = dir.path();
        let shown = root.join("closed/a");
        let mut hidden = Vec::new();
        for path in under(root, &["closed", "closed/a/x", "other/secret"]) {
            spare(path, &[&shown], &mut hidden);
        }
        assert_eq!(hidden, under(root, &["closed/b", "other/secret"]));
    }
}
