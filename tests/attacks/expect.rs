//! What must hold after a call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The expectations of a case. A key that is not here is a mistake in the case: a check that cannot fail is no check.
///
/// Of the result:
/// * `outcome`: `ok` the status is success · `denied` it is failure, or the return code is not 0 · `not_refused` a
///   program ran: there is a return code · `any` one of the two statuses;
/// * `refused`: failure, and nothing ran: there is no return code; of the policy's cases the message says so;
/// * `returncode`, `limit` (one of these), `truncated`: these fields, exactly;
/// * `message_contains`, `stdout_contains`, `stdout_lacks`, `stdout_equals`, `stderr_contains`, `stderr_equals`,
///   `content_equals`, `content_contains`: the text of these fields;
/// * `result_max_bytes`: the whole result as the brain gets it is no longer;
/// * `valid_utf8`: result and record are UTF-8 and have no replacement characters that nobody speaks of;
/// * `returns_within_s`: from the call to the result, plus a margin for a busy machine;
/// * `no_canary`: the secret is neither in the result nor in the record nor in the service's log nor in a file of the
///   workspace, in no spelling (see [`crate::canary`]). Looked for in every case, asked for or not.
///
/// Of the files:
/// * `file_equals`, `file_keeps_bytes` (they are in it somewhere), `file_starts_with_b64`: a file's content;
/// * `absent`: there is nothing at that path, not even a dangling link;
/// * `unchanged`: names, kinds, bytes, modes and modification times are those from before, in whole trees. What lies
///   beside the workspace is looked at in every case, asked for or not;
/// * `same_tree`: the same without the times, for what may be put back;
/// * `max_mb_left`: so much and no more is on the disk below a directory when the result is given.
///
/// Of the world outside:
/// * `no_crash`, `service_alive`: the service answers, is the same process, and brought the task to its good end;
/// * `listener_hits`: so many came to the listeners of the setup;
/// * `host_connect_refused`: while the command runs nobody outside can connect to that port;
/// * `no_process`: when the result is given no process has this in its command line;
/// * `max_procs_seen`, `max_rss_mb_seen`: what the command's processes were together at any time;
/// * `svc_rss_growth_max_mb`: by how much the service itself grew at most;
/// * `svc_limit_unchanged`: this resource limit of the service;
/// * `svc_nice_unchanged`: niceness, scheduling policy, real-time priority and processors of all its threads;
/// * `victims_sleep`: the processes of the setup are there and sleep;
/// * `ipc_untouched`: the shared objects of the setup are there with what was in them;
/// * `ipc_key_absent`: no shared object of `SysV`'s has this key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    pub outcome: Option<Outcome>,
    pub refused: Option<True>,
    pub returncode: Option<i64>,
    pub limit: Option<Vec<String>>,
    pub truncated: Option<bool>,
    pub message_contains: Option<String>,
    pub stdout_contains: Option<String>,
    pub stdout_lacks: Vec<String>,
    pub stdout_equals: Option<String>,
    pub stderr_contains: Option<String>,
    pub stderr_equals: Option<String>,
    pub content_equals: Option<String>,
    pub content_contains: Option<String>,
    pub result_max_bytes: Option<usize>,
    pub valid_utf8: Option<True>,
    pub returns_within_s: Option<f64>,
    /// Always looked for; the key stands for the reader.
    #[serde(rename = "no_canary")]
    pub _no_canary: Option<True>,
    pub file_equals: BTreeMap<PathBuf, String>,
    pub file_keeps_bytes: BTreeMap<PathBuf, String>,
    pub file_starts_with_b64: BTreeMap<PathBuf, String>,
    pub absent: Vec<PathBuf>,
    pub unchanged: Vec<PathBuf>,
    pub same_tree: Vec<PathBuf>,
    pub max_mb_left: BTreeMap<PathBuf, u64>,
    /// Always looked at; the keys stand for the reader.
    #[serde(rename = "no_crash")]
    pub _no_crash: Option<True>,
    #[serde(rename = "service_alive")]
    pub _service_alive: Option<True>,
    pub listener_hits: Option<usize>,
    pub host_connect_refused: Option<String>,
    pub no_process: Option<String>,
    pub max_procs_seen: Option<usize>,
    pub max_rss_mb_seen: Option<u64>,
    pub svc_rss_growth_max_mb: Option<u64>,
    pub svc_limit_unchanged: Option<String>,
    pub svc_nice_unchanged: Option<True>,
    pub victims_sleep: Option<True>,
    pub ipc_untouched: Option<True>,
    pub ipc_key_absent: Option<String>,
}

/// How the call is to end.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    Denied,
    NotRefused,
    Any,
}

/// A key that is there or not; `false` would say nothing.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "bool")]
pub struct True;

impl TryFrom<bool> for True {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        value.then_some(Self).ok_or("either true or not there")
    }
}

impl Expect {
    /// What is expected where no policy refuses: all but the refusal.
    pub fn without_policy(mut self) -> Self {
        self.refused = None;
        self.outcome = None;
        self.message_contains = None;
        self
    }

    /// Whether something has to be looked at again and again while the command runs.
    pub fn watches(&self) -> bool {
        self.max_procs_seen.is_some()
            || self.max_rss_mb_seen.is_some()
            || self.svc_rss_growth_max_mb.is_some()
            || self.host_connect_refused.is_some()
    }
}
