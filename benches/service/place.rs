//! Where the bench works.

use std::fs::File;
use std::process::ExitCode;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use tempfile::TempDir;

/// A directory for everything that is written, removed with it. What is made below lies far apart on the disk: ext4 without
/// a journal looks at each inode that was removed in the last minutes near a directory before it makes a file there, and what
/// others have removed (an earlier round, a test) would be half of a round's time.
fn apart() -> TempDir {
    let dir = tempfile::Builder::new().prefix("codex-agent-bench-").tempdir().unwrap();
    let opened = File::open(dir.path()).unwrap();
    // As `chattr +T` does. Where the file system has no such flag it lays things out in another way.
    let _ = ioctl_getflags(&opened).and_then(|flags| ioctl_setflags(&opened, flags | IFlags::TOPDIR));
    tempfile::env::override_temp_dir(dir.path()).unwrap();
    dir
}

/// Takes the figures there, by one thread, so that one of two cores is left to what is measured. Interrupted, it still ends
/// what it has started and removes what it has written.
pub fn run(all: impl Future<Output = ()>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _place = apart();
    runtime.block_on(async {
        tokio::select! {
            () = all => ExitCode::SUCCESS,
            _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
        }
    })
}
