//! What a path may lead to, and what may not be reached by it. `git` holds what is guarded in a repository, `race` what
//! holds while somebody else exchanges directories, `kinds` what is no ordinary file.

mod git;
mod kinds;
mod race;

use std::io::Read;
use std::os::unix::fs::symlink;

use super::*;

fn workspace() -> (tempfile::TempDir, Workspace) {
    let dir = tempfile::tempdir().unwrap();
    let code = dir.path().join("code");
    std::fs::create_dir_all(code.join("src")).unwrap();
    std::fs::create_dir(dir.path().join("code-evil")).unwrap();
    std::fs::write(dir.path().join("code-evil/secret"), "s").unwrap();
    std::fs::write(code.join("src/a"), "a").unwrap();
    let workspace = Workspace::open(&code, None).unwrap();
    (dir, workspace)
}

fn read(workspace: &Workspace, path: &str) -> Result<String, PathError> {
    let mut text = String::new();
    workspace.open_file(path)?.read_to_string(&mut text).unwrap();
    Ok(text)
}

#[test]
fn paths_inside_are_followed_and_paths_outside_are_not() {
    let (dir, workspace) = workspace();
    let code = dir.path().join("code");
    symlink("src/a", code.join("inner")).unwrap();
    symlink("../code-evil/secret", code.join("outer")).unwrap();
    symlink(dir.path(), code.join("up")).unwrap();
    for inside in ["src/a", "./src/../src/a", "inner", &code.join("src/a").display().to_string()] {
        assert_eq!(read(&workspace, inside).unwrap(), "a", "{inside}");
    }
    let sibling = dir.path().join("code-evil/secret").display().to_string();
    for outside in
        ["../code-evil/secret", "outer", "up/code-evil/secret", "/etc/passwd", &sibling, "src/../../code-evil/secret"]
    {
        assert!(matches!(read(&workspace, outside), Err(PathError::Outside(_))), "{outside}");
        assert!(workspace.replace(outside, b"x").is_err(), "{outside}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("code-evil/secret")).unwrap(), "s");
}

#[test]
fn replacing_keeps_the_mode_and_does_not_write_through_a_hard_link() {
    let (dir, workspace) = workspace();
    let (file, other) = (dir.path().join("code/src/a"), dir.path().join("outside"));
    std::fs::hard_link(&file, &other).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o751)).unwrap();
    symlink("src/a", dir.path().join("code/link")).unwrap();
    workspace.replace("link", b"new").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "a");
    assert!(dir.path().join("code/link").symlink_metadata().unwrap().is_symlink());
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o751);
    assert_eq!(std::fs::read_dir(dir.path().join("code/src")).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_replaced_all_the_time_is_found_under_its_own_name() {
    let (dir, workspace) = workspace();
    let code = dir.path().join("code");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..300).for_each(|_| workspace.replace("src/a", b"x").unwrap()));
        }
    });
    let names: Vec<_> = std::fs::read_dir(code.join("src")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn a_dangling_link_creates_nothing() {
    let (dir, workspace) = workspace();
    for refused in ["q/../../e", "r/../e", "new/"] {
        assert!(workspace.replace(refused, b"x").is_err(), "{refused}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("code")).unwrap().count(), 1);
    symlink("src/later", dir.path().join("code/dangling")).unwrap();
    symlink("nowhere/later", dir.path().join("code/deeper")).unwrap();
    assert!(matches!(workspace.replace("deeper", b"x"), Err(PathError::Dangling(_))));
    assert!(!dir.path().join("code/nowhere").exists());
    assert!(matches!(workspace.replace("dangling", b"x"), Err(PathError::Dangling(_))));
    workspace.replace("new/dir/file", b"x").unwrap();
    assert_eq!(read(&workspace, "new/dir/file").unwrap(), "x");
}

#[test]
fn whether_a_file_may_be_changed_is_known_without_making_anything() {
    let (dir, workspace) = workspace();
    for path in ["src/a", "new", "new/dir/file"] {
        workspace.may_change(path).unwrap();
    }
    for path in ["../x", "src", "src/a/b", "/etc/passwd"] {
        assert!(workspace.may_change(path).is_err(), "{path}");
    }
    assert!(workspace.remove("new/src").is_err_and(|error| error.is_not_found()));
    assert_eq!(std::fs::read_dir(dir.path().join("code")).unwrap().count(), 1);
}

/// The same tests once more where the kernel has no `openat2`, so that each path is walked step by step.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test runs itself again under a filter")]
fn all_of_this_holds_without_openat2() {
    const FILTER: &str = "\
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def rule(code, jt, jf, k): return struct.pack('HBBI', code, jt, jf, k)
# Load the system call's number; openat2 (437 everywhere) answers ENOSYS, the rest passes.
rules = rule(0x20, 0, 0, 0) + rule(0x15, 0, 1, 437) + rule(0x06, 0, 0, 0x50000 | 38) + rule(0x06, 0, 0, 0x7fff0000)
text = ctypes.create_string_buffer(rules)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 4, ctypes.addressof(text)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
assert libc.syscall(437, -100, b'/', None, 0) == -1 and ctypes.get_errno() == 38
os.execv(sys.argv[1], sys.argv[1:])
";
    let own = std::env::current_exe().unwrap();
    let mut python = std::process::Command::new("python3");
    let again = python.args(["-c", FILTER]).arg(own).args(["tools::workspace", "--skip", "without_openat2"]).output();
    let Ok(again) = again.inspect_err(|error| eprintln!("SKIPPED: python3 cannot be run ({error})")) else { return };
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{said}{}", String::from_utf8_lossy(&again.stderr));
    assert!(said.contains("race::a_directory_that_becomes_a_link_leads_nowhere ... ok"), "{said}");
}
