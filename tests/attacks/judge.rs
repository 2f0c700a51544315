//! Compares what is expected with what happened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::base64::decode;
use crate::canary;
use crate::case::Case;
use crate::expect::{Expect, Outcome};
use crate::process::{Peak, limits, priorities, rss_mb};
use crate::setup::Prepared;
use crate::tree::{Times, Tree, used_mb};

/// What a busy machine may add to a time, whatever a case allows.
const MARGIN: Duration = Duration::from_secs(4);

/// How the world was before the call.
pub struct Before {
    unchanged: Vec<(PathBuf, Tree)>,
    same: Vec<(PathBuf, Tree)>,
    limits: String,
    priorities: BTreeMap<String, String>,
    rss_mb: u64,
    running: usize,
}

/// All that a call came to.
pub struct Ran {
    /// The result as the brain got it.
    pub result: Value,
    pub took: Duration,
    /// Processes with the case's words that were alive when the result was given.
    pub alive: Vec<String>,
    pub peak: Peak,
    /// The task when it had ended.
    pub task: Value,
    pub record: Vec<u8>,
    pub healthy: bool,
    pub service: u32,
    pub workspace: PathBuf,
}

/// What `CMD_MAX_PROCESSES` is here, and what may be started before it is noticed.
const OWN_BOUND: usize = 256 + 64;

/// The processes and threads on this machine: the number behind the slash in `proc_loadavg(5)`.
fn running() -> usize {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    load.split_ascii_whitespace().nth(3).and_then(|count| count.split_once('/')?.1.parse().ok()).unwrap()
}

impl Before {
    /// `around` is what no call may change.
    pub fn new(expect: &Expect, around: &[PathBuf], service: u32) -> Self {
        let tree = |times| move |path: &PathBuf| (path.clone(), Tree::of(path, times));
        Self {
            unchanged: expect.unchanged.iter().chain(around).map(tree(Times::Count)).collect(),
            same: expect.same_tree.iter().map(tree(Times::DoNot)).collect(),
            limits: limits(service),
            priorities: priorities(service),
            rss_mb: rss_mb(service),
            running: running(),
        }
    }
}

/// Everything that does not hold.
pub fn judge(case: &Case, expect: &Expect, before: &Before, prepared: &mut Prepared, ran: &Ran) -> Vec<String> {
    let mut broken = of_the_result(case, expect, ran);
    broken.extend(of_the_files(expect, before));
    broken.extend(of_the_world(expect, before, prepared, ran));
    let texts = [("the result", ran.result.to_string().into_bytes()), ("the record", ran.record.clone())];
    for (place, text) in texts {
        broken.extend(canary::find(&text).map(|how| format!("no_canary: it is in {place} ({how})")));
    }
    broken.extend(canary::files_with(&ran.workspace).into_iter().map(|file| format!("no_canary: it is in {file}")));
    broken
}

fn of_the_result(case: &Case, expect: &Expect, ran: &Ran) -> Vec<String> {
    let result = &ran.result;
    let mut checks = Checks::default();
    let text = |field: &str| result[field].as_str().unwrap_or_default().to_owned();
    let (status, code) = (text("status"), result.get("returncode"));
    let failed = status == "failure";
    checks.hold("status is success or failure", failed || status == "success");
    match expect.outcome {
        Some(Outcome::Ok) => checks.hold("outcome ok", status == "success"),
        Some(Outcome::Denied) => checks.hold("outcome denied", failed || code.is_some_and(|code| *code != 0)),
        Some(Outcome::NotRefused) => checks.hold("outcome not_refused", code.is_some()),
        Some(Outcome::Any) | None => {}
    }
    if expect.refused.is_some() {
        checks.hold("refused", failed && code.is_none());
        checks.hold("refused by the policy", !case.is_of_the_policy() || text("message").contains("policy"));
    }
    let is = |field: &str, value: &Value| result.get(field) == Some(value);
    checks.all("returncode", expect.returncode.as_ref(), |code| is("returncode", &(*code).into()));
    checks.all("truncated", expect.truncated.as_ref(), |truncated| is("truncated", &(*truncated).into()));
    checks.all("limit", expect.limit.as_ref(), |limits| limits.contains(&text("limit")));
    let has = |field: &'static str| move |part: &String| text_of(result, field).contains(part);
    let equals = |field: &'static str| move |whole: &String| text_of(result, field) == *whole;
    checks.all("message_contains", expect.message_contains.as_ref(), has("message"));
    checks.all("stdout_contains", expect.stdout_contains.as_ref(), has("stdout"));
    checks.all("stdout_equals", expect.stdout_equals.as_ref(), equals("stdout"));
    checks.all("stderr_contains", expect.stderr_contains.as_ref(), has("stderr"));
    checks.all("stderr_equals", expect.stderr_equals.as_ref(), equals("stderr"));
    checks.all("content_contains", expect.content_contains.as_ref(), has("content"));
    checks.all("content_equals", expect.content_equals.as_ref(), equals("content"));
    for part in &expect.stdout_lacks {
        checks.hold("stdout_lacks", !text("stdout").contains(part));
    }
    checks.all("result_max_bytes", expect.result_max_bytes.as_ref(), |most| result.to_string().len() <= *most);
    let limit = expect.returns_within_s.map(Duration::from_secs_f64);
    checks.all("returns_within_s", limit.as_ref(), |limit| ran.took <= *limit + MARGIN);
    if expect.valid_utf8.is_some() {
        let replaced = result.to_string().contains('\u{fffd}') && !text("message").contains("UTF-8");
        checks.hold("valid_utf8", std::str::from_utf8(&ran.record).is_ok() && !replaced);
    }
    checks.0
}

fn of_the_files(expect: &Expect, before: &Before) -> Vec<String> {
    let mut checks = Checks::default();
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    for (path, text) in &expect.file_equals {
        checks.hold(&format!("file_equals {}", path.display()), path.is_file() && read(path) == text.as_bytes());
    }
    for (path, b64) in &expect.file_keeps_bytes {
        let (bytes, part) = (read(path), decode(b64));
        let kept = bytes.windows(part.len()).any(|window| window == part);
        checks.hold(&format!("file_keeps_bytes {}", path.display()), kept);
    }
    for (path, b64) in &expect.file_starts_with_b64 {
        checks.hold(&format!("file_starts_with_b64 {}", path.display()), read(path).starts_with(&decode(b64)));
    }
    for path in &expect.absent {
        checks.hold(&format!("absent {}", path.display()), path.symlink_metadata().is_err());
    }
    for (path, most) in &expect.max_mb_left {
        let used = used_mb(path);
        checks.hold(&format!("max_mb_left {}: {used}", path.display()), used <= *most);
    }
    for (trees, times, name) in
        [(&before.unchanged, Times::Count, "unchanged"), (&before.same, Times::DoNot, "same_tree")]
    {
        for (path, then) in trees {
            checks.0.extend(then.changes(&Tree::of(path, times)).iter().map(|change| format!("{name}: {change}")));
        }
    }
    checks.0
}

fn of_the_world(expect: &Expect, before: &Before, prepared: &mut Prepared, ran: &Ran) -> Vec<String> {
    let mut checks = Checks::default();
    let peak = &ran.peak;
    checks.hold("no_crash", ran.healthy && ran.task["status"] == "succeeded");
    let hits: usize = prepared.listeners.iter().map(crate::listener::Listener::hits).sum();
    checks.all(&format!("listener_hits: {hits}"), expect.listener_hits.as_ref(), |most| hits == *most);
    checks.hold("host_connect_refused", !peak.connected);
    checks.hold(&format!("no_process: {:?}", ran.alive), ran.alive.is_empty());
    // Where the kernel counts a user's processes over the whole machine, what runs there already is taken for the user's.
    let bound = |most: usize| most.max(OWN_BOUND + before.running);
    checks.all(&format!("max_procs_seen: {}", peak.processes), expect.max_procs_seen.as_ref(), |most| {
        peak.processes <= bound(*most)
    });
    checks.all(&format!("max_rss_mb_seen: {}", peak.rss_mb), expect.max_rss_mb_seen.as_ref(), |most| {
        peak.rss_mb <= *most
    });
    let grown = peak.service_rss_mb.max(rss_mb(ran.service)).saturating_sub(before.rss_mb);
    checks
        .all(&format!("svc_rss_growth_max_mb: {grown}"), expect.svc_rss_growth_max_mb.as_ref(), |most| grown <= *most);
    checks.all("svc_limit_unchanged", expect.svc_limit_unchanged.as_ref(), |name| {
        let line = |text: &str| text.lines().find(|line| line.starts_with(limit_called(name))).unwrap().to_owned();
        line(&before.limits) == line(&limits(ran.service))
    });
    if expect.svc_nice_unchanged.is_some() {
        // Threads come and go with the work.
        let now = priorities(ran.service);
        let same = |(thread, then): (&String, &String)| now.get(thread).is_none_or(|now| now == then);
        checks.hold("svc_nice_unchanged", before.priorities.iter().all(same));
    }
    if expect.victims_sleep.is_some() {
        checks.hold("victims_sleep", prepared.victims.iter_mut().all(crate::victim::Victim::sleeps));
    }
    if expect.ipc_untouched.is_some() {
        checks.hold("ipc_untouched", prepared.shared.iter().all(crate::ipc::Shared::is_untouched));
    }
    checks.all("ipc_key_absent", expect.ipc_key_absent.as_ref(), |key| !crate::ipc::has_key(key));
    checks.0
}

/// What did not hold.
#[derive(Default)]
struct Checks(Vec<String>);

impl Checks {
    fn hold(&mut self, name: &str, holds: bool) {
        if !holds {
            self.0.push(name.to_owned());
        }
    }

    /// Holds where nothing is asked for.
    fn all<T: std::fmt::Debug>(&mut self, name: &str, asked: Option<&T>, holds: impl FnOnce(&T) -> bool) {
        if let Some(asked) = asked {
            self.hold(&format!("{name} (expected {asked:?})"), holds(asked));
        }
    }
}

fn text_of<'a>(result: &'a Value, field: &str) -> &'a str {
    result[field].as_str().unwrap_or_default()
}

/// What /proc calls a limit.
fn limit_called(name: &str) -> &'static str {
    match name {
        "NOFILE" => "Max open files",
        "AS" => "Max address space",
        "CPU" => "Max cpu time",
        "FSIZE" => "Max file size",
        other => panic!("{other}: no such limit here"),
    }
}
