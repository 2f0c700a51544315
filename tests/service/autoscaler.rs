//! `deploy/autoscaler.py` adds workers and takes them away by `GET /stats`, while a burst of tasks goes through.
#![expect(clippy::disallowed_methods, reason = "the script is run as a user runs it")]

use std::process::Stdio;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::common::brain::{call, finish};
use crate::common::{Home, PATIENCE, Service, skip};
use crate::postgres::Postgres;

/// Tasks in the burst, and iterations of each.
const TASKS: usize = 1000;
const ITERATIONS: usize = 3;

/// What one worker is thought to do at a time, and how many there are at most.
const PER_WORKER: usize = 200;
const MOST: usize = 4;

#[tokio::test]
async fn a_burst_goes_through_while_workers_are_added_and_taken_away() {
    let Some(database) = Postgres::database().await else { return };
    if Command::new("python3").arg("--version").output().await.is_err() {
        return skip("python3 cannot be run: no autoscaler");
    }
    let (home, url, most) = (Home::new(), database.url(), MOST.to_string());
    let variables = [("DATABASE_URL", url.as_str()), ("ROLE", "api")];
    let api = Service::start_in(home.clone(), "script:", &variables).await;
    // Nobody works yet: all of it waits, and the autoscaler begins at zero.
    let script: Vec<Value> = std::iter::repeat_n(call("read_file", &json!({"file_path": "none"})), ITERATIONS - 1)
        .chain([finish()])
        .collect();
    let task = json!({"instruction": "x", "script": script});
    let submitting = futures_util::stream::iter(0..TASKS).map(|_| api.submit(&task)).buffer_unordered(16);
    let ids: Vec<String> = submitting.collect().await;

    let program = env!("CARGO_BIN_EXE_codex-agent");
    let output = format!("{}/worker-{{}}", home.path().display());
    let options =
        ["--tasks-per-worker", &PER_WORKER.to_string(), "--max", &most, "--interval", "0.1", "--cooldown", "0.5"];
    let worker = [program, "serve", "--role", "worker", "--listen", "127.0.0.1:0", "--output-dir", &output];
    let mut autoscaler = Command::new("python3");
    autoscaler.arg(std::fs::canonicalize("deploy/autoscaler.py").unwrap()).args(["--server", &api.url]);
    autoscaler.args(options).arg("--until-idle").arg("--").args(worker).env_clear();
    autoscaler.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TMPDIR", home.path());
    autoscaler.envs([
        ("DATABASE_URL", &*url),
        ("MCP_SERVER_URL", "script:"),
        ("MAX_RUNNING", "32"),
        ("RUST_LOG", "warn"),
    ]);
    autoscaler.env("CODE_DIR", home.code()).env("HOME", home.path()).current_dir(home.path());
    let scaling = autoscaler.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, scaling).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    // `12.3 s  queued 474  running 111  workers 4 -> 3`
    let changes: Vec<[usize; 4]> = said.lines().filter_map(change).collect();
    assert!(matches!(changes.first(), Some([_, _, 0, MOST])) && matches!(changes.last(), Some([.., 0])), "{said}");
    let taken_from_work = changes.iter().any(|[_, running, before, after]| after < before && *running > 0);
    assert!(taken_from_work, "no worker was taken away while there was work: {said}");

    let ended = futures_util::stream::iter(&ids).map(async |id| {
        let task = api.get(&format!("/tasks/{id}")).await.json();
        // A worker that was taken away has handed its tasks back: no attempt is counted for that.
        let found = (&task["status"], &task["attempt"], &task["iteration"]);
        assert_eq!(found, (&"succeeded".into(), &1.into(), &ITERATIONS.into()), "{id}");
        let record = api.record(id).await;
        let numbers: Vec<_> = record.iter().filter_map(|line| line["iteration"].as_u64()).collect();
        assert_eq!(numbers, (1..=ITERATIONS as u64).collect::<Vec<_>>(), "{id}");
    });
    assert_eq!(ended.buffer_unordered(16).count().await, TASKS);
}

/// The numbers in a line that tells of a change: queued, running, workers before and after.
fn change(line: &str) -> Option<[usize; 4]> {
    let (_, counts) = line.split_once("queued")?;
    let numbers: Vec<usize> = counts.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}
