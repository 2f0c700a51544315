//! What an export of many records costs: `cargo bench --bench export`, or with a number of tasks behind `--`, or formats, or both.
//!
//! ```text
//!  filled   a database with 100,000 records of six iterations      here   the program exports it, and `cat` copies what it wrote
//! ```
//!
//! Each figure is the median of [`ROUNDS`] rounds, the export and the copy by turns; of the memory it is the most.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a bench starts programs")]
#![expect(clippy::cast_precision_loss, reason = "no figure has more digits than a float")]

#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/common/mod.rs"]
mod common;
mod filled;
#[expect(dead_code, reason = "the other bench uses all of it")]
#[path = "../service/measure.rs"]
mod measure;
#[path = "../service/place.rs"]
mod place;
#[expect(dead_code, reason = "the other bench uses all of it")]
#[path = "../service/table.rs"]
mod table;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/export/world.rs"]
mod world;

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::Home;
use measure::median;
use table::{Goal, Row, Table};

/// Of three rounds the middle one is no outlier.
const ROUNDS: usize = 3;

/// What is promised: so many records, and less memory than this whatever their number.
const TASKS: i64 = 100_000;
const MOST_MEMORY: f64 = 100.0;

/// How often it is looked how much memory the program has had at most: the kernel remembers, until the program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Bytes in a megabyte, as disks are sold, and in a mebibyte, as memory is.
const MB: f64 = 1e6;
const MIB: f64 = 1_048_576.0;

/// One export, and the copy of what it wrote.
struct Round {
    seconds: f64,
    rows: f64,
    bytes: f64,
    copied_in: f64,
    peak: f64,
}

fn main() -> ExitCode {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let tasks = chosen.iter().find_map(|argument| argument.parse().ok()).unwrap_or(TASKS);
    let mut formats = ["openai", "hf", "atif", "records"].to_vec();
    if formats.iter().any(|format| chosen.iter().any(|word| word == format)) {
        formats.retain(|format| chosen.iter().any(|word| word == format));
    }
    place::run(all(tasks, formats))
}

async fn all(tasks: i64, formats: Vec<&str>) {
    let home = filled::tasks(tasks).await;
    let mut table = Table::begin();
    for format in formats {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(round(&home, format).await);
        }
        table.add(figures(format, &rounds));
    }
    table.end();
}

fn figures(format: &str, rounds: &[Round]) -> [Row; 4] {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let times = (of(|round| round.seconds), of(|round| round.copied_in));
    let peak = rounds.iter().map(|round| round.peak).fold(0.0, f64::max);
    [
        Row::note("E1", &format!("{format}: tasks a second"), of(|round| round.rows / round.seconds), "/s"),
        Row::note("E1", &format!("{format}: data a second"), of(|round| round.bytes / round.seconds) / MB, "MB/s"),
        Row::compared("E2", &format!("{format}: time, beside cat of the same data"), times, "s"),
        Row::plain("E3", &format!("{format}: most memory"), Goal::AtMost(MOST_MEMORY), peak / MIB, "MiB"),
    ]
}

async fn round(home: &Home, format: &str) -> Round {
    let directory = home.path().join("exported");
    let mut command = home.command(&["export", "-q", "--format", format, "--to"]);
    let started = Instant::now();
    let mut child = command.arg(&directory).stdin(Stdio::null()).spawn().unwrap();
    let pid = child.id().unwrap();
    let (mut peak, mut looks) = (0.0, tokio::time::interval(LOOK));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.unwrap(),
            _ = looks.tick() => peak = most_memory(pid).unwrap_or(peak),
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    assert!(status.success(), "{status}");
    let index = std::fs::read_to_string(directory.join("index.jsonl")).unwrap();
    let started = Instant::now();
    let bytes = copy(&directory, &home.path().join("copied")).await;
    let copied_in = started.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&directory).unwrap();
    Round { seconds, rows: index.lines().count() as f64, bytes, copied_in, peak }
}

/// Copies the data into one file, as a job that merges records would; how many bytes that are.
async fn copy(directory: &Path, to: &Path) -> f64 {
    let shards = std::fs::read_dir(directory.join("data")).unwrap().map(|entry| entry.unwrap().path());
    let file = std::fs::File::create(to).unwrap();
    let status = tokio::process::Command::new("cat").args(shards).stdout(file).status().await.unwrap();
    assert!(status.success());
    std::fs::metadata(to).unwrap().len() as f64
}

/// The most memory that a process has had so far, in bytes; nothing of one that has ended.
fn most_memory(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kib| kib * 1024.0)
}
