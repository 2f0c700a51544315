//! What is done to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::kill_point::{kill_point, kill_point_after};

/// Appends `text` if the file is exactly `start` bytes long; whether it was. An error half-way leaves a longer or shorter
/// file, which the next call finds.
pub(super) fn append(path: &Path, start: u64, text: &str) -> io::Result<bool> {
    let mut file = made(path, |path| OpenOptions::new().append(true).create(true).open(path))?;
    if file.metadata()?.len() != start {
        return Ok(false);
    }
    kill_point_after("line-torn", || file.write_all(&text.as_bytes()[..text.len() / 2]));
    file.write_all(text.as_bytes())?;
    Ok(true)
}

/// Whether the file has `text` there.
pub(super) fn holds(path: &Path, start: u64, text: &str) -> io::Result<bool> {
    let mut found = vec![0; text.len()];
    match File::open(path)?.read_exact_at(&mut found, start) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| found == text.as_bytes()),
    }
}

/// The file's length; 0 if there is none.
pub(super) fn len(path: &Path) -> io::Result<u64> {
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        metadata => Ok(metadata?.len()),
    }
}

/// Cuts the file to `len` bytes; makes it if need be.
pub(super) fn truncate(path: &Path, len: u64) -> io::Result<()> {
    let open = |path: &Path| OpenOptions::new().write(true).create(true).truncate(false).open(path);
    made(path, open)?.set_len(len)
}

/// Puts `text` in the place of the file: readers see the old one or the new one.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let partial = partial(path);
    let mut file = made(&partial, |path| File::create(path))?;
    kill_point_after("meta-torn", || file.write_all(&text.as_bytes()[..text.len() / 2]));
    file.write_all(text.as_bytes())?;
    kill_point("meta-unrenamed");
    std::fs::rename(&partial, path)
}

/// Removes the file; it is no error if it is gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a file is written before it takes its place; a crash may leave it behind.
pub(super) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Opens a file, after making its directory if somebody has removed it.
fn made(path: &Path, open: impl Fn(&Path) -> io::Result<File>) -> io::Result<File> {
    match (open(path), path.parent()) {
        (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(dir)?;
            open(path)
        }
        (opened, _) => opened,
    }
}
