//! Which tasks are exported, and why the others are not.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::options::{Options, Purpose};
use crate::brain::Followed;
use crate::domain::{Json, Status, Task, VerdictOutcome, labels_of};

/// Why a task is left out. The words are what stands in `rejected.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It ended otherwise than was asked for.
    Status(Status),
    /// It has not the verdict that was asked for.
    Outcome(Option<VerdictOutcome>),
    /// It has not the label.
    Label(String),
    /// It is older than `since`.
    Since,
    /// It is not older than `until`.
    Until,
    /// It worked elsewhere.
    Workspace,
    /// It followed a script: no model decided.
    Script,
    /// It replayed a record: another task's decisions.
    Replay,
    /// Its record is longer than can be made an example of.
    TooLong(u64),
    /// Its record, or its row, cannot be read.
    Unreadable(String),
    /// No model has written anything in it.
    Empty,
    /// A tool was called that there is not.
    UnknownTool(String),
    /// A tool was called with something else than an object.
    Arguments(String),
    /// A number in a call is one that readers of this format cannot hold.
    Number(String),
    /// It has more tokens than may be.
    Tokens(u64),
    /// Another task has given the same example.
    Duplicate(String),
    /// Its group has given as many as may be.
    Group,
    /// There is nothing to prefer to anything.
    NoPair,
    /// It was deleted while the export ran.
    Gone,
}

impl Reason {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Outcome(_) => "outcome",
            Self::Label(_) => "label",
            Self::Since => "since",
            Self::Until => "until",
            Self::Workspace => "workspace",
            Self::Script => "script_brain",
            Self::Replay => "replay",
            Self::TooLong(_) => "record_too_long",
            Self::Unreadable(_) => "unreadable",
            Self::Empty => "empty",
            Self::UnknownTool(_) => "unknown_tool",
            Self::Arguments(_) => "bad_arguments",
            Self::Number(_) => "number_too_big",
            Self::Tokens(_) => "max_tokens",
            Self::Duplicate(_) => "duplicate",
            Self::Group => "max_per_group",
            Self::NoPair => "no_pair",
            Self::Gone => "deleted",
        }
    }

    /// What there is to add.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Status(status) => Some(status.to_string()),
            Self::Outcome(outcome) => Some(outcome.map_or_else(|| "none".to_owned(), |outcome| outcome.to_string())),
            Self::TooLong(bytes) => Some(format!("{bytes} bytes")),
            Self::Tokens(tokens) => Some(format!("{tokens} tokens")),
            Self::Duplicate(of) => Some(format!("of {of}")),
            Self::Label(text)
            | Self::Unreadable(text)
            | Self::UnknownTool(text)
            | Self::Arguments(text)
            | Self::Number(text) => Some(text.clone()),
            // The word says it all.
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which tasks are wanted.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    options: Options,
}

impl Selection {
    pub(super) fn new(options: &Options) -> Self {
        Self { options: options.clone() }
    }

    /// Why an ended task is not wanted, if it is not.
    pub(super) fn reason(&self, task: &Task) -> Option<Reason> {
        self.filtered(task).or_else(|| if self.options.include_scripted { None } else { scripted(task) })
    }

    fn filtered(&self, task: &Task) -> Option<Reason> {
        let Options { status, since, until, workspace, .. } = &self.options;
        let (ended_as, purpose) = (task.state.status(), self.options.format.purpose());
        let by_default = match purpose {
            Purpose::Chat => ended_as == Status::Succeeded,
            // What was stopped says nothing about how good it was.
            Purpose::Preference => ended_as != Status::Cancelled,
            Purpose::Archive => true,
        };
        let asked_for = if status.is_empty() { by_default } else { status.contains(&ended_as) };
        if !asked_for {
            return Some(Reason::Status(ended_as));
        }
        let outcome = task.verdict.as_ref().and_then(|verdict| verdict.outcome);
        let fits = match self.options.outcome {
            Some(asked) => outcome == Some(asked),
            // Nobody wants to learn what somebody has called bad.
            None => purpose != Purpose::Chat || outcome != Some(VerdictOutcome::Rejected),
        };
        if !fits {
            return Some(Reason::Outcome(outcome));
        }
        if since.is_some_and(|since| task.created_at < since) {
            return Some(Reason::Since);
        }
        if until.is_some_and(|until| task.created_at >= until) {
            return Some(Reason::Until);
        }
        if workspace.is_some() && task.workspace != *workspace {
            return Some(Reason::Workspace);
        }
        if self.options.label.is_empty() {
            return None;
        }
        let labels = labels_of(&task.posted);
        let missing = self.options.label.iter().find(|asked| {
            let is_asked_for = |value: &String| asked.value.as_ref().is_none_or(|asked| asked == value);
            !labels.iter().any(|(key, value)| *key == asked.key && is_asked_for(value))
        });
        missing.map(|label| Reason::Label(label.to_string()))
    }
}

/// Whether no model decided in a task, as far as the task shows it: it is the script brain's, by what that brain follows.
fn scripted(task: &Task) -> Option<Reason> {
    match crate::brain::followed(&task.posted)? {
        Followed::Script | Followed::Directives => Some(Reason::Script),
        Followed::Replay => Some(Reason::Replay),
    }
}

/// The group of a task: its label `group`, or else its instruction. Attempts at the same thing belong together, and what is for
/// validation must not have been seen in training.
pub(super) fn group(posted: &Json) -> [u8; 16] {
    #[derive(Default, Deserialize)]
    struct Posted<'a> {
        #[serde(borrow)]
        instruction: Option<&'a RawValue>,
    }
    let label = labels_of(posted).into_iter().find(|(key, _)| key == "group");
    let instruction = || {
        let posted: Posted<'_> = serde_json::from_str(posted.as_str()).unwrap_or_default();
        posted.instruction.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).unwrap_or_default()
    };
    // A label and an instruction that read the same are two groups.
    let (kind, name) = match label {
        Some((_, group)) => ("label", group),
        None => ("instruction", instruction().trim().to_owned()),
    };
    let hash: [u8; 32] = Sha256::new().chain_update(kind).chain_update([0]).chain_update(name).finalize().into();
    let mut group = [0; 16];
    group.copy_from_slice(&hash[..16]);
    group
}
