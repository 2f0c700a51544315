//! Commands in workspaces that lie in each other.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::{Repositories, Repository};
use super::{evil_config, git};

/// What the first command does in the inner workspace `s/t` or the outer one, before the second starts in the other.
type Attack = fn(&Path, &str);

const ATTACKS: &[Attack] = &[
    |ws, evil| fs::write(ws.join("s/t/.git/config"), evil).unwrap(),
    |ws, evil| {
        fs::rename(ws.join("s/t/.git"), ws.join("s/t/aside")).unwrap();
        git(&ws.join("s/t"), "init -q .");
        git(&ws.join("s/t"), "commit -q --allow-empty -m 1");
        fs::write(ws.join("s/t/.git/config"), evil).unwrap();
    },
    |ws, evil| {
        git(ws, "-C s/t init -q new");
        git(ws, "-C s/t/new commit -q --allow-empty -m 1");
        git(ws, "-C s/t add new");
        fs::write(ws.join("s/t/new/.git/config"), evil).unwrap();
    },
    |ws, evil| {
        git(ws, "-C s/t init -q new");
        git(ws, "-C s/t/new commit -q --allow-empty -m 1");
        git(ws, "-C s/t add new");
        fs::write(ws.join("s/t/new/.git/config"), evil).unwrap();
        let index = ws.join("s/t/.git/index");
        fs::rename(&index, ws.join("s/t/i")).unwrap();
        symlink("../i", &index).unwrap();
    },
];

/// The submodule has its git directory in itself.
fn nested() -> (tempfile::TempDir, OwnedFd, OwnedFd) {
    let home = tempfile::tempdir().unwrap();
    git(home.path(), "init -q ws");
    git(home.path(), "init -q ws/s/t");
    git(home.path(), "-C ws/s/t commit -q --allow-empty -m 1");
    git(home.path(), "-C ws add s/t");
    git(home.path(), "-C ws commit -q -m 1");
    let inner = home.path().join("ws/s/t");
    fs::write(inner.join(".git/hooks/pre-commit"), "mine").unwrap();
    let [outer, inner] = [home.path().join("ws"), inner].map(|path| File::open(path).unwrap().into());
    (home, outer, inner)
}

#[test]
fn a_command_in_one_workspace_does_not_deceive_one_in_another() {
    for (number, attack) in ATTACKS.iter().enumerate() {
        for inner_first in [true, false] {
            for first_ends_first in [true, false] {
                let (home, outer, inner) = nested();
                let (ws, evil, ran) = (home.path().join("ws"), evil_config(home.path()), home.path().join("ran"));
                let all = Repositories::default();
                let (first, second) = if inner_first { (&inner, &outer) } else { (&outer, &inner) };
                let first = all.hold(first).unwrap();
                attack(&ws, &evil);
                let tried = git(&ws, "-C s/t status");
                assert!(fs::remove_file(&ran).is_ok(), "attack {number} is none: {tried}");
                let second = all.hold(second).unwrap();
                let (ends, lasts) = if first_ends_first { (first, second) } else { (second, first) };
                ends.release();
                let changed = fs::read(ws.join("s/t/.git/config")).unwrap();
                // What was put back by the one is evil again.
                if !ws.join("s/t/aside").exists() && !ws.join("s/t/new").exists() {
                    fs::write(ws.join("s/t/.git/config"), &evil).unwrap();
                    assert_eq!(lasts.release(), Repository::PutBack);
                } else {
                    lasts.release();
                }
                for words in ["status", "diff", "-C s/t status", "-C s/t diff"] {
                    let said = git(&ws, words);
                    let case = (number, inner_first, first_ends_first, words);
                    assert!(!ran.exists(), "{case:?}: {said} {}", String::from_utf8_lossy(&changed));
                }
                assert_eq!(fs::read_to_string(ws.join("s/t/.git/hooks/pre-commit")).unwrap(), "mine");
                assert!(all.0.lock().unwrap().is_empty());
            }
        }
    }
}

#[test]
fn commands_in_each_others_workspaces_change_nothing() {
    let (home, outer, inner) = nested();
    let sample = home.path().join("ws/s/t/.git/hooks/x.sample");
    fs::write(&sample, "x").unwrap();
    for [first, second] in [[&outer, &inner], [&inner, &outer]] {
        let all = Repositories::default();
        let (first, second) = (all.hold(first).unwrap(), all.hold(second).unwrap());
        git(&home.path().join("ws/s/t"), "commit -q --allow-empty -m 2");
        assert_eq!((second.release(), first.release()), (Repository::Unchanged, Repository::Unchanged));
        assert!(sample.exists());
    }
}
