//! The storm: three nodes, and everything that can go wrong with them at random, while there is work.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::audit;
use crate::clients::Clients;
use crate::common::brain::{call, finish};
use crate::common::eventually;
use crate::faults::Faults;
use crate::node::Cluster;
use crate::postgres::Postgres;
use crate::referee::Referee;

/// Seconds without `CODEX_AGENT_STORM`, and tasks for each: 2,000 in five minutes.
const SHORT: u64 = 20;
const TASKS_PER_MINUTE: u64 = 400;

/// What each task comes to.
pub const ITERATIONS: u64 = 5;

/// The longest that the brain thinks about a step, in milliseconds: most of the time some tens of tasks are under way.
const THINKING: u64 = 600;

/// A task in so many has a command: they cost the most.
const COMMANDS: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_whatever_happens_to_workers_and_the_database() {
    let seconds = std::env::var("CODEX_AGENT_STORM").map_or(SHORT, |seconds| seconds.parse().unwrap());
    let seed = std::env::var("CODEX_AGENT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: {seed}");
    let Some(postgres) = Postgres::own(&["max_connections=200"]).await else { return };
    let thinking = || Duration::from_millis(fastrand::u64(0..THINKING));
    let referee = Referee::new(move |task, iteration| (reply(task, iteration), thinking())).await;
    let cluster = Cluster::on(postgres.create().await, referee).await;
    let nodes = vec![cluster.node("one", &[]).await, cluster.node("two", &[]).await, cluster.node("three", &[]).await];

    let mut faults = Faults::on(&cluster, nodes, seed).await;
    let clients = Clients::of(faults.urls());
    let (time, tasks) = (Duration::from_secs(seconds), seconds * TASKS_PER_MINUTE / 60);
    let begun = Instant::now();
    let storm = async {
        faults.rage_until(begun + time).await;
        faults.end().await;
    };
    let work = async {
        tokio::join!(storm, clients.submit(tasks, time));
        let left = async || cluster.database.psql("SELECT unfinished FROM codex_agent_load").await;
        eventually("all tasks have ended", async || left().await == "0").await;
    };
    tokio::select! {
        () = work => {}
        () = clients.watch() => {}
    }
    println!("tasks: {tasks}, in {:.1} s", begun.elapsed().as_secs_f64());
    faults.counts.iter().for_each(|(what, count)| println!("{what}: {count}"));
    println!("connections cut on the way: {}", faults.nodes().map(|node| node.proxy.cuts()).sum::<u64>());
    let let_go = faults.nodes().map(|node| node.has_said("let go")).sum::<usize>();
    println!("runs that came to nothing, for the task was another's by then: {let_go}");
    audit::audit(&cluster, &clients, tasks).await;
}

/// An edit, some reading or a command, and the end.
fn reply(task: &str, iteration: u64) -> Value {
    let number: u64 = task.rsplit('-').next().unwrap().parse().unwrap();
    let file = json!({"file_path": format!("{task}.txt")});
    match iteration {
        1 => call("edit_file", &json!({"file_path": format!("{task}.txt"), "new_content": "some text\n"})),
        2 if number.is_multiple_of(COMMANDS) => call("run_command", &json!({"command": "true"})),
        ITERATIONS => finish(),
        _ => call("read_file", &file),
    }
}
