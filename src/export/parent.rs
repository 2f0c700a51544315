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
            return Ok(());
        }
        let members = |value: &serde_json::Value| value.as_object().cloned().unwrap_or_default();
        let (was, now) = (members(was), members(&now));
        let mut names: Vec<_> = was.keys().chain(now.keys()).filter(|name| was.get(*name) != now.get(*name)).collect();
        names.sort_unstable();
        names.dedup();
        let names: Vec<_> = names.into_iter().map(|name| name.replace('_', "-")).collect();
        refuse(format!("was made with another {}; ask for the same, or export to another place", names.join(", ")))
    }

    /// The tasks in it, in order.
    pub(super) fn entries(&self) -> Result<impl Iterator<Item = Result<Entry, ExportError>>, ExportError> {
        let path = self.dir.join("index.jsonl");
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
            known.note(format!("{} {}", entry.task_id, entry.created_at).as_bytes(), "")?;
        }
        Ok(known)
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
