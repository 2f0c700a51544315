//! What becomes of submodules and worktrees, and of more of them than there should be.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::index::tests::{gitlink, index};
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

/// A repository named by a gitlink that git itself would not write.
fn named(ws: &std::path::Path, evil: &str, name: &str) {
    git(ws, "init -q new");
    git(&ws.join("new"), "commit -q --allow-empty -m 1");
    fs::write(ws.join("new/.git/config"), evil).unwrap();
    fs::remove_file(ws.join(".git/index")).unwrap();
    fs::write(ws.join(".git/index"), index(2, &[gitlink(name)], b"")).unwrap();
}

#[test]
fn submodules_are_found_by_every_name_and_index_that_git_understands() {
    nothing_runs_after(
        real,
        &[
            |ws, evil| named(ws, evil, "./new"),
            |ws, evil| named(ws, evil, "new/../new"),
            |ws, evil| named(ws, evil, "../ws/new"),
            |ws, evil| named(ws, evil, ws.join("new").to_str().unwrap()),
            // It leads elsewhere for git than for this process.
            |ws, evil| {
                named(ws, evil, "new");
                fs::rename(ws.join(".git/index"), ws.join("i")).unwrap();
                symlink("/proc/self/cwd/i", ws.join(".git/index")).unwrap();
            },
            // Git reads into what it takes for the sum at the end.
            |ws, evil| {
                named(ws, evil, "new");
                let mut short = fs::read(ws.join(".git/index")).unwrap();
                short[11] = 2;
                short.truncate(short.len() - 20);
                short.extend(&gitlink("x")[..64]);
                fs::write(ws.join(".git/index"), short).unwrap();
            },
            // A submodule whose worktree is elsewhere.
            |ws, evil| {
                git(ws, "init -q elsewhere/new");
                git(&ws.join("elsewhere/new"), "commit -q --allow-empty -m 1");
                fs::write(ws.join("elsewhere/new/.git/config"), evil).unwrap();
                git(ws, "init -q sub");
                git(&ws.join("sub"), "commit -q --allow-empty -m 1");
                git(ws, "add sub");
                fs::write(ws.join("sub/.git/index"), index(2, &[gitlink("new")], b"")).unwrap();
                git(&ws.join("sub"), "config core.worktree ../../elsewhere");
            },
        ],
    );
}

#[test]
fn an_index_that_is_not_understood_is_the_one_before() {
    let (home, handle) = real();
    let index = home.path().join("ws/.git/index");
    let before = fs::read(&index).unwrap();
    for evil in ["", "DIRC\0\0\0\x02\0\0\0\x09"] {
        let held = Repositories::default().hold(&handle).unwrap();
        fs::write(&index, evil).unwrap();
        assert_eq!(held.release(), Repository::PutBack);
        assert!(fs::read(&index).unwrap() == before);
    }
    // One that was so before is the user's.
    fs::write(&index, "").unwrap();
    let held = Repositories::default().hold(&handle).unwrap();
    assert_eq!((held.release(), fs::read(&index).unwrap()), (Repository::Unchanged, Vec::new()));
}

#[test]
fn indexes_of_any_size_and_number_are_not_read_for_ever() {
    let (home, handle) = real();
    let ws = home.path().join("ws");
    let names: Vec<_> = (0..400).map(|number| format!("s{number:03}")).collect();
    let large = fs::File::create(ws.join("large")).unwrap();
    std::io::Write::write_all(&mut &large, b"DIRC\0\0\0\x02\xff\xff\xff\xff").unwrap();
    for size in [1000 << 20, 60 << 20] {
        large.set_len(size).unwrap();
        let held = Repositories::default().hold(&handle).unwrap();
        for name in &names {
            bare(&ws.join(name).join(".git"), "[core]\n");
            fs::hard_link(ws.join("large"), ws.join(name).join(".git/index")).unwrap();
        }
        let links: Vec<_> = names.iter().map(|name| gitlink(name)).collect();
        fs::write(ws.join(".git/index"), index(2, &links, b"")).unwrap();
        let limit = std::time::Duration::from_secs(20);
        let begun = std::time::Instant::now();
        assert_eq!(held.release(), Repository::PutBack);
        assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
        assert!(names.iter().all(|name| !ws.join(name).join(".git/index").exists()));
    }
    // Before a command it is not run.
    large.set_len(1000 << 20).unwrap();
    fs::rename(ws.join("large"), ws.join(".git/index")).unwrap();
    let error = Repositories::default().hold(&handle).err().unwrap().to_string();
    assert!(error.contains("too much in .git/index"), "{error}");
}

#[test]
fn large_files_in_the_place_of_small_ones_are_taken_away_unread() {
    let (home, handle) = real();
    let ws = home.path().join("ws");
    let links: Vec<_> = (0..300).map(|number| gitlink(&format!("s{number:03}"))).collect();
    let large = fs::File::create(ws.join("large")).unwrap();
    for size in [1 << 20, 16 << 20] {
        let held = Repositories::default().hold(&handle).unwrap();
        large.set_len(size).unwrap();
        for number in 0..300 {
            let sub = ws.join(format!("s{number:03}"));
            fs::create_dir_all(&sub).unwrap();
            fs::hard_link(ws.join("large"), sub.join(".git")).unwrap();
            bare(&ws.join(format!(".git/modules/m{number}")), "");
            fs::remove_file(ws.join(format!(".git/modules/m{number}/config"))).unwrap();
            fs::hard_link(ws.join("large"), ws.join(format!(".git/modules/m{number}/config"))).unwrap();
        }
        fs::write(ws.join(".git/index"), index(2, &links, b"")).unwrap();
        assert_eq!(held.release(), Repository::PutBack);
        let left = (0..300).filter(|number| ws.join(format!("s{number:03}/.git")).exists()).count() as u64;
        assert!(left * size <= 64 << 20, "{left}");
        for number in 0..300 {
            fs::remove_dir_all(ws.join(format!("s{number:03}"))).unwrap();
            // More than are looked at have been taken away already.
            let _ = fs::remove_dir_all(ws.join(format!(".git/modules/m{number}")));
        }
    }
}
