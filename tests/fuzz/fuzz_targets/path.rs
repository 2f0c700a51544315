//! Paths below a workspace full of links: whatever the path, nothing outside is read or written, what git runs is not
//! changed, and what is read is what the path names.
#![no_main]

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use codex_agent::tools::Workspace;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "CANARY";
const GIT: &str = "not yours";

/// How many paths one directory tree serves: those that were edited fill it.
const TURNS: u32 = 256;

thread_local! {
    static PLACE: RefCell<Option<(tempfile::TempDir, u32)>> = const { RefCell::new(None) };
}

fuzz_target!(|input: (bool, &str)| {
    PLACE.with_borrow_mut(|place| {
        let (dir, turn) = place.take().filter(|(_, turn)| *turn < TURNS).unwrap_or_else(|| (tree(), 0));
        // `@` stands for the one absolute path that may lead inside.
        let path = input.1.replace('@', &dir.path().display().to_string());
        check(dir.path(), &path, input.0);
        *place = Some((dir, turn + 1));
    });
});

fn check(dir: &Path, path: &str, edit: bool) {
    let root = dir.join("ws");
    let workspace = Workspace::open(&root, None).expect("it was just made");
    if let Ok(mut file) = workspace.open_file(path) {
        let mut text = String::new();
        file.read_to_string(&mut text).expect("all of the files are text");
        assert_ne!(text, SECRET, "{path:?} was read");
        let real = fs::canonicalize(root.join(path)).expect("what was opened has a name");
        assert!(real.starts_with(fs::canonicalize(&root).expect("it is there")), "{path:?} is {real:?}");
        assert_eq!(fs::read_to_string(real).expect("it is text"), text);
    }
    if edit && workspace.replace(path, b"edited").is_ok() {
        assert_eq!(fs::read_to_string(root.join(path)).expect("it was just written"), "edited", "{path:?}");
    }
    let outside: Vec<_> =
        fs::read_dir(dir.join("out")).expect("it is there").map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["secret"], "after {path:?}");
    assert_eq!(fs::read_dir(dir).expect("it is there").count(), 2, "after {path:?}");
    assert_eq!(fs::read_to_string(dir.join("out/secret")).expect("it is there"), SECRET, "after {path:?}");
    for file in [".git/config", ".git/hooks/h", "s/.git/config"] {
        assert_eq!(fs::read_to_string(root.join(file)).expect("it is there"), GIT, "after {path:?}");
    }
    assert_eq!(fs::read_dir(root.join(".git/hooks")).expect("it is there").count(), 1, "after {path:?}");
}

fn tree() -> tempfile::TempDir {
    let dir =
        tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).expect("a directory");
    let root = dir.path().join("ws");
    for name in ["out", "ws/a/b", "ws/.git/hooks", "ws/.git/info", "ws/s/.git"] {
        fs::create_dir_all(dir.path().join(name)).expect("a directory");
    }
    for (name, text) in [
        ("out/secret", SECRET),
        ("ws/f", "f"),
        ("ws/a/f", "af"),
        ("ws/a/b/f", "abf"),
        ("ws/.git/config", GIT),
        ("ws/.git/hooks/h", GIT),
        ("ws/.git/info/exclude", "free"),
        ("ws/s/.git/config", GIT),
    ] {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    for (target, name) in [
        ("../out", "o"),
        ("../out/secret", "x"),
        ("../out/new", "n"),
        ("/", "r"),
        ("..", "u"),
        ("../..", "a/u"),
        ("b", "a/l"),
        ("../f", "a/i"),
        (".git", "g"),
        (".git/hooks", "h"),
        ("../.git/config", "a/c"),
        ("q", "p"),
        ("p", "q"),
        ("a/nothing", "d"),
    ] {
        symlink(target, root.join(name)).expect("a link");
    }
    symlink(dir.path().join("out"), root.join("a/o")).expect("a link");
    symlink(root.join("a"), root.join("w")).expect("a link");
    dir
}
