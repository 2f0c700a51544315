//! Which tasks are exported, and why the others are not.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::options::{Options, Purpose};
use super::prepare::half;
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
///
/// The instruction is the one without secrets: its hash is told, and two that differ in a secret alone are the same.
pub(super) fn group(posted: &Json, instruction: &str) -> [u8; 16] {
    let label = labels_of(posted).into_iter().find(|(key, _)| key == "group");
    // A label and an instruction that read the same are two groups.
    let (kind, name) = match &label {
        Some((_, group)) => ("label", group.as_str()),
        None => ("instruction", instruction.trim()),
    };
    half(Sha256::new().chain_update(kind).chain_update([0]).chain_update(name))
}

/// What a task was posted with as its instruction.
pub(super) fn instruction(posted: &Json) -> String {
    #[derive(Default, Deserialize)]
    struct Posted<'a> {
        #[serde(borrow)]
        instruction: Option<&'a RawValue>,
    }
    let posted: Posted<'_> = serde_json::from_str(posted.as_str()).unwrap_or_default();
    posted.instruction.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ErrorCode, Outcome, TaskState, Timestamp, Verdict};

    fn task(posted: &str, outcome: Outcome) -> Task {
        Task {
            id: "t".parse().unwrap(),
            posted: Json::parse(posted).unwrap(),
            workspace: Some("repo".into()),
            state: TaskState::Ended(outcome),
            cancel_requested: false,
            attempt: 1,
            iteration: 1,
            max_iterations: 7,
            deadline: None,
            log_bytes: 1,
            revision: 1,
            usage: None,
            verdict: None,
            created_at: Timestamp::from_millis(1000),
            started_at: None,
            finished_at: None,
        }
    }

    fn succeeded(posted: &str) -> Task {
        task(posted, Outcome::Succeeded { summary: None })
    }

    fn failed() -> Task {
        task(r#"{"instruction":"x"}"#, Outcome::failed(ErrorCode::MaxIterations, "x"))
    }

    fn judged(task: Task, outcome: VerdictOutcome) -> Task {
        let verdict = Verdict { outcome: Some(outcome), reward: None, note: None, at: Timestamp::from_millis(2000) };
        Task { verdict: Some(verdict), ..task }
    }

    fn reason(flags: &str, task: &Task) -> Option<&'static str> {
        let words: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        Selection::new(&Options::from_words(&words).unwrap()).reason(task).map(|reason| reason.word())
    }

    #[test]
    fn by_default_a_chat_is_of_what_went_well_and_an_archive_of_all() {
        let (good, bad) = (succeeded(r#"{"instruction":"x"}"#), failed());
        let stopped = task(r#"{"instruction":"x"}"#, Outcome::Cancelled);
        for (format, told) in [
            ("hf", [None, Some("status"), Some("status")]),
            ("dpo-hf", [None, None, Some("status")]),
            ("atif", [None; 3]),
        ] {
            let flags = format!("--format {format}");
            assert_eq!([reason(&flags, &good), reason(&flags, &bad), reason(&flags, &stopped)], told, "{format}");
        }
        assert_eq!(reason("--status failed,cancelled", &bad), None);
        assert_eq!(reason("--status failed,cancelled", &good), Some("status"));
    }

    #[test]
    fn a_verdict_decides_over_what_is_learnt() {
        let good = succeeded(r#"{"instruction":"x"}"#);
        let (accepted, rejected) =
            (judged(good.clone(), VerdictOutcome::Accepted), judged(good.clone(), VerdictOutcome::Rejected));
        assert_eq!([reason("", &good), reason("", &accepted), reason("", &rejected)], [None, None, Some("outcome")]);
        assert_eq!(reason("--outcome accepted", &good), Some("outcome"));
        assert_eq!(reason("--outcome accepted", &accepted), None);
        assert_eq!(reason("--format dpo-openai", &rejected), None);
    }

    #[test]
    fn filters_name_themselves() {
        let task = succeeded(r#"{"instruction":"x","labels":{"team":"a","empty":""}}"#);
        for (flags, told) in [
            ("--label team", None),
            ("--label team=a --label empty=", None),
            ("--label team=b", Some("label")),
            ("--label other", Some("label")),
            ("--workspace repo", None),
            ("--workspace rep", Some("workspace")),
            ("--since 1970-01-01T00:00:01Z --until 1970-01-01T00:00:01.001Z", None),
            ("--since 1970-01-01T00:00:01.001Z", Some("since")),
            ("--until 1970-01-01T00:00:01Z", Some("until")),
        ] {
            assert_eq!(reason(flags, &task), told, "{flags}");
        }
    }

    #[test]
    fn what_no_model_decided_is_left_out_unless_asked_for() {
        let scripted = succeeded(r#"{"instruction":"x","script":[]}"#);
        assert_eq!(reason("", &scripted), Some("script_brain"));
        assert_eq!(reason("", &succeeded(r#"{"instruction":"run: make"}"#)), Some("script_brain"));
        assert_eq!(reason("", &succeeded(r#"{"instruction":"x","replay":"t"}"#)), Some("replay"));
        assert_eq!(reason("--include-scripted", &scripted), None);
    }

    #[test]
    fn a_group_is_a_label_or_an_instruction() {
        let group = |posted: &str| {
            let posted = Json::parse(posted).unwrap();
            super::group(&posted, &instruction(&posted))
        };
        let one = group(r#"{"instruction":"fix it","task_id":"a"}"#);
        assert_eq!(one, group(r#"{"task_id":"b","instruction":" fix it\n","priority":3}"#));
        assert_ne!(one, group(r#"{"instruction":"fix that"}"#));
        let labelled = group(r#"{"instruction":"fix it","labels":{"group":"g"}}"#);
        assert_eq!(labelled, group(r#"{"instruction":"fix that","labels":{"a":"b","group":"g"}}"#));
        assert_ne!(labelled, group(r#"{"instruction":"g"}"#));
    }
}
