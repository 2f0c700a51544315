//! Where PostgreSQL's programs are, and where a cluster may be.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Nobody: who the server runs as where the tests run as root.
pub const NOBODY: u32 = 65534;

/// The longest path of a Unix socket is 107 bytes, and the socket's name and a random one go behind the directory.
const LONGEST: usize = 107 - "/pgXXXXXX/.s.PGSQL.5432".len();

/// Where the programs are: Debian keeps them out of the search path, one directory for each version.
pub fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    let all = std::env::split_paths(&path).chain(versions.into_iter().rev());
    // The links that some put into the path lead to where the others are.
    let found = all.filter_map(|dir| std::fs::canonicalize(dir.join("initdb")).ok());
    found.filter_map(|initdb| initdb.parent().map(Path::to_owned)).find(|dir| dir.join("postgres").exists())
}

/// A directory with a short name, the server's.
pub fn directory() -> PathBuf {
    let usual = std::env::temp_dir();
    let base = if usual.as_os_str().len() > LONGEST { PathBuf::from("/tmp") } else { usual };
    // It is the keeper's to remove.
    let dir = tempfile::Builder::new().prefix("pg").tempdir_in(base).unwrap().keep();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    dir
}
