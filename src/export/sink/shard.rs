//! A file that is written once, and hashed on the way.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Split;
use crate::domain::hex;
use crate::export::ExportError;
use crate::export::manifest::FileEntry;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 * 1024;

/// The name of a shard, as Hugging Face's library looks for it.
pub(in crate::export) fn name(split: Split, shard: u32) -> String {
    format!("data/{}-{shard:05}.jsonl", split.as_str())
}

/// A file on its way.
pub(super) struct Writing {
    path: PathBuf,
    name: String,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    lines: u64,
}

impl Writing {
    /// Makes the file `name` in `dir`.
    pub(super) fn create(dir: &Path, name: &str) -> Result<Self, ExportError> {
        let path = dir.join(name);
        let file = File::create_new(&path).map_err(|source| ExportError::File { path: path.clone(), source })?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Self { path, name: name.to_owned(), file, hash: Sha256::new(), bytes: 0, lines: 0 })
    }

    /// How long it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a line; its number, from 1.
    pub(super) fn line(&mut self, line: &str) -> Result<u64, ExportError> {
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|source| self.failed(source))?;
        self.hash.update(line);
        self.bytes += line.len() as u64;
        self.lines += 1;
        Ok(self.lines)
    }

    /// Adds a value as a line.
    pub(super) fn value(&mut self, value: &impl serde::Serialize) -> Result<(), ExportError> {
        let mut line = crate::domain::Json::of(value).to_string();
        line.push('\n');
        self.line(&line).map(drop)
    }

    /// Adds a text of several lines.
    pub(super) fn text(&mut self, text: &str) -> Result<(), ExportError> {
        text.split_inclusive('\n').try_for_each(|line| self.line(line).map(drop))
    }

    /// Puts it on disk for good.
    pub(super) fn close(mut self) -> Result<FileEntry, ExportError> {
        let done = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        done.map_err(|source| self.failed(source))?;
        let Self { name: path, bytes, lines, hash, .. } = self;
        Ok(FileEntry { path, bytes, lines, sha256: hex(&hash.finalize()) })
    }

    fn failed(&self, source: io::Error) -> ExportError {
        ExportError::File { path: self.path.clone(), source }
    }
}
