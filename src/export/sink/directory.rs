//! An export as a directory that `datasets.load_dataset` opens.
//!
//! ```text
//!  DIR/data/train-00000.jsonl …   the rows         DIR/README.md       the data card
//!      data/validation-00000.jsonl                 DIR/manifest.json   what it is, with hashes
//!      index.jsonl                each task in it  DIR/rejected.jsonl  each ended task that is not, and why
//! ```
//!
//! It is written beside its place and takes it when all of it is on disk, so that nobody ever sees a part. What is added to keeps
//! its shards: they are linked into the new directory, and new ones stand beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::place::{self, Work};
use super::shard::{Writing, name};
use super::{Entry, Place, Rejected, Sink, Split};
use crate::export::manifest::{self, FileEntry, Manifest};
use crate::export::parent::Parent;
use crate::export::{ExportError, Options, Totals, card};

/// Where a shard ends: what can be moved about in one piece.
const SHARD: u64 = 256 * 1024 * 1024;

/// What becomes of an export that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is in the way.
    New,
    /// It is added to.
    Incremental,
    /// It is replaced.
    Overwrite,
}

/// Writes an export to a directory.
pub struct Directory {
    target: PathBuf,
    mode: Mode,
    work: Work,
    shard_bytes: u64,
    parent: Option<(String, Vec<FileEntry>)>,
    shards: BTreeMap<Split, (u32, Option<Writing>)>,
    files: Vec<FileEntry>,
    index: Option<Writing>,
    rejected: Option<Writing>,
    /// Tasks that were not in the parent.
    added: u64,
}

impl Directory {
    /// Whether an export could be written there: refuses a place where something else is in the way.
    pub fn check(target: &Path, mode: Mode) -> Result<(), ExportError> {
        place::is_free(target, mode)
    }

    /// To become `target`. Another one who writes there is refused.
    pub fn create(target: &Path, mode: Mode) -> Result<Self, ExportError> {
        // A link leads to the place that is meant.
        let resolved = target.file_name().and_then(|_| target.canonicalize().ok());
        let target = resolved.as_deref().unwrap_or(target);
        place::is_free(target, mode)?;
        let work = Work::begin(target)?;
        Ok(Self {
            target: target.to_owned(),
            mode,
            work,
            shard_bytes: SHARD,
            parent: None,
            shards: BTreeMap::new(),
            files: Vec::new(),
            index: None,
            rejected: None,
            added: 0,
        })
    }

    fn open(&mut self, name: &str) -> Result<Writing, ExportError> {
        Writing::create(self.work.dir(), name)
    }

    fn shard(&mut self, split: Split, more: usize) -> Result<(u32, &mut Writing), ExportError> {
        let (number, open) = self.shards.entry(split).or_default();
        if let Some(full) = open.take_if(|shard| shard.bytes() + more as u64 > self.shard_bytes) {
            self.files.push(full.close()?);
            *number += 1;
        }
        let number = *number;
        let shard = match open {
            Some(shard) => shard,
            None => open.insert(Writing::create(self.work.dir(), &name(split, number))?),
        };
        Ok((number, shard))
    }
}

impl Sink for Directory {
    fn parent(&mut self, options: &Options) -> Result<Option<Parent>, ExportError> {
        let parent = if self.mode == Mode::Incremental { Parent::open(&self.target)? } else { None };
        let (mut index, rejected) = (self.open("index.jsonl")?, self.open("rejected.jsonl")?);
        if let Some(parent) = &parent {
            parent.agrees(options)?;
            for shard in parent.shards() {
                place::link(parent.dir(), self.work.dir(), &shard.path)?;
                self.files.push(shard.clone());
            }
            for split in Split::ALL {
                let count =
                    parent.shards().filter(|shard| shard.path.starts_with(&format!("data/{}-", split.as_str())));
                self.shards.insert(split, (u32::try_from(count.count()).unwrap_or(u32::MAX), None));
            }
            for entry in parent.entries()? {
                index.value(&entry?)?;
            }
            self.parent = Some((parent.sha256.clone(), parent.manifest.files.clone()));
        }
        (self.index, self.rejected) = (Some(index), Some(rejected));
        Ok(parent)
    }

    fn row(&mut self, split: Split, text: &str) -> Result<Place, ExportError> {
        let (number, shard) = self.shard(split, text.len())?;
        Ok(Place { shard: number, line: shard.line(text)? })
    }

    fn exported(&mut self, entry: &Entry) -> Result<(), ExportError> {
        self.added += 1;
        self.index.as_mut().map_or(Ok(()), |index| index.value(entry))
    }

    fn rejected(&mut self, rejected: &Rejected<'_>) -> Result<(), ExportError> {
        self.rejected.as_mut().map_or(Ok(()), |file| file.value(rejected))
    }

    fn finish(&mut self, options: &Options, totals: &Totals) -> Result<(), ExportError> {
        for (_, shard) in std::mem::take(&mut self.shards).into_values() {
            self.files.extend(shard.map(Writing::close).transpose()?);
        }
        for file in [self.index.take(), self.rejected.take()].into_iter().flatten() {
            self.files.push(file.close()?);
        }
        let mut readme = self.open("README.md")?;
        readme.text(&card::render(options, totals))?;
        self.files.push(readme.close()?);
        self.files.sort_by(|one, other| one.path.cmp(&other.path));

        let parent = self.parent.take();
        if let Some((_, files)) = &parent
            && *files == self.files
        {
            // There is nothing to add, nor has any task been left out for another reason: it stays as it is.
            return self.work.discard();
        }
        let parent = parent.map(|(sha256, _)| sha256);
        let manifest = Manifest::new(options, totals, parent, std::mem::take(&mut self.files));
        let mut file = self.open(manifest::NAME)?;
        let mut text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
        text.push('\n');
        file.text(&text)?;
        file.close()?;
        self.work.appear(&self.target, self.mode)
    }
}
