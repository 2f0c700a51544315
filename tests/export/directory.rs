//! An export as it lies in its directory, read with nothing but its own files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// Everything that is there.
pub struct Exported {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub index: Vec<Entry>,
    pub rejected: Vec<Rejected>,
    pub manifest: Value,
}

/// A task that is in the data.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    pub task_id: String,
    pub split: String,
    /// Where its first row stands, from 1; none where it only shares the rows of others.
    pub file: Option<String>,
    pub line: Option<usize>,
    pub rows: usize,
    pub tokens: u64,
}

/// A task that is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Rejected {
    pub task_id: String,
    pub reason: String,
}

impl Exported {
    pub fn read(directory: &Path) -> Self {
        let files: BTreeMap<_, _> = paths(directory)
            .into_iter()
            .map(|path| (path.strip_prefix(directory).unwrap().to_owned(), std::fs::read(&path).unwrap()))
            .collect();
        let file = |name: &str| &files[Path::new(name)];
        let lines = |name: &str| std::str::from_utf8(file(name)).unwrap().lines();
        Self {
            index: lines("index.jsonl").map(|line| serde_json::from_str(line).unwrap()).collect(),
            rejected: lines("rejected.jsonl").map(|line| serde_json::from_str(line).unwrap()).collect(),
            manifest: serde_json::from_slice(file("manifest.json")).unwrap(),
            files,
        }
    }

    /// The files with rows, by their names.
    pub fn shards(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let shards = self.files.iter().filter(|(path, _)| path.starts_with("data"));
        shards.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
    }

    /// The rows of a split, or of all of them.
    pub fn rows(&self, split: &str) -> Vec<&str> {
        let shards = self.files.iter().filter(|(path, _)| path.starts_with("data"));
        let of_split = shards.filter(|(path, _)| path.file_name().unwrap().to_str().unwrap().starts_with(split));
        of_split.flat_map(|(_, bytes)| std::str::from_utf8(bytes).unwrap().split_terminator('\n')).collect()
    }

    /// The rows of a task.
    pub fn rows_of(&self, entry: &Entry) -> Vec<&str> {
        let (Some(file), Some(line)) = (&entry.file, entry.line) else { return Vec::new() };
        let text = std::str::from_utf8(&self.files[Path::new(file)]).unwrap();
        text.split_terminator('\n').skip(line - 1).take(entry.rows).collect()
    }

    pub fn entry(&self, task: &str) -> &Entry {
        self.index.iter().find(|entry| entry.task_id == task).unwrap_or_else(|| panic!("{task} is not in the index"))
    }

    pub fn reason(&self, task: &str) -> &str {
        let found = self.rejected.iter().find(|rejected| rejected.task_id == task);
        &found.unwrap_or_else(|| panic!("{task} is not among the rejected")).reason
    }

    /// Every task that it says something of; each once.
    pub fn told(&self) -> BTreeSet<&str> {
        let index = self.index.iter().map(|entry| entry.task_id.as_str());
        let told: Vec<_> = index.chain(self.rejected.iter().map(|rejected| rejected.task_id.as_str())).collect();
        let once: BTreeSet<_> = told.iter().copied().collect();
        assert_eq!(once.len(), told.len(), "a task is told of twice");
        once
    }
}

/// Every file below a directory, which may change while it is looked at.
pub fn paths(directory: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() { paths.extend(self::paths(&path)) } else { paths.push(path) }
    }
    paths.sort();
    paths
}
