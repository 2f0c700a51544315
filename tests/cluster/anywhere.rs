//! Whoever is asked knows of any task, whoever runs it; and a node does what its role says, and no more.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::brain::{call, finish};
use crate::common::{eventually, processes_with, send};
use crate::node::Cluster;
use crate::referee::Referee;

/// How long the brain thinks about each step.
const THINKING: Duration = Duration::from_millis(300);

/// What each task here comes to.
const ITERATIONS: u64 = 5;

/// A number of seconds that no other test sleeps, to be found in the process table.
const SLEEP: &str = "60.0616";

/// What is promised is a second; a busy machine may take longer.
const BUSY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn status_log_and_waiting_are_answered_by_one_who_does_not_run_the_task() {
    let referee = Referee::new(|_, iteration| match iteration {
        ITERATIONS => (finish(), THINKING),
        _ => (call("read_file", &json!({"file_path": "none"})), THINKING),
    });
    let Some(cluster) = Cluster::begin(referee.await).await else { return };
    let api = cluster.running("api", &[("ROLE", "api")]).await;
    let api = api.service();
    let id = api.submit(&json!({"instruction": "x"})).await;
    let path = format!("/tasks/{id}");

    // It runs nothing itself.
    assert_eq!(api.get(&format!("{path}?wait=1")).await.json()["status"], "queued");
    assert!(cluster.referee.heard(&id).is_empty());
    let worker = cluster.running("worker", &[("ROLE", "worker")]).await;
    let changed = api.get(&format!("{path}?wait=60")).await.json();
    assert_eq!(changed["status"], "running");

    // The record is told line by line, while it grows.
    let mut follow = api.request("GET", &format!("{path}/log?follow=true")).send().await.unwrap();
    let mut told = Vec::new();
    while let Some(chunk) = follow.chunk().await.unwrap() {
        told.extend_from_slice(&chunk);
        if std::str::from_utf8(&told).unwrap().lines().count() == 1 {
            assert!(cluster.referee.heard(&id).len() < usize::try_from(ITERATIONS).unwrap(), "told only at the end");
            assert_eq!(api.get(&path).await.json()["status"], "running");
        }
    }
    let task = api.ended(&id).await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(ITERATIONS)));
    let log = api.get(&format!("{path}/log")).await;
    assert_eq!((log.lines().len() as u64, &log.body), (ITERATIONS, &told));
    assert_eq!(api.get(&format!("{path}/log?after=3")).await.lines()[0]["iteration"], 4);
    assert_eq!(cluster.witness.holder(&id).await, worker.life());

    // Another one who was not there when it ran knows as much.
    let late = cluster.running("late", &[]).await;
    assert_eq!(late.service().get(&path).await.json(), task);
    assert_eq!(late.service().get(&format!("{path}/log")).await.body, told);
    assert_eq!(late.service().get("/tasks").await.json()["tasks"], json!([task]));
    assert_eq!(send(late.service().request("DELETE", &path)).await.status, 204);
    assert_eq!(api.get(&path).await.status, 404);
    eventually("the worker's files are gone as well", async || !worker.service().home.record(&id).exists()).await;
}

#[tokio::test]
async fn a_worker_answers_probes_and_no_client() {
    let Some(cluster) = Cluster::begin(Referee::new(|_, _| (finish(), Duration::ZERO)).await).await else { return };
    let worker = cluster.running("worker", &[("ROLE", "worker")]).await;
    let worker = worker.service();
    assert_eq!(worker.get("/healthz").await.status, 200);
    assert_eq!(worker.get("/readyz").await.status, 200);
    assert_eq!(worker.get("/tasks").await.status, 404);
    assert_eq!(worker.post("/tasks", json!({"instruction": "x"}).to_string()).await.status, 404);
    assert_eq!(cluster.database.psql("SELECT count(*) FROM tasks").await, "0");
}

#[tokio::test]
async fn a_wish_to_cancel_reaches_the_worker_that_runs_the_task() {
    let referee = Referee::new(|_, iteration| match iteration {
        1 => (call("run_command", &json!({"command": format!("sleep {SLEEP}")})), Duration::ZERO),
        _ => (finish(), Duration::ZERO),
    });
    let Some(cluster) = Cluster::begin(referee.await).await else { return };
    let api = cluster.running("api", &[("ROLE", "api")]).await;
    let _workers = (
        cluster.running("one", &[("ROLE", "worker"), ("CMD_TIMEOUT", "90")]).await,
        cluster.running("two", &[("ROLE", "worker"), ("CMD_TIMEOUT", "90")]).await,
    );
    let api = api.service();
    for id in ["first", "second", "third"] {
        api.submit(&json!({"task_id": id, "instruction": "x"})).await;
        eventually("the command runs", async || !processes_with(SLEEP).is_empty()).await;
        let asked = Instant::now();
        assert_eq!(api.post(&format!("/tasks/{id}/cancel"), "").await.status, 202);
        eventually("the command is gone", async || processes_with(SLEEP).is_empty()).await;
        let took = asked.elapsed();
        println!("from the wish to cancel to the command's end: {took:?}");
        assert!(took < Duration::from_secs(1) + BUSY, "{took:?}");
        assert_eq!(api.ended(id).await["status"], "cancelled");
        assert_eq!(cluster.referee.heard(id).last().unwrap().event, "agent_abort");
    }
    cluster.witness.saw_no_crime().await;
}
