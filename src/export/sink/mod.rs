//! Where rows go.

mod directory;
mod place;
mod rows;
mod shard;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use directory::{Directory, Mode};
pub use rows::Rows;

use super::ExportError;
use super::options::Options;
use super::parent::Parent;
use super::totals::Totals;

/// Takes rows, and what is known of the tasks that they are of.
pub trait Sink {
    /// What is there already, if it is to be added to.
    fn parent(&mut self, options: &Options) -> Result<Option<Parent>, ExportError>;
    /// Whether anybody is told how many tokens there are.
    fn tells_tokens(&self) -> bool {
        true
    }
    /// Takes a line of data with its line feed; where it lies.
    fn row(&mut self, split: Split, text: &str) -> Result<Place, ExportError>;
    /// Notes a task that is in the data.
    fn exported(&mut self, entry: &Entry) -> Result<(), ExportError>;
    /// Notes one that is not.
    fn rejected(&mut self, rejected: &Rejected<'_>) -> Result<(), ExportError>;
    /// All is there: from now on others see it.
    fn finish(&mut self, options: &Options, totals: &Totals) -> Result<(), ExportError>;
}

/// What a part of the data is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To learn from.
    Train,
    /// To see how well it was learnt.
    Validation,
}

impl Split {
    /// Both, in the order in which they are told of.
    pub const ALL: [Self; 2] = [Self::Train, Self::Validation];

    /// Where a group belongs, so many of a hundred to validation. It follows from the group alone: whatever is added later, none
    /// moves.
    pub(super) fn of(group: [u8; 16], validation_percent: u8) -> Self {
        // The group's own hash decides nothing else, but might one day.
        let hash: [u8; 32] = Sha256::new().chain_update("split").chain_update(group).finalize().into();
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        let drawn = u64::from_be_bytes(first) % 10_000;
        if drawn < u64::from(validation_percent) * 100 { Self::Validation } else { Self::Train }
    }

    /// The one behind a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|split| split.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }
}

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which shard of its split, from 0.
    pub shard: u32,
    /// Which line of it, from 1.
    pub line: u64,
}

impl Place {
    pub(super) fn file(self, split: Split) -> String {
        shard::name(split, self.shard)
    }
}

/// A task that is in the data, as a line of `index.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The task.
    pub task_id: String,
    /// When it was posted: an id may be used again.
    pub created_at: String,
    /// Which part it is in.
    pub split: Split,
    /// The file with its first row; none where it is only what other tasks' rows prefer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// The line of that row, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    /// How many rows it gave.
    pub rows: u64,
    /// How many tokens those have.
    pub tokens: u64,
    /// A hash of its group.
    pub group: String,
    /// A hash of what it did.
    pub fingerprint: String,
}

impl Entry {
    /// Names the life of the task that it is of.
    pub(super) fn life(&self) -> String {
        format!("{} {}", self.task_id, self.created_at)
    }
}

/// A task that is not, as a line of `rejected.jsonl`.
#[derive(Clone, Debug, Serialize)]
pub struct Rejected<'a> {
    /// The task.
    pub task_id: &'a str,
    /// Why.
    pub reason: &'static str,
    /// What there is to add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_follows_from_the_group_alone_and_is_as_large_as_asked_for() {
        let groups = (0..2000_u32).map(|n| {
            let mut group = [0; 16];
            group[..4].copy_from_slice(&n.to_le_bytes());
            group
        });
        let groups: Vec<_> = groups.collect();
        let drawn = |percent| groups.iter().filter(|group| Split::of(**group, percent) == Split::Validation).count();
        assert_eq!((drawn(0), drawn(100)), (0, 2000));
        assert!((140..=260).contains(&drawn(10)), "{}", drawn(10));
        // More of them for validation: those that were stay there.
        assert!(
            groups
                .iter()
                .all(|group| Split::of(*group, 10) != Split::Validation || Split::of(*group, 20) == Split::Validation)
        );
    }
}
