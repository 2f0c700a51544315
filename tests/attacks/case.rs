//! A case as it stands in the data files, and what its placeholders stand for.
//!
//! `{WS}` is the task's workspace; `{OUTSIDE}` and `{WS_SIBLING}` lie beside it and have a file `secret`; `{OUTPUT}`
//! is the service's `OUTPUT_DIR`; `{OPT}` is a directory in `/opt` with a file `secret` that only the service's user may
//! read; `{SVC_PID}`, `{SVC_PORT}` and `{CASE}` speak for themselves; `{NR_BPF}` is the number
//! of the system call `bpf` on this machine; `{HOME_OF_SERVICE}` is what it says; `{KEY}` is a number that nobody else
//! uses; `{BIG}` is a megabyte of letters, `{LONG}` more of them than
//! the kernel takes in one argument. Other placeholders are named by the setup operations.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What is in the data files: those the project was given, and those in other words.
const FILES: &[&str] = &[include_str!("../data/attacks.jsonl"), include_str!("../data/attacks_more.jsonl")];

/// The numbers that a case may ask for; more than the C library has functions for.
const CALLS: &[(&str, libc::c_long)] = &[
    ("{NR_ADD_KEY}", libc::SYS_add_key),
    ("{NR_BPF}", libc::SYS_bpf),
    ("{NR_CLONE}", libc::SYS_clone),
    ("{NR_CLONE3}", libc::SYS_clone3),
    ("{NR_FSOPEN}", libc::SYS_fsopen),
    ("{NR_GETPID}", libc::SYS_getpid),
    ("{NR_IOPRIO_SET}", libc::SYS_ioprio_set),
    ("{NR_IO_URING_SETUP}", libc::SYS_io_uring_setup),
    ("{NR_KCMP}", libc::SYS_kcmp),
    ("{NR_KEXEC_LOAD}", libc::SYS_kexec_load),
    ("{NR_KEYCTL}", libc::SYS_keyctl),
    ("{NR_MOVE_MOUNT}", libc::SYS_move_mount),
    ("{NR_OPEN_TREE}", libc::SYS_open_tree),
    ("{NR_PERF_EVENT_OPEN}", libc::SYS_perf_event_open),
    ("{NR_PIDFD_GETFD}", libc::SYS_pidfd_getfd),
    ("{NR_PIDFD_OPEN}", libc::SYS_pidfd_open),
    ("{NR_PIDFD_SEND_SIGNAL}", libc::SYS_pidfd_send_signal),
    ("{NR_PIVOT_ROOT}", libc::SYS_pivot_root),
    ("{NR_PROCESS_MADVISE}", libc::SYS_process_madvise),
    ("{NR_REQUEST_KEY}", libc::SYS_request_key),
    ("{NR_RT_SIGQUEUEINFO}", libc::SYS_rt_sigqueueinfo),
    ("{NR_SECCOMP}", libc::SYS_seccomp),
    ("{NR_TGKILL}", libc::SYS_tgkill),
    ("{NR_USERFAULTFD}", libc::SYS_userfaultfd),
];

/// One attack, or one harmless call that must pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub id: String,
    pub category: String,
    pub title: String,
    /// What is done before the call: see [`crate::setup::Op`].
    pub setup: Vec<Value>,
    pub call: Call,
    /// What must hold: see [`crate::expect::Expect`].
    pub expect: Value,
    /// Which layer should stop it.
    #[serde(default)]
    pub layer: String,
    #[serde(default)]
    pub note: String,
    /// Set: runs only where the sandbox is up, and alone.
    pub danger: Option<String>,
    /// Layers of which one is enough; without any of them the case cannot hold.
    #[serde(default)]
    pub xfail_without: Vec<String>,
    /// Runs alone, though it is not dangerous.
    #[serde(default)]
    pub alone: bool,
    /// Programs the call needs besides its first word.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The machine the case is about.
    pub arch: Option<String>,
}

/// What the brain asks for. Anything may stand as the arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

/// What stands in for the placeholders of a case.
#[derive(Clone, Debug)]
pub struct Places(BTreeMap<String, String>);

/// All cases.
pub fn all() -> Vec<Case> {
    let lines = FILES.iter().flat_map(|file| file.lines()).filter(|line| !line.is_empty());
    let mut cases: Vec<Case> =
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for case in &mut cases {
        // These two count lines from 1. The contract counts from 0, and the files that came with the project are not
        // to be edited: line 2 of theirs is line 1 of ours.
        if ["file_oddity-017", "file_oddity-019"].contains(&case.id.as_str()) {
            assert_eq!(case.call.arguments["replace_lines"], json!([2, 2]));
            case.call.arguments["replace_lines"] = json!([1, 1]);
        }
    }
    cases
}

impl Case {
    /// Whether it may not run beside others: it takes what they need, measures what they change, or cannot be
    /// stopped everywhere from touching what they look at.
    pub fn runs_alone(&self) -> bool {
        let measures = |key: &String| key.starts_with("max_") || key.starts_with("svc_");
        self.danger.is_some()
            || self.alone
            || !self.xfail_without.is_empty()
            || self.expect.as_object().is_some_and(|expect| expect.keys().any(measures))
    }

    /// Whether nothing but the policy stops it.
    pub fn is_of_the_policy(&self) -> bool {
        self.layer == "policy"
    }

    /// The programs it needs, as far as they are looked for.
    pub fn programs(&self) -> Vec<String> {
        let command = self.call.arguments["command"].as_str().unwrap_or_default();
        let first = shlex::split(command).and_then(|words| words.into_iter().next());
        let searched = first.filter(|word| !word.contains('/') && !word.trim().is_empty());
        searched.into_iter().chain(self.needs.iter().cloned()).collect()
    }
}

impl Places {
    pub fn new(places: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let calls = CALLS.iter().map(|(name, number)| ((*name).to_owned(), number.to_string()));
        // Sleepers are found by their number in the process table; another run of these tests has its own numbers.
        let sleepers = ("987.".to_owned(), format!("987{:07}.", std::process::id()));
        let given = places.into_iter().map(|(name, value)| (format!("{{{name}}}"), value));
        Self(calls.chain([sleepers]).chain(given).collect())
    }

    pub fn add(&mut self, name: &str, value: &impl ToString) {
        self.0.insert(format!("{{{name}}}"), value.to_string());
    }

    /// The value with every placeholder filled, in keys as well. One that nothing stands for is a mistake in the case.
    pub fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill_text(text)),
            Value::Array(values) => values.iter().map(|value| self.fill(value)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(key, value)| (self.fill_text(key), self.fill(value)));
                Value::Object(filled.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    fn fill_text(&self, text: &str) -> String {
        let filled = self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        for (at, _) in filled.match_indices('{') {
            let end = filled[at + 1..].find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(0);
            let is_place = end > 1 && filled[at + 1 + end..].starts_with('}');
            assert!(!is_place, "nothing stands for {} in {text}", &filled[at..at + end + 2]);
        }
        filled
    }
}
