//! An export that is to be added to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ExportError;
use super::manifest::{self, FileEntry, Manifest};
use super::options::Options;
use super::sink::{Entry, Split};
use super::totals::Count;
use crate::domain::hex;
use crate::store::Scratch;

/// The file that says which tasks are in it.
const INDEX: &str = "index.jsonl";

/// What is there already.
#[derive(Debug)]
pub struct Parent {
    dir: PathBuf,
    pub(super) manifest: Manifest,
    /// Of its manifest.
    pub(super) sha256: String,
}

impl Parent {
    /// Reads an export; `None` if there is none in `dir`.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, ExportError> {
        let path = dir.join(manifest::NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ExportError::File { path, source }),
        };
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| ExportError::Place {
            path: path.clone(),
            detail: format!("is no manifest of this program's: {error}"),
        })?;
        // What it names is linked from there.
        let outside = manifest.files.iter().find(|file| file.path.contains("..") || file.path.starts_with('/'));
        if let Some(FileEntry { path: name, .. }) = outside {
            let detail = format!("names {name:?}, which is no file of an export");
            return Err(ExportError::Place { path, detail });
        }
        Ok(Some(Self { dir: dir.to_owned(), manifest, sha256: hex(&Sha256::digest(&text)) }))
    }

    /// Refuses to be added to by an export that was asked for otherwise: its rows would be of two kinds.
    pub(super) fn agrees(&self, options: &Options) -> Result<(), ExportError> {
        let refuse = |detail: String| Err(ExportError::Place { path: self.dir.clone(), detail });
        if !self.manifest.is_known() {
            return refuse("was written by another version, which this one cannot add to".to_owned());
        }
        let (was, now) = (&self.manifest.options, manifest::described(options));
        if *was == now {
            return self.is_whole();
        }
        let members = |value: &serde_json::Value| value.as_object().cloned().unwrap_or_default();
        let (was, now) = (members(was), members(&now));
        let mut names: Vec<_> = was.keys().chain(now.keys()).filter(|name| was.get(*name) != now.get(*name)).collect();
        names.sort_unstable();
        names.dedup();
        let names: Vec<_> = names.into_iter().map(|name| name.replace('_', "-")).collect();
        refuse(format!(
            "was made with another {}; ask for the same, export to another place, or replace it with --overwrite",
            names.join(", ")
        ))
    }

    /// Refuses one whose files are not those of its manifest: what is in it decides what is added.
    fn is_whole(&self) -> Result<(), ExportError> {
        let refuse = |path: PathBuf| {
            let detail =
                "is not as the manifest beside it says; export to another place, or with --overwrite".to_owned();
            Err(ExportError::Place { path, detail })
        };
        for shard in self.shards() {
            let path = self.dir.join(&shard.path);
            let found = path.symlink_metadata().map_err(|source| ExportError::File { path: path.clone(), source })?;
            if !found.is_file() || found.len() != shard.bytes {
                return refuse(path);
            }
        }
        let index = self.manifest.files.iter().find(|file| file.path == INDEX);
        let hash = self.hash_of(INDEX)?;
        if index.is_some_and(|index| index.sha256 == hash) { Ok(()) } else { refuse(self.dir.join(INDEX)) }
    }

    fn hash_of(&self, name: &str) -> Result<String, ExportError> {
        let path = self.dir.join(name);
        let mut hash = Sha256::new();
        let hashed = File::open(&path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
        hashed.map_err(|source| ExportError::File { path, source })?;
        Ok(hex(&hash.finalize()))
    }

    /// The tasks in it, in order.
    pub(super) fn entries(&self) -> Result<impl Iterator<Item = Result<Entry, ExportError>>, ExportError> {
        let path = self.dir.join(INDEX);
        let file = File::open(&path).map_err(|source| ExportError::File { path: path.clone(), source })?;
        Ok(BufReader::new(file).lines().map(move |line| {
            let line = line.map_err(|source| ExportError::File { path: path.clone(), source })?;
            serde_json::from_str(&line)
                .map_err(|error| ExportError::Place { path: path.clone(), detail: format!("cannot be read: {error}") })
        }))
    }

    /// Where each task in it can be looked up by its name and time.
    pub(super) fn known(&self) -> Result<Scratch, ExportError> {
        let known = Scratch::new()?;
        for entry in self.entries()? {
            let entry = entry?;
            known.note(entry.life().as_bytes(), "")?;
        }
        Ok(known)
    }

    /// Goes through all its rows.
    pub(super) fn each_row(&self, mut take: impl FnMut(&str) -> Result<(), ExportError>) -> Result<(), ExportError> {
        for shard in self.shards() {
            let path = self.dir.join(&shard.path);
            let failed = |source| ExportError::File { path: path.clone(), source };
            let mut rows = BufReader::new(File::open(&path).map_err(failed)?);
            let mut row = String::new();
            while rows.read_line(&mut row).map_err(failed)? > 0 {
                take(&row)?;
                row.clear();
            }
        }
        Ok(())
    }

    pub(super) fn whole(&self) -> Count {
        let Manifest { tasks, rows, tokens, bytes, .. } = &self.manifest;
        Count { tasks: tasks.exported, rows: *rows, tokens: tokens.total, bytes: *bytes }
    }

    pub(super) fn splits(&self) -> BTreeMap<Split, Count> {
        self.manifest.splits.clone()
    }

    pub(super) fn redacted(&self) -> BTreeMap<String, u64> {
        self.manifest.redaction.found.clone()
    }

    pub(super) fn rows_too_long(&self) -> u64 {
        self.manifest.rows_too_long
    }

    /// Its shards: they stay as they are.
    pub(super) fn shards(&self) -> impl Iterator<Item = &FileEntry> {
        self.manifest.files.iter().filter(|file| file.path.starts_with("data/"))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}
