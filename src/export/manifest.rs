//! `manifest.json`: what an export is, so that it can be checked, repeated and added to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::options::Options;
use super::sink::Split;
use super::totals::{Count, Totals};

/// The file's name.
pub(super) const NAME: &str = "manifest.json";

/// The version of this file's form.
const VERSION: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "a name that says whose version it is")]
pub(super) struct Manifest {
    pub(super) manifest_version: u32,
    pub(super) generator: Generator,
    /// What was asked for.
    pub(super) options: Value,
    /// The SHA-256 of the manifest that this export added to.
    pub(super) parent: Option<String>,
    /// SHA-256 over a line `task_id created_at` for each task in the order of `index.jsonl`.
    pub(super) task_set_sha256: String,
    pub(super) tasks: Tasks,
    pub(super) rows: u64,
    /// Rows that had too many tokens, of tasks that gave others.
    pub(super) rows_too_long: u64,
    pub(super) tokens: Tokens,
    pub(super) bytes: u64,
    pub(super) splits: BTreeMap<Split, Count>,
    pub(super) redaction: Redaction,
    pub(super) files: Vec<FileEntry>,
}

/// Which program wrote it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Generator {
    pub(super) name: String,
    pub(super) version: String,
}

/// What became of the tasks that had ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Tasks {
    pub(super) exported: u64,
    pub(super) rejected: u64,
    pub(super) reasons: BTreeMap<String, u64>,
}

/// Tokens, and by which vocabulary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) vocabulary: String,
    pub(super) total: u64,
}

/// What was taken out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Redaction {
    pub(super) mode: String,
    pub(super) found: BTreeMap<String, u64>,
}

/// A file of the export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) lines: u64,
    pub(super) sha256: String,
}

impl Manifest {
    /// Of an export with these files.
    pub(super) fn new(options: &Options, totals: &Totals, parent: Option<String>, files: Vec<FileEntry>) -> Self {
        Self {
            manifest_version: VERSION,
            generator: Generator { name: "codex-agent".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            options: described(options),
            parent,
            task_set_sha256: totals.task_set.clone(),
            tasks: Tasks {
                exported: totals.whole.tasks,
                rejected: totals.left_out(),
                reasons: totals.rejected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            },
            rows: totals.whole.rows,
            rows_too_long: totals.rows_too_long,
            tokens: Tokens { vocabulary: "o200k_base".to_owned(), total: totals.whole.tokens },
            bytes: totals.whole.bytes,
            splits: totals.splits.clone(),
            redaction: Redaction {
                mode: described(options)["redact"].as_str().unwrap_or_default().to_owned(),
                found: totals.redacted.clone(),
            },
            files,
        }
    }

    /// Whether this program can add to it.
    pub(super) fn is_known(&self) -> bool {
        self.manifest_version == VERSION
    }
}

/// The options as they stand in the file.
pub(super) fn described(options: &Options) -> Value {
    serde_json::to_value(options).unwrap_or_default()
}
