//! What git would run is not changed, whatever way leads to it; it may be read, and the rest of `.git` may be changed.

use std::path::Path;

use super::*;

/// A workspace with a repository, one in a submodule, a bare one, and links to them.
fn repository() -> (tempfile::TempDir, Workspace) {
    let (dir, workspace) = workspace();
    let code = dir.path().join("code");
    for git in [".git", ".git/modules/m", "bare", "sub/.git"] {
        for part in ["hooks", "info", "objects", "refs/heads"] {
            std::fs::create_dir_all(code.join(git).join(part)).unwrap();
        }
        for file in ["HEAD", "config", "hooks/pre-commit", "info/exclude", "COMMIT_EDITMSG"] {
            std::fs::write(code.join(git).join(file), "as it was").unwrap();
        }
    }
    for (target, link) in [
        (".git", "link"),
        ("../.git/hooks", "src/to-hooks"),
        (".git/config", "to-config"),
        ("bare", "to-bare"),
        ("sub/.git", "other"),
    ] {
        symlink(target, code.join(link)).unwrap();
    }
    (dir, workspace)
}

fn tree(dir: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        found.push((path.clone(), kind.is_file().then(|| std::fs::read(&path).unwrap())));
        if kind.is_dir() {
            found.extend(tree(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn every_way_to_what_git_runs_is_refused() {
    let (dir, workspace) = repository();
    let before = tree(dir.path());
    let absolute = dir.path().join("code/.git/hooks/pre-commit").display().to_string();
    for path in [
        ".git/config",
        ".git/config.worktree",
        ".git/commondir",
        ".git/hooks/pre-commit",
        ".git/hooks/new",
        ".git/hooks/new/deep",
        ".git/modules/m/config",
        ".git/modules/m/hooks/x",
        ".git/modules/new/hooks/x",
        "sub/.git/config",
        "sub/.git/hooks/pre-push",
        "fresh/.git/config",
        "fresh/.git",
        "src/.git",
        "./.git/./config",
        "src/../.git/config",
        ".git/info/../config",
        ".git/info/../hooks/x",
        "link/config",
        "link/hooks/pre-commit",
        "link/hooks/new/deep",
        "link/commondir",
        "link/modules/new/hooks/x",
        "src/to-hooks/pre-commit",
        "src/to-hooks/new/deep",
        "to-config",
        "other/config",
        "other/hooks/x",
        "bare/config",
        "bare/commondir",
        "bare/hooks/update",
        "to-bare/hooks/update",
        "to-bare/hooks/new/deep",
        &absolute,
    ] {
        assert!(matches!(workspace.replace(path, b"evil"), Err(PathError::Guarded(_))), "{path}");
        assert!(matches!(workspace.may_change(path), Err(PathError::Guarded(_))), "{path}");
        assert!(matches!(workspace.remove(path), Err(PathError::Guarded(_))), "{path}");
    }
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn it_may_be_read_and_the_rest_may_be_changed() {
    let (dir, workspace) = repository();
    for path in [".git/config", ".git/hooks/pre-commit", "link/hooks/pre-commit", "to-config", "bare/config"] {
        assert_eq!(read(&workspace, path).unwrap(), "as it was", "{path}");
    }
    for path in [
        ".git/info/exclude",
        ".git/COMMIT_EDITMSG",
        ".git/refs/heads/config",
        "link/info/exclude",
        "link/info/new/deep",
        "bare/info/exclude",
        ".gitignore",
        ".gitattributes",
        "src/.gitconfig",
        "hooks/pre-commit",
        "src/hooks/useState.js",
        "src/config",
        "config",
    ] {
        workspace.replace(path, b"new").unwrap();
        assert_eq!(read(&workspace, path).unwrap(), "new", "{path}");
    }
    assert!(dir.path().join("code/link").is_symlink());
}

#[test]
fn a_workspace_that_is_a_repository_itself_guards_its_own() {
    let (dir, _) = repository();
    let code = dir.path().join("code");
    let inside = Workspace::open(&code, Some("bare")).unwrap();
    assert!(matches!(inside.replace("config", b"x"), Err(PathError::Guarded(_))));
    assert!(matches!(inside.replace("hooks/x", b"x"), Err(PathError::Guarded(_))));
    inside.replace("info/exclude", b"x").unwrap();
    for below in [".git", "sub/.git", ".git/hooks", "./.GIT/x", "sub/.git/modules"] {
        assert!(matches!(Workspace::open(&code, Some(below)), Err(PathError::InGit(_))), "{below}");
    }
}

#[test]
fn the_last_piece_of_a_repository_is_not_an_edits_to_make() {
    for last in ["HEAD", "objects/x", "refs/heads/x"] {
        let (dir, workspace) = workspace();
        for at in ["", "deep"] {
            let at = dir.path().join("code").join(at);
            for part in ["objects", "refs"].iter().filter(|part| !last.starts_with(**part)) {
                std::fs::create_dir_all(at.join(part)).unwrap();
            }
            if last != "HEAD" {
                std::fs::write(at.join("HEAD"), "ref: refs/heads/main").unwrap();
            }
        }
        for path in [last.to_owned(), format!("deep/{last}")] {
            assert!(matches!(workspace.replace(&path, b"x"), Err(PathError::Guarded(_))), "{path}");
        }
        workspace.replace(&format!("src/{last}"), b"x").unwrap();
    }
}
