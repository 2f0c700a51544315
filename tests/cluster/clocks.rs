//! Workers whose clocks are wrong: the database's decides who holds what, and tells the time.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::common::brain::{call, finish};
use crate::common::skip;
use crate::node::{Cluster, Node};
use crate::referee::Referee;

/// What each task comes to, and how long the brain thinks about each step: longer than the lease in all.
const ITERATIONS: u64 = 4;
const THINKING: Duration = Duration::from_millis(1500);

/// A lease in seconds that no pause of a busy machine uses up; and two tasks for each node, so that each has some.
const VARIABLES: [(&str, &str); 2] = [("LEASE", "4"), ("MAX_RUNNING", "2")];

/// How far a time may be off that came by way of a busy machine, in seconds.
const BUSY: u64 = 60;

/// A program's clock is another under this library (Debian's package faketime).
fn library() -> Option<PathBuf> {
    let dirs = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    dirs.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

async fn start(node: &mut Node, off: &'static str, library: PathBuf) {
    node.start_with(|command| {
        // Timers go by the clock that only counts; that one is not wrong.
        command.env("LD_PRELOAD", library).env("FAKETIME", off);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    })
    .await;
}

#[tokio::test]
async fn a_worker_whose_clock_is_an_hour_off_takes_nothing_from_others_and_tells_the_right_time() {
    let Some(library) = library() else { return skip("libfaketime is not installed") };
    let referee = Referee::new(|_, iteration| match iteration {
        ITERATIONS => (finish(), THINKING),
        _ => (call("read_file", &json!({"file_path": "none"})), THINKING),
    });
    let Some(cluster) = Cluster::begin(referee.await).await else { return };
    let right = cluster.running("right", &VARIABLES).await;
    let mut ahead = cluster.node("ahead", &VARIABLES).await;
    let mut behind = cluster.node("behind", &VARIABLES).await;
    start(&mut ahead, "+1h", library.clone()).await;
    start(&mut behind, "-1h", library).await;
    let nodes = [right, ahead, behind];
    let clock = async |node: &Node| {
        let date = node.service().get("/healthz").await.header("date").to_owned();
        let off = format!("SELECT round(extract(epoch FROM '{date}'::timestamptz - now()) / 3600)");
        cluster.database.psql(&off).await
    };
    assert_eq!((clock(&nodes[1]).await, clock(&nodes[2]).await), ("1".to_owned(), "-1".to_owned()));

    // Each takes two of them.
    let ids: Vec<String> = (0..6).map(|number| format!("task-{number}")).collect();
    for (at, id) in ids.iter().enumerate() {
        nodes[at % 3].service().submit(&json!({"task_id": id, "instruction": "x"})).await;
    }
    let mut holders = std::collections::BTreeSet::new();
    for (at, id) in ids.iter().enumerate() {
        let node = nodes[(at + 1) % 3].service();
        let task = node.ended(id).await;
        assert_eq!((&task["status"], &task["attempt"]), (&json!("succeeded"), &json!(1)), "{task}");
        for time in ["created_at", "started_at", "finished_at"] {
            assert_recent(&cluster, task[time].as_str().unwrap()).await;
        }
        for line in node.record(id).await {
            assert_recent(&cluster, line["at"].as_str().unwrap()).await;
        }
        holders.insert(cluster.witness.holder(id).await);
    }
    assert_eq!(holders.len(), 3, "only {holders:?} had something to do");
    let changes = cluster.witness.changes().await;
    assert_eq!(changes.get("running to queued, lost"), None, "{changes:?}");
    cluster.witness.saw_no_crime().await;
}

/// By the database's clock.
async fn assert_recent(cluster: &Cluster, time: &str) {
    let sql = format!("SELECT abs(extract(epoch FROM now() - '{time}'::timestamptz)) < {BUSY}");
    assert_eq!(cluster.database.psql(&sql).await, "t", "{time}");
}
