//! What a storm has left: every task against the brain's memory, and what the witness has seen.
#![expect(clippy::print_stdout, reason = "the counts are for whoever runs it")]

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clients::{Clients, name};
use crate::node::Cluster;
use crate::storm::ITERATIONS;

/// Tasks that are looked at side by side.
const AT_ONCE: usize = 8;

/// A line of a record, its parts as they stand there.
#[derive(Deserialize)]
struct Line {
    iteration: u64,
    agent_input: Box<RawValue>,
    mcp_reply: Box<RawValue>,
}

/// Looks at everything; all tasks have ended. Whoever is asked has to know.
pub async fn audit(cluster: &Cluster, clients: &Clients, tasks: u64) {
    let audits = futures_util::stream::iter(0..tasks).map(|number| one(cluster, clients, number));
    let attempts: Vec<u64> = audits.buffer_unordered(AT_ONCE).collect().await;
    let most = attempts.iter().max().unwrap();
    println!("attempts: {}, at most {most} for a task", attempts.iter().sum::<u64>());
    println!("questions: {}, asked again: {}", cluster.referee.questions(), cluster.referee.repeated());
    let changes = cluster.witness.changes().await;
    for (what, count) in &changes {
        println!("{what}: {count}");
    }

    cluster.witness.saw_no_crime().await;
    let differed = cluster.referee.differed();
    assert!(differed.is_empty(), "two payloads for one key: {differed:#?}");
    let count = async |sql: &str| cluster.database.psql(sql).await.parse::<u64>().unwrap();
    assert_eq!(count("SELECT count(*) FROM tasks").await, tasks, "tasks lost or doubled");
    assert_eq!(count("SELECT count(*) FROM iterations").await, tasks * ITERATIONS);
    assert_eq!(changes.get("running to succeeded"), Some(&tasks), "ends");
    // What was lost and what was handed back was claimed again.
    let times = |what: &str| changes.get(what).copied().unwrap_or_default();
    let back = times("running to queued, lost") + times("running to queued");
    assert_eq!(times("queued to running"), tasks + back);
}

/// One task as somebody tells it; how many attempts it took.
async fn one(cluster: &Cluster, clients: &Clients, number: u64) -> u64 {
    let id = name(number);
    let task = clients.ask("GET", &format!("/tasks/{id}"), None).await;
    assert_eq!(task.status, 200, "{id} is lost");
    let task = task.json();
    assert_eq!(task["status"], "succeeded", "{task}");
    let log = clients.ask("GET", &format!("/tasks/{id}/log"), None).await.text();
    let lines: Vec<Line> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = lines.iter().map(|line| line.iteration).collect();
    assert_eq!(numbers, (1..=ITERATIONS).collect::<Vec<_>>(), "{id}");
    for line in lines {
        let key = format!("{id}/{}", line.iteration);
        let asked = cluster.referee.asked(&key).unwrap_or_else(|| panic!("{key} was not asked"));
        assert_eq!(asked.payload, line.agent_input.get(), "{key}");
        assert_eq!(asked.reply, line.mcp_reply.get(), "{key}");
    }
    task["attempt"].as_u64().unwrap()
}
