//! While somebody exchanges a directory for a link that leads out, nothing outside is read or written.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;

/// Calls of each kind. In a prototype that compared canonical paths, one in five came through.
const TURNS: usize = 10_000;

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let (dir, workspace) = workspace();
    let (code, outside) = (dir.path().join("code"), dir.path().join("code-evil"));
    std::fs::write(code.join("src/secret"), "inside").unwrap();
    symlink("../code-evil", code.join("link")).unwrap();
    let done = AtomicBool::new(false);
    let (mut read_inside, mut wrote_inside) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, code.join("src"), CWD, code.join("link"), RenameFlags::EXCHANGE).unwrap();
            }
        });
        for turn in 0..TURNS {
            match read(&workspace, "src/secret") {
                Ok(text) => {
                    assert_ne!(text, "s", "the file outside was read");
                    read_inside += 1;
                }
                Err(error) => assert!(!error.to_string().contains("code-evil"), "{error}"),
            }
            let path = ["src/secret", "src/new", "src/dir/new"][turn % 3];
            wrote_inside += usize::from(workspace.replace(path, b"inside").is_ok());
        }
        done.store(true, Ordering::Relaxed);
    });
    let names: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "s");
    // How often each side wins is for the scheduler.
    let ran = |won: usize| (1..TURNS).contains(&won);
    assert!(ran(read_inside) && ran(wrote_inside), "{read_inside} {wrote_inside}: no race was run");
}
