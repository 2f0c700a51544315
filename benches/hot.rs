//! The parts that every step passes through, one by one: `cargo bench --bench hot`, or with a part of a name behind `--`.
#![expect(clippy::unwrap_used, reason = "a bench fails aloud")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use codex_agent::domain::{Json, Reply, SpecLimits, TaskSpec, Timestamp};
use codex_agent::metrics::{BrainOutcome, Metrics, Tool, ToolStatus};
use codex_agent::store::{Claim, Claimed, NewLine, NewTask, Pending, SqliteStore, Step, Store, Which};
use codex_agent::tools::{Policy, patch};
use divan::{Bencher, black_box};
use tokio::runtime::Runtime;

/// Longer than the bench.
const LEASE: Duration = Duration::from_hours(1);

/// Lines of the file that patches are put on, as a source file has.
const LINES: usize = 200;

/// Characters in a tool's result: what `read_file` gives by default.
const RESULT: usize = 4000;

fn main() {
    divan::main();
}

/// A store on a real disk, and a runtime to wait with.
struct Stored {
    store: SqliteStore,
    runtime: Runtime,
    submitted: AtomicU32,
    /// Removed when the store is gone.
    _dir: tempfile::TempDir,
}

impl Stored {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let store = runtime.block_on(SqliteStore::open(&dir.path().join("hot.db"), LEASE)).unwrap();
        Self { store, runtime, submitted: AtomicU32::new(0), _dir: dir }
    }

    fn submit(&self) {
        let number = self.submitted.fetch_add(1, Ordering::Relaxed);
        let posted = Json::parse(r#"{"instruction":"Read."}"#).unwrap();
        let spec = TaskSpec::parse(posted, SpecLimits { default_iterations: 7, max_iterations: 200 }).unwrap();
        let (id, now) = (format!("task-{number}").parse().unwrap(), Timestamp::from_millis(0));
        let new = NewTask { id, idempotency_key: None, spec, now, max_queued: u32::MAX };
        self.runtime.block_on(self.store.submit(new)).unwrap();
    }

    fn claim(&self) -> Vec<Claimed> {
        let claim = Claim { worker: "w".into(), limit: 1, which: Which::Any, now: Timestamp::from_millis(0) };
        self.runtime.block_on(self.store.claim(claim)).unwrap()
    }
}

/// All that one iteration with a tool call counts, and one request.
#[divan::bench]
fn counted(bencher: Bencher) {
    let metrics = Metrics::new("", Timestamp::from_millis(0));
    let took = Duration::from_micros(350);
    bencher.bench_local(|| {
        metrics.brain_step(BrainOutcome::Reply, black_box(took));
        metrics.tool_call(Tool::of(black_box("read_file")), ToolStatus::Success, black_box(took));
        metrics.iteration_recorded(black_box(4500));
        metrics.http_request("GET", black_box("/tasks/{id}"), "200", black_box(took));
    });
}

/// Both writes of an iteration with its commits, by one task alone: the disk's sync is in it twice.
#[divan::bench]
fn record_an_iteration(bencher: Bencher) {
    let stored = Stored::new();
    stored.submit();
    let claimed = stored.claim().remove(0);
    let (line, payload) = (Arc::<str>::from(line()), Json::parse(&result()).unwrap());
    let iteration = AtomicU32::new(0);
    bencher.bench(|| {
        let iteration = iteration.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Timestamp::from_millis(0);
        let step = |line, pending| Step { iteration, line, pending, intent: None, usage: None, end: None, now };
        let reply = step(Some(NewLine::whole(Arc::clone(&line))), None);
        let pending = step(None, Some(Pending { payload: payload.clone(), tool_ms: Some(1) }));
        stored.runtime.block_on(async {
            stored.store.record(claimed.fence.clone(), reply).await.unwrap();
            stored.store.record(claimed.fence.clone(), pending).await.unwrap();
        });
    });
}

/// The same by 64 tasks at once, which share their commits; the time is that of all of them.
#[divan::bench]
fn record_64_iterations(bencher: Bencher) {
    let stored = Stored::new();
    let claimed: Vec<Claimed> = (0..64)
        .map(|_| {
            stored.submit();
            stored.claim().remove(0)
        })
        .collect();
    let line = Arc::<str>::from(line());
    let iteration = AtomicU32::new(0);
    bencher.counter(divan::counter::ItemsCount::new(claimed.len())).bench(|| {
        let iteration = iteration.fetch_add(1, Ordering::Relaxed) + 1;
        let records = claimed.iter().map(|claimed| {
            let (line, now) = (Some(NewLine::whole(Arc::clone(&line))), Timestamp::from_millis(0));
            let step = Step { iteration, line, pending: None, intent: None, usage: None, end: None, now };
            stored.store.record(claimed.fence.clone(), step)
        });
        let done = stored.runtime.block_on(futures_util::future::join_all(records));
        assert!(done.iter().all(Result::is_ok));
    });
}

#[divan::bench]
fn claim(bencher: Bencher) {
    let stored = Stored::new();
    bencher.with_inputs(|| stored.submit()).bench_values(|()| assert_eq!(stored.claim().len(), 1));
}

#[divan::bench]
fn apply_a_patch(bencher: Bencher) {
    let lines: Vec<String> = (0..LINES).map(|line| format!("line {line} of a file")).collect();
    let text = lines.join("\n") + "\n";
    let diff =
        "@@ -100,3 +100,3 @@\n line 99 of a file\n-line 100 of a file\n+line 100 in a file\n line 101 of a file\n";
    bencher.bench(|| patch::apply(Some(black_box(&text)), black_box(diff), "file").unwrap());
}

#[divan::bench(args = ["cargo test --lib", "env A=b sh -c 'cd web && make test'"])]
fn check_the_policy(bencher: Bencher, command: &str) {
    let policy = Policy::load(None, true).unwrap();
    let words = shlex::split(command).unwrap();
    bencher.bench(|| drop(black_box(policy.check(black_box(command), black_box(&words)))));
}

#[divan::bench]
fn take_a_reply(bencher: Bencher) {
    let text = r#"{"event":"tool_call","name":"read_file","arguments":{"file_path":"file.txt"}}"#;
    bencher.bench(|| Reply::parse(&Json::parse(black_box(text)).unwrap()).unwrap());
}

#[divan::bench]
fn check_a_long_json_text(bencher: Bencher) {
    let text = result();
    bencher.counter(divan::counter::BytesCount::of_str(&text)).bench(|| Json::parse(black_box(&text)).unwrap());
}

/// A payload with a tool's result.
fn result() -> String {
    let content = "a line of a file\\n".repeat(RESULT / 17);
    format!(r#"{{"event":"tool_result","name":"read_file","result":{{"status":"success","content":"{content}"}}}}"#)
}

fn line() -> String {
    format!("{{\"iteration\":1,\"agent_input\":{},\"mcp_reply\":{{\"event\":\"finish\"}}}}\n", result())
}
