//! What becomes of submodules and worktrees, and of more of them than there should be.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::{Repositories, Repository};
use super::{bare, evil_config, git, nothing_runs_after, real, state_of};

#[test]
fn submodules_keep_their_config_and_new_ones_have_a_harmless_one() {
    nothing_runs_after(
        real,
        &[
            |ws, evil| fs::write(ws.join(".git/modules/s/t/config"), evil).unwrap(),
            |ws, evil| fs::write(ws.join(".git/modules/s/t/modules/d/config"), evil).unwrap(),
            |ws, evil| {
                fs::rename(ws.join(".git/modules"), ws.join("m")).unwrap();
                symlink("../m", ws.join(".git/modules")).unwrap();
                fs::write(ws.join("m/s/t/config"), evil).unwrap();
            },
            |ws, evil| {
                fs::write(ws.join(".git/modules/s/t/config"), evil).unwrap();
                git(ws, "status");
                for closed in [".git/modules/s/t/config", ".git/modules/s/t", ".git/modules/s", ".git/modules"] {
                    fs::set_permissions(ws.join(closed), fs::Permissions::from_mode(0o0)).unwrap();
                }
            },
            |ws, evil| {
                git(ws, "init -q new");
                git(&ws.join("new"), "commit -q --allow-empty -m 1");
                git(ws, "add new");
                fs::rename(ws.join("new/.git"), ws.join("e ")).unwrap();
                fs::write(ws.join("e /config"), evil).unwrap();
                fs::write(ws.join("new/.git"), "gitdir: ../e \n").unwrap();
                git(ws, "status");
                for closed in [".git/index", "new/.git", "new", ""] {
                    fs::set_permissions(ws.join(closed), fs::Permissions::from_mode(0o0)).unwrap();
                }
            },
            // Git asks any directory of which the index says that it is a submodule.
            |ws, evil| {
                git(ws, "init -q new");
                git(&ws.join("new"), "commit -q --allow-empty -m 1");
                git(ws, "add new");
                fs::write(ws.join("new/.git/config"), evil).unwrap();
            },
            |ws, evil| {
                git(ws, "update-index --index-version 4");
                git(ws, "update-index --split-index");
                git(ws, "init -q new");
                git(&ws.join("new"), "commit -q --allow-empty -m 1");
                git(ws, "add new");
                git(ws, "update-index --split-index");
                fs::write(ws.join("new/.git/config"), evil).unwrap();
            },
            |ws, evil| {
                fs::remove_file(ws.join("s/t/.git")).unwrap();
                git(&ws.join("s/t"), "init -q .");
                git(&ws.join("s/t"), "commit -q --allow-empty -m 1");
                fs::write(ws.join("s/t/.git/config"), evil).unwrap();
            },
            |ws, evil| {
                fs::remove_file(ws.join("s/t/.git")).unwrap();
                let outside = ws.with_file_name("outside");
                git(ws, &format!("init -q {}", outside.display()));
                git(&outside, "commit -q --allow-empty -m 1");
                fs::write(outside.join(".git/config"), evil).unwrap();
                symlink(outside.join(".git"), ws.join("s/t/.git")).unwrap();
            },
        ],
    );
}

#[test]
fn worktrees_are_not_led_to_another_config() {
    let (home, handle) = real();
    let (ws, tree, ran) = (home.path().join("ws"), home.path().join("tree"), home.path().join("ran"));
    git(&ws, "worktree add -q ../tree");
    git(&ws, "config extensions.worktreeConfig true");
    let own = ws.join(".git/worktrees/tree");
    let evil = evil_config(home.path());
    fs::create_dir(ws.join("c")).unwrap();
    bare(&ws.join("c"), &evil);
    for (name, text) in [("commondir", "../../../c\n"), ("config.worktree", &evil)] {
        let held = Repositories::default().hold(&handle).unwrap();
        fs::write(own.join(name), text).unwrap();
        git(&tree, "status");
        fs::remove_file(&ran).unwrap();
        assert_eq!(held.release(), Repository::PutBack);
        let said = git(&tree, "status");
        assert!(!ran.exists() && said.contains("On branch tree"), "{said}");
    }
    let held = Repositories::default().hold(&handle).unwrap();
    git(&ws, "worktree add -q new");
    let new = ws.join(".git/worktrees/new");
    fs::write(new.join("config.worktree"), &evil).unwrap();
    fs::write(new.join("commondir"), "../../../c\n").unwrap();
    assert_eq!(held.release(), Repository::PutBack);
    git(&ws.join("new"), "status");
    assert!(!ran.exists() && !new.join("commondir").exists());
}

#[test]
fn ordinary_work_is_left_as_it_is() {
    let (home, handle) = real();
    let ws = home.path().join("ws");
    for words in [
        "submodule add -q ../deep new/one",
        "commit -q -m 2",
        "worktree add -q tree",
        "-C tree commit -q --allow-empty -m 3",
        "checkout -q -b topic",
        "gc -q",
        "repack -adq",
        "checkout -q --detach",
        "worktree remove tree",
        "worktree prune",
        "submodule deinit -q -f s/t",
    ] {
        let (held, config) = (Repositories::default().hold(&handle).unwrap(), ws.join(".git/config"));
        let before = fs::read(&config).unwrap();
        let said = git(&ws, words);
        assert!(!said.contains("fatal") && !said.contains("error"), "{words}: {said}");
        let expected = if fs::read(&config).unwrap() == before { Repository::Unchanged } else { Repository::PutBack };
        assert_eq!(held.release(), expected, "{words}");
        assert_eq!(fs::read(&config).unwrap(), before);
    }
    assert!(fs::read_to_string(ws.join(".git/modules/new/one/config")).unwrap().contains("worktree = "));
}

#[test]
fn more_than_can_be_looked_at_is_taken_away() {
    let (home, handle) = real();
    let modules = home.path().join("ws/.git/modules");
    let (held, before) = (Repositories::default().hold(&handle).unwrap(), state_of(&handle));
    for number in 0..3000 {
        fs::create_dir_all(modules.join(format!("a{number}"))).unwrap();
        bare(&modules.join(format!("a{number}")), "[core]\n\tfsmonitor = evil\n");
    }
    fs::create_dir_all(modules.join(["d"; 200].join("/"))).unwrap();
    assert_eq!(held.release(), Repository::PutBack);
    for number in 0..3000 {
        let config = fs::read_to_string(modules.join(format!("a{number}/config"))).unwrap_or_default();
        assert!(!config.contains("evil"), "{number}");
    }
    fs::read_dir(&modules).unwrap().flatten().filter(|entry| entry.file_name() != "s").for_each(|entry| {
        fs::remove_dir_all(entry.path()).unwrap();
    });
    assert!(state_of(&handle) == before);
}
