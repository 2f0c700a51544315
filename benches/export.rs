//! How fast records become training data: `cargo bench --bench export`, or `cargo bench --bench export -- 1000` for so many tasks.
//!
//! A database is filled with tasks of six iterations (text of this program's own sources, so that tokens are those of code),
//! and exported by the program itself in each format. What it is measured against is `cat`: the same records as one file,
//! copied to another, by turns in the same run.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a bench starts programs and has no shutdown to wait for")]
#![expect(clippy::cast_precision_loss, reason = "no figure has more digits than a float")]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use codex_agent::domain::{Json, Line, Outcome, Payload, SpecLimits, TaskSpec, Timestamp};
use codex_agent::store::{Claim, Claimed, NewLine, NewTask, Pending, SqliteStore, Step, Store, Which};
use futures_util::future::join_all;
use serde_json::json;

/// Tasks, if no number is given.
const TASKS: u32 = 100_000;

/// Iterations of each.
const ITERATIONS: u32 = 6;

/// Tasks that are written at a time.
const AT_A_TIME: u32 = 256;

/// Of three rounds the middle one is no outlier.
const ROUNDS: usize = 3;

const SOURCE: &str = include_str!("../src/export/in_groups.rs");

fn main() {
    let tasks = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(TASKS);
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("output");
    std::fs::create_dir(&output).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let filling = Instant::now();
    runtime.block_on(fill(&output.join("codex-agent.db"), tasks));
    let merged = home.path().join("records.jsonl");
    let records = ["--format", "records", "--redact", "none", "--allow-secrets"];
    program(&output, &records, File::create(&merged).unwrap());
    let bytes = merged.metadata().unwrap().len();
    println!(
        "{tasks} tasks of {ITERATIONS} iterations, {:.0} MB of records, filled in {:.0} s\n",
        bytes as f64 / 1e6,
        filling.elapsed().as_secs_f64()
    );
    println!(
        "| | rows/s | records, MB/s | of `cat` | data, MB/s | peak RSS, MiB |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    );
    let whole = ["openai", "hf", "dpo-openai", "atif", "records"].map(|format| (format, true));
    // What GET /export does: rows alone, and no tokens counted.
    for (format, whole) in whole.into_iter().chain([("openai", false)]) {
        let (mut cats, mut exports, mut peak) = (Vec::new(), Vec::new(), 0);
        let (mut rows, mut written) = (0, 0);
        for _ in 0..ROUNDS {
            cats.push(cat(&merged, &home.path().join("copy")));
            let (rows_alone, data) = (home.path().join("data.jsonl"), home.path().join("data"));
            let to = ["--format", format, "--to", data.to_str().unwrap(), "--overwrite"];
            let run = program(&output, if whole { &to } else { &to[..2] }, File::create(&rows_alone).unwrap());
            exports.push(run.took);
            peak = peak.max(run.peak_kib);
            let files = if whole { shards(&data) } else { vec![rows_alone] };
            rows = files.iter().map(|file| lines(file)).sum();
            written = files.iter().map(|file| file.metadata().unwrap().len()).sum();
        }
        let (cat, export) = (median(&mut cats), median(&mut exports));
        let rate = |bytes: u64, took: Duration| bytes as f64 / 1e6 / took.as_secs_f64();
        println!(
            "| {format}{} | {:.0} | {:.1} | {:.3} | {:.1} | {:.0} |",
            if whole { "" } else { ", streamed" },
            rows as f64 / export.as_secs_f64(),
            rate(bytes, export),
            rate(bytes, export) / rate(bytes, cat),
            rate(written, export),
            peak as f64 / 1024.0,
        );
    }
}

struct Run {
    took: Duration,
    peak_kib: i64,
}

/// Runs the program's export; its standard output goes to `out`.
fn program(output: &Path, flags: &[&str], out: File) -> Run {
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_codex-agent"));
    command
        .args(["export", "--quiet", "--include-scripted"])
        .args(flags)
        .env("OUTPUT_DIR", output)
        .env_remove("DATABASE_URL");
    #[expect(clippy::zombie_processes, reason = "it is waited for below, by a call that tells what it used")]
    let child = command.stdout(Stdio::from(out)).spawn().unwrap();
    let mut status = 0;
    // SAFETY: an all-zero rusage is one, and the pointers live for the call.
    #[expect(unsafe_code, reason = "the peak of one child is told by wait4 alone")]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid);
        usage
    };
    assert_eq!(status, 0, "the export failed");
    Run { took: started.elapsed(), peak_kib: usage.ru_maxrss }
}

fn cat(from: &Path, to: &Path) -> Duration {
    let started = Instant::now();
    assert!(Command::new("cat").arg(from).stdout(File::create(to).unwrap()).status().unwrap().success());
    started.elapsed()
}

fn shards(dir: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir.join("data")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn lines(file: &Path) -> usize {
    use std::io::{BufRead, BufReader};
    BufReader::new(File::open(file).unwrap()).split(b'\n').count()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn fill(file: &Path, tasks: u32) {
    let store = SqliteStore::open(file, Duration::from_mins(10)).await.unwrap();
    let limits = SpecLimits { default_iterations: 7, max_iterations: 200 };
    for first in (0..tasks).step_by(AT_A_TIME as usize) {
        let some = first..tasks.min(first + AT_A_TIME);
        join_all(some.clone().map(async |number| {
            let posted = json!({"instruction": format!("Task {number}: {}", piece(number, 300)), "labels": {"group": format!("{}", number / 4)}});
            let spec = TaskSpec::parse(Json::parse(&posted.to_string()).unwrap(), limits).unwrap();
            let id = format!("t{number}").parse().unwrap();
            store.submit(NewTask { id, idempotency_key: None, spec, now: at(number), max_queued: u32::MAX }).await.unwrap();
        }))
        .await;
        let claim = Claim { worker: "w".into(), limit: AT_A_TIME, which: Which::Any, now: at(first) };
        let claimed = store.claim(claim).await.unwrap();
        join_all(claimed.iter().zip(some).map(|(claimed, number)| live(&store, claimed, number))).await;
    }
    store.close().await;
}

/// Writes the iterations of one task, as the run loop does.
async fn live(store: &SqliteStore, claimed: &Claimed, number: u32) {
    let mut payload = Payload::Start { task: &claimed.task.posted, models: None }.to_json();
    let mut on_record = false;
    for iteration in 1..=ITERATIONS {
        let draw = number.wrapping_mul(31).wrapping_add(iteration * 977);
        // In every other task a call fails, and the next one repairs it.
        let fails = iteration == 2 && number.is_multiple_of(2);
        let (name, arguments, result) = match [0, 1, 2, 2, 1, 0, 0][iteration as usize] {
            0 => (
                "run_command",
                json!({"command": format!("cargo test {draw}")}),
                json!({"status": status(fails), "returncode": i32::from(fails), "stdout": piece(draw, 900), "stderr": "", "truncated": false, "duration_ms": draw % 500}),
            ),
            1 => (
                "read_file",
                json!({"file_path": format!("src/part_{}.rs", draw % 40)}),
                json!({"status": "success", "content": piece(draw, 1200), "next_start": null, "size_bytes": 1200}),
            ),
            _ => (
                "edit_file",
                json!({"file_path": format!("src/part_{}.rs", number % 40), "new_content": piece(draw, 600)}),
                json!({"status": status(fails), "message": "file edited", "diff": piece(draw + 7, 700)}),
            ),
        };
        let last = iteration == ITERATIONS;
        let reply = if last {
            json!({"event": "finish", "summary": piece(draw, 150)})
        } else {
            json!({"event": "tool_call", "name": name, "arguments": arguments})
        };
        let reply = Json::parse(&reply.to_string()).unwrap();
        let line = Line {
            iteration,
            agent_input: &payload,
            mcp_reply: Some(&reply),
            at: at(number),
            step_ms: 12,
            tool_ms: (iteration > 1).then_some(3),
        };
        let text = line.render();
        let place = on_record.then(|| line.payload());
        let arguments = Json::parse(&arguments.to_string()).unwrap();
        let result = Json::parse(&result.to_string()).unwrap();
        payload = Payload::ToolResult { name, arguments: Some(&arguments), result: &result }.to_json();
        let summary = Some(piece(draw, 150));
        let step = Step {
            iteration,
            line: Some(NewLine { text: text.into(), payload: place }),
            pending: (!last).then(|| Pending { payload: payload.clone(), tool_ms: Some(3) }),
            intent: None,
            usage: None,
            end: last.then_some(Outcome::Succeeded { summary }),
            now: at(number),
        };
        store.record(claimed.fence.clone(), step).await.unwrap();
        on_record = true;
    }
}

fn status(fails: bool) -> &'static str {
    if fails { "failure" } else { "success" }
}

/// Some characters of the source, elsewhere for each number.
fn piece(number: u32, length: usize) -> String {
    let start = number as usize * 7919 % (SOURCE.len() - length);
    let (start, end) = (SOURCE.floor_char_boundary(start), SOURCE.floor_char_boundary(start + length));
    SOURCE[start..end].to_owned()
}

fn at(number: u32) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + i64::from(number))
}
