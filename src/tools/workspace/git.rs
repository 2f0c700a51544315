//! Which files of a git repository an edit must not touch: those that say what git runs. It would run later, outside,
//! with the rights of whoever types `git status` there.
//!
//! `config` names programs (`core.fsmonitor`, aliases, filters), `hooks` holds them, and `commondir` or a `.git` that is
//! a file point git to another directory with a `config` and `hooks` of its own.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::Dir;

/// Files in a git directory that say what is run, or where that is said.
const SETTINGS: [&str; 3] = ["config", "config.worktree", "commondir"];

const HOOKS: &str = "hooks";

/// What tells git that a directory is one.
const HEAD: &str = "HEAD";

const DOT_GIT: &str = ".git";

/// Below these in a git directory names are the names of branches, and a branch may be called `config`.
const NAMES: [&str; 2] = ["refs", "logs"];

/// Whether the words of a path alone name such a file. It need not exist, nor need the directories above it.
pub(super) fn is_guarded_by_name(path: &Path) -> bool {
    let parts = normal(path);
    let is_dot_git = |part: &&OsStr| is(part, DOT_GIT);
    parts.last().is_some_and(is_dot_git)
        || (0..parts.len()).filter(|at| is_dot_git(&parts[*at])).any(|at| {
            let inside = &parts[at + 1..];
            let named = inside.first().is_some_and(|first| NAMES.iter().any(|name| is(first, name)));
            let is_head = inside.last().is_some_and(|last| is(last, HEAD));
            !named && (is_head || !telling(inside).is_empty())
        })
}

/// Whether something in a path is a repository's own, so that no task may work there.
pub(super) fn is_in_a_git_dir(path: &Path) -> bool {
    normal(path).iter().any(|part| is(part, DOT_GIT))
}

/// Whether `path` below `root` is such a file of a repository that is not called `.git`: a bare one, or one that a `.git`
/// link or file elsewhere points to.
pub(super) fn is_guarded_by_neighbours(root: &Dir, path: &Path) -> bool {
    let parts = normal(path);
    let dir = |at: usize| parts[..at].iter().collect::<PathBuf>();
    telling(&parts).into_iter().any(|at| is_git_dir(root, &dir(at)))
        || (0..parts.len()).any(|at| becomes_git_dir(root, &dir(at), parts[at], at + 1 == parts.len()))
}

/// Whether a directory becomes one with this name in it: a command may have left all the rest of it there, and a `config`.
fn becomes_git_dir(root: &Dir, path: &Path, name: &OsStr, is_last: bool) -> bool {
    let missing = [(HEAD, true), ("commondir", true), ("objects", false), ("refs", false)];
    let fills = missing.iter().any(|(what, file)| is(name, what) && *file == is_last);
    fills && !is_git_dir(root, path) && would_be_git_dir(root, path, Some(name))
}

/// The path without `.` and `..`, by its words alone: where it leads if none of its directories is a link.
pub(super) fn by_words(path: &Path) -> PathBuf {
    let mut words = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => words.push(name),
            Component::ParentDir => drop(words.pop()),
            _ => {}
        }
    }
    words
}

/// Where in a path stands a name that means something in a git directory.
fn telling(parts: &[&OsStr]) -> Vec<usize> {
    let last = parts.len().wrapping_sub(1);
    let tells =
        |at: &usize| is(parts[*at], HOOKS) || (*at == last && SETTINGS.iter().any(|setting| is(parts[*at], setting)));
    (0..parts.len()).filter(tells).collect()
}

/// As git itself recognises one: it has a `HEAD`, and either objects and refs or the place where they are.
fn is_git_dir(root: &Dir, path: &Path) -> bool {
    would_be_git_dir(root, path, None)
}

/// The same, if it had this name in it as well.
fn would_be_git_dir(root: &Dir, path: &Path, besides: Option<&OsStr>) -> bool {
    let has =
        |name: &str| besides.is_some_and(|besides| is(besides, name)) || root.symlink_metadata(path.join(name)).is_ok();
    has(HEAD) && (has("commondir") || (has("objects") && has("refs")))
}

/// Some file systems take `.GIT` for `.git`, and so does git on them.
fn is(part: &OsStr, name: &str) -> bool {
    part.eq_ignore_ascii_case(name)
}

fn normal(path: &Path) -> Vec<&OsStr> {
    let name = |part| if let Component::Normal(name) = part { Some(name) } else { None };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_and_settings_are_guarded_at_any_depth_and_nothing_else_is() {
        for guarded in [
            ".git",
            "sub/.git",
            ".git/config",
            ".git/config.worktree",
            ".git/commondir",
            ".git/hooks",
            ".git/hooks/pre-commit",
            ".git/hooks/deep/down",
            "a/b/.git/config",
            ".git/modules/x/hooks/post-checkout",
            ".git/modules/x/y/config",
            ".git/worktrees/w/config.worktree",
            ".GIT/Config",
            ".git/refs/.git/config",
            ".git/HEAD",
            ".git/modules/x/HEAD",
        ] {
            assert!(is_guarded_by_name(Path::new(guarded)), "{guarded}");
        }
        for free in [
            ".gitignore",
            ".gitattributes",
            "src/.gitconfig",
            ".git/info/exclude",
            ".git/COMMIT_EDITMSG",
            ".git/refs/heads/config",
            ".git/logs/refs/heads/hooks/x",
            ".git/config.lock.txt",
            "hooks/pre-commit",
            "config",
            "src/git/config",
            "x.git/config",
        ] {
            assert!(!is_guarded_by_name(Path::new(free)), "{free}");
        }
    }

    #[test]
    fn words_are_taken_without_the_ways_around() {
        assert_eq!(by_words(Path::new("./a/../.git//hooks/./x")), Path::new(".git/hooks/x"));
        assert_eq!(by_words(Path::new("../../a")), Path::new("a"));
    }
}
