//! What commands do to repositories, and what is left of it. `inner` is about those that belong to others.

mod inner;
mod nested;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;

fn workspace() -> (tempfile::TempDir, OwnedFd) {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".git/hooks/deep")).unwrap();
    fs::write(home.path().join(".git/config"), "[core]\n").unwrap();
    fs::write(home.path().join(".git/hooks/deep/x"), "x").unwrap();
    symlink("deep/x", home.path().join(".git/hooks/pre-commit")).unwrap();
    let handle = File::open(home.path()).unwrap().into();
    (home, handle)
}

/// All that is looked after.
fn state(home: &tempfile::TempDir) -> impl PartialEq + std::fmt::Debug + use<> {
    Snapshot::of(&Dir::open_ambient_dir(home.path(), cap_std::ambient_authority()).unwrap()).unwrap().things()
}

#[test]
fn what_a_command_did_to_hooks_and_config_is_put_back() {
    let (home, handle) = workspace();
    let (git, before) = (home.path().join(".git"), state(&home));
    let attacks: &[fn(&Path)] = &[
        |git| fs::write(git.join("config"), "[core]\nfsmonitor = evil\n").unwrap(),
        |git| fs::write(git.join("hooks/post-checkout"), "evil").unwrap(),
        |git| fs::remove_dir_all(git.join("hooks")).unwrap(),
        |git| fs::remove_file(git.join("config")).unwrap(),
        |git| fs::write(git.join("config.worktree"), "evil").unwrap(),
        |git| {
            fs::rename(git, git.with_extension("aside")).unwrap();
            fs::create_dir(git).unwrap();
            fs::write(git.join("config"), "evil").unwrap();
        },
        |git| {
            fs::rename(git, git.with_extension("other")).unwrap();
            symlink("/etc", git).unwrap();
        },
        |git| {
            fs::remove_dir_all(git.join("hooks")).unwrap();
            symlink("/etc", git.join("hooks")).unwrap();
        },
        |git| {
            fs::write(git.join("hooks/pre-commit.sample"), "evil").unwrap();
            for dir in ["hooks", ""] {
                let closed = fs::Permissions::from_mode(0o555);
                fs::set_permissions(git.join(dir), closed).unwrap();
            }
        },
        |git| {
            let mut at = fs::File::open(git.join("hooks")).unwrap();
            for _ in 0..5000 {
                rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
                let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
                at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).unwrap().into();
            }
        },
    ];
    for (number, attack) in attacks.iter().enumerate() {
        let held = Repositories::default().hold(&handle).unwrap();
        attack(&git);
        assert_eq!(held.release(), Repository::PutBack, "attack {number} was not seen");
        assert_eq!(state(&home), before, "attack {number}");
    }
    assert_eq!(Repositories::default().hold(&handle).unwrap().release(), Repository::Unchanged);
}

#[test]
fn of_several_commands_none_makes_its_work_the_way_it_was() {
    let (home, handle) = workspace();
    let (config, all) = (home.path().join(".git/config"), Repositories::default());
    let first = all.hold(&handle).unwrap();
    fs::write(&config, "evil").unwrap();
    let second = all.hold(&handle).unwrap();
    assert_eq!(first.release(), Repository::PutBack);
    assert_eq!(fs::read_to_string(&config).unwrap(), "[core]\n");
    fs::write(&config, "evil").unwrap();
    drop(second);
    assert_eq!(fs::read_to_string(&config).unwrap(), "[core]\n");
    assert!(all.0.lock().unwrap().is_empty());
}

#[test]
fn a_repository_may_be_made_where_there_was_none() {
    let home = tempfile::tempdir().unwrap();
    let held = Repositories::default().hold(&File::open(home.path()).unwrap().into()).unwrap();
    fs::create_dir_all(home.path().join(".git/hooks")).unwrap();
    held.release();
    assert!(home.path().join(".git/hooks").exists());
}

/// A workspace with a repository that git has made, with a submodule `s/t` of its own that has one of its own.
fn real() -> (tempfile::TempDir, OwnedFd) {
    let home = tempfile::tempdir().unwrap();
    git(home.path(), "init -q deep");
    git(&home.path().join("deep"), "commit -q --allow-empty -m 1");
    git(home.path(), "init -q other");
    git(&home.path().join("other"), "submodule add -q ../deep d");
    git(&home.path().join("other"), "commit -q -m 1");
    git(home.path(), "init -q ws");
    git(&home.path().join("ws"), "submodule add -q ../other s/t");
    git(&home.path().join("ws"), "commit -q -m 1");
    git(&home.path().join("ws"), "submodule update -q --init --recursive");
    let handle = File::open(home.path().join("ws")).unwrap().into();
    (home, handle)
}

#[expect(clippy::disallowed_methods, reason = "git is what is asked")]
fn git(at: &Path, words: &str) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=x", "-c", "user.email=x@y", "-c", "protocol.file.allow=always"]).args(words.split(' '));
    git.current_dir(at).env("HOME", "/nonexistent").env("GIT_CONFIG_NOSYSTEM", "1").env_remove("GIT_DIR");
    // A command may have closed the directory.
    let Ok(output) = git.output() else { return String::new() };
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// What git would run in a workspace, if it is made to.
fn evil_config(home: &Path) -> String {
    let (evil, ran) = (home.join("evil"), home.join("ran"));
    fs::write(&evil, format!("#!/bin/sh\necho ran >> {}\n", ran.display())).unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    format!("[core]\n\trepositoryformatversion = 0\n\tfsmonitor = {}\n", evil.display())
}

/// What a command does, with the evil config at hand.
type Attack = fn(&Path, &str);

/// Each is done to a real repository; it would make git run something, and does not when the command is over.
fn nothing_runs_after(make: fn() -> (tempfile::TempDir, OwnedFd), attacks: &[Attack]) {
    for (number, attack) in attacks.iter().enumerate() {
        let (home, handle) = make();
        let (ws, evil, ran) = (home.path().join("ws"), evil_config(home.path()), home.path().join("ran"));
        let held = Repositories::default().hold(&handle).unwrap();
        attack(&ws, &evil);
        let tried = ["status", "diff", "-C s/t status", "-C s/t/d status"].map(|words| git(&ws, words));
        assert!(fs::remove_file(&ran).is_ok(), "attack {number} is none: {tried:?}");
        assert_eq!(held.release(), Repository::PutBack, "attack {number} was not seen");
        for words in ["status", "diff", "log -p", "-C s/t status", "-C s/t/d status", "submodule status --recursive"] {
            let said = git(&ws, words);
            assert!(!ran.exists(), "attack {number} succeeds in git {words}: {said}");
        }
        let (held, again) = (Repositories::default().hold(&handle).unwrap(), state_of(&handle));
        assert_eq!((held.release(), state_of(&handle) == again), (Repository::Unchanged, true), "attack {number}");
    }
}

fn state_of(handle: &OwnedFd) -> impl PartialEq + std::fmt::Debug + use<> {
    Snapshot::of(&Dir::from_std_file(File::from(handle.try_clone().unwrap()))).unwrap().things()
}

/// Makes a directory a bare repository.
fn bare(at: &Path, evil: &str) {
    for name in ["objects", "refs"] {
        fs::create_dir_all(at.join(name)).unwrap();
    }
    fs::write(at.join("HEAD"), "ref: refs/heads/master\n").unwrap();
    fs::write(at.join("config"), format!("{evil}\tworktree = .\n")).unwrap();
}

#[test]
fn a_workspace_does_not_become_a_repository_that_runs_something() {
    nothing_runs_after(
        real,
        &[
            |ws, evil| {
                bare(ws, evil);
                fs::remove_file(ws.join(".git/HEAD")).unwrap();
            },
            |ws, evil| {
                bare(ws, evil);
                fs::write(ws.join(".git/HEAD"), "nothing\n").unwrap();
            },
            |ws, evil| {
                bare(ws, evil);
                fs::rename(ws.join(".git/objects"), ws.join(".git/o")).unwrap();
                fs::write(ws.join(".git/objects"), "").unwrap();
            },
            |ws, evil| {
                bare(ws, evil);
                fs::remove_dir_all(ws.join(".git/refs")).unwrap();
                symlink("/nonexistent", ws.join(".git/refs")).unwrap();
            },
            |ws, evil| {
                bare(ws, evil);
                fs::remove_dir_all(ws.join(".git")).unwrap();
            },
        ],
    );
    let (home, handle) = real();
    let (ws, held) = (home.path().join("ws"), Repositories::default().hold(&handle).unwrap());
    for name in ["objects", "refs"] {
        fs::set_permissions(ws.join(".git").join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(ws.join(".git"), fs::Permissions::from_mode(0o0)).unwrap();
    assert_eq!(held.release(), Repository::PutBack);
    for (name, mode) in [("", 0o755), ("objects", 0o755), ("refs", 0o755)] {
        assert_eq!(fs::metadata(ws.join(".git").join(name)).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn without_a_repository_before_there_is_none_that_runs_something_after() {
    nothing_runs_after(
        || {
            let home = tempfile::tempdir().unwrap();
            fs::create_dir(home.path().join("ws")).unwrap();
            let handle = File::open(home.path().join("ws")).unwrap().into();
            (home, handle)
        },
        &[
            bare,
            |ws, evil| {
                git(ws, "init -q");
                fs::write(ws.join(".git/config"), evil).unwrap();
            },
            |ws, evil| {
                git(ws, "init -q --separate-git-dir=.repo");
                fs::write(ws.join(".repo/config"), evil).unwrap();
            },
            |ws, evil| {
                git(ws, "init -q x");
                fs::write(ws.join("x/.git/config"), evil).unwrap();
                symlink("x/.git", ws.join(".git")).unwrap();
            },
            |ws, evil| {
                bare(ws, evil);
                fs::write(ws.join(".git"), "gitdir: .\n").unwrap();
            },
            |ws, evil| {
                let outside = ws.with_file_name("outside");
                git(ws, &format!("init -q {}", outside.display()));
                fs::write(outside.join(".git/config"), evil).unwrap();
                fs::write(ws.join(".git"), format!("gitdir: {}/.git\n", outside.display())).unwrap();
            },
            |ws, evil| {
                git(ws, "init -q");
                fs::create_dir(ws.join("c")).unwrap();
                bare(&ws.join("c"), evil);
                fs::write(ws.join(".git/commondir"), "../c\n").unwrap();
            },
        ],
    );
    let home = tempfile::tempdir().unwrap();
    let handle = File::open(home.path()).unwrap().into();
    let held = Repositories::default().hold(&handle).unwrap();
    git(home.path(), "init -q --bare .");
    assert_eq!((held.release(), home.path().join("HEAD").exists()), (Repository::Unchanged, true));
}

#[test]
fn a_workspace_that_is_a_bare_repository_keeps_its_config() {
    nothing_runs_after(
        || {
            let (home, handle) = real();
            let ws = home.path().join("ws");
            fs::remove_dir_all(ws.join(".git")).unwrap();
            bare(&ws, "[core]\n\tbare = false\n");
            (home, handle)
        },
        &[
            |ws, evil| fs::write(ws.join("config"), format!("{evil}\tworktree = .\n")).unwrap(),
            |ws, evil| {
                git(ws, "init -q .");
                fs::write(ws.join(".git/config"), evil).unwrap();
            },
        ],
    );
}

#[test]
fn where_the_repository_is_elsewhere_in_the_workspace_it_is_kept_there() {
    nothing_runs_after(
        || {
            let (home, handle) = real();
            let ws = home.path().join("ws");
            fs::create_dir(ws.join("a")).unwrap();
            fs::rename(ws.join(".git"), ws.join("a/repo")).unwrap();
            fs::write(ws.join(".git"), "gitdir: a/repo\n").unwrap();
            (home, handle)
        },
        &[
            |ws, evil| fs::write(ws.join("a/repo/config"), evil).unwrap(),
            |ws, evil| {
                fs::rename(ws.join("a"), ws.join("b")).unwrap();
                symlink("b", ws.join("a")).unwrap();
                fs::write(ws.join("a/repo/config"), evil).unwrap();
            },
            |ws, evil| {
                bare(ws, evil);
                fs::remove_dir_all(ws.join("a")).unwrap();
                fs::remove_file(ws.join(".git")).unwrap();
            },
            |ws, evil| {
                git(ws, "init -q x");
                fs::write(ws.join("x/.git/config"), evil).unwrap();
                fs::write(ws.join(".git"), "gitdir: x/.git\n").unwrap();
            },
        ],
    );
    nothing_runs_after(
        || {
            let (home, handle) = real();
            let ws = home.path().join("ws");
            fs::rename(ws.join(".git"), ws.join("repo")).unwrap();
            symlink(ws.join("repo"), ws.join(".git")).unwrap();
            (home, handle)
        },
        &[|ws, evil| fs::write(ws.join("repo/config"), evil).unwrap()],
    );
}
