//! How soon a task goes on elsewhere when its worker is gone, and that one who comes back too late changes nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::brain::{call, finish};
use crate::common::{eventually, processes_with};
use crate::node::{Cluster, LEASE, Node};
use crate::referee::{Heard, Referee};

/// How long the brain thinks about each step: whoever goes, does so in the middle of one.
const THINKING: Duration = Duration::from_millis(200);

/// How often each is measured.
const TIMES: usize = 3;

/// Tasks that come back too late at the same time: which of its two reasons to let go a run meets first is a race.
const MANY: usize = 8;

/// A number of seconds that no other test sleeps, to be found in the process table, and longer than a test waits.
const SLEEP: &str = "600.0707";

/// What a busy machine may take on top of what is promised.
const BUSY: Duration = Duration::from_secs(10);

/// A brain for tasks without an end.
async fn tireless() -> Referee {
    Referee::new(|_, _| (call("read_file", &json!({"file_path": "none"})), THINKING)).await
}

fn endless(id: &str) -> Value {
    json!({"task_id": id, "instruction": "x", "max_iterations": 200})
}

/// Returns when a task has come further than that; what was asked then.
async fn gets_beyond(cluster: &Cluster, task: &str, iteration: u64) -> Heard {
    let heard = || cluster.referee.heard(task).into_iter().find(|heard| heard.iteration > iteration);
    eventually("the task gets further", async || heard().is_some()).await;
    heard().unwrap()
}

/// The first question about a task that another life than this one asked.
async fn goes_on_elsewhere(cluster: &Cluster, task: &str, before: &str, since: Instant) -> Heard {
    let heard = || cluster.referee.heard(task).into_iter().find(|heard| heard.at >= since && heard.by != before);
    eventually("the task goes on elsewhere", async || heard().is_some()).await;
    heard().unwrap()
}

/// The node that runs the task comes first.
async fn holder_first(cluster: &Cluster, task: &str, nodes: &mut [Node]) {
    let holder = cluster.witness.holder(task).await;
    let at = nodes.iter().position(|node| node.life() == holder).unwrap();
    nodes.swap(0, at);
}

/// Two nodes, and a task that one of them runs.
async fn two_nodes(cluster: &Cluster, variables: &[(&str, &str)]) -> Vec<Node> {
    let nodes = vec![cluster.running("one", variables).await, cluster.running("two", variables).await];
    nodes[0].service().submit(&endless("task")).await;
    gets_beyond(cluster, "task", 2).await;
    nodes
}

#[tokio::test]
async fn a_killed_workers_task_goes_on_elsewhere_when_its_lease_has_run_out() {
    let Some(cluster) = Cluster::begin(tireless().await).await else { return };
    let mut nodes = two_nodes(&cluster, &[]).await;
    for _ in 0..TIMES {
        holder_first(&cluster, "task", &mut nodes).await;
        let (killed, life) = (Instant::now(), nodes[0].life());
        nodes[0].kill().await;
        let next = goes_on_elsewhere(&cluster, "task", &life, killed).await;
        let took = next.at - killed;
        println!("from kill -9 to the next step: {took:?}, the lease is {LEASE} s");
        assert!(took < Duration::from_secs(LEASE + 2) + BUSY, "{took:?}");
        nodes[0].start().await;
        gets_beyond(&cluster, "task", next.iteration + 1).await;
    }
    cluster.witness.saw_no_crime().await;
    assert!(cluster.witness.changes().await["running to queued, lost"] >= TIMES as u64);
}

#[tokio::test]
async fn a_stopped_workers_task_goes_on_elsewhere_at_once_and_no_attempt_is_counted() {
    let Some(cluster) = Cluster::begin(tireless().await).await else { return };
    // So long that nothing here waits for its end, and no pause of a busy machine uses it up.
    let mut nodes = two_nodes(&cluster, &[("LEASE", "60")]).await;
    for _ in 0..TIMES {
        holder_first(&cluster, "task", &mut nodes).await;
        let (stopped, life) = (Instant::now(), nodes[0].life());
        nodes[0].service().signal(Signal::TERM);
        let next = goes_on_elsewhere(&cluster, "task", &life, stopped).await;
        let took = next.at - stopped;
        println!("from SIGTERM to the next step: {took:?}, the brain thinks for {THINKING:?}");
        assert!(took < Duration::from_secs(1) + BUSY, "{took:?}");
        nodes[0].stop().await;
        nodes[0].start().await;
        gets_beyond(&cluster, "task", next.iteration + 1).await;
    }
    let task = nodes[0].service().get("/tasks/task").await.json();
    assert_eq!((&task["status"], &task["attempt"]), (&json!("running"), &json!(1)), "{task}");
    cluster.witness.saw_no_crime().await;
    assert_eq!(cluster.witness.changes().await.get("running to queued"), Some(&(TIMES as u64)));
}

#[tokio::test]
async fn a_worker_that_stood_still_for_too_long_changes_nothing_any_more() {
    let long = Duration::from_secs(LEASE) / 2;
    let referee = Referee::new(move |_, iteration| match iteration {
        1..4 => (call("edit_file", &json!({"file_path": "a.txt", "new_content": iteration.to_string()})), long),
        _ => (finish(), long),
    });
    let Some(cluster) = Cluster::begin(referee.await).await else { return };
    let mut nodes = vec![cluster.running("one", &[]).await, cluster.running("two", &[]).await];
    nodes[0].service().submit(&json!({"task_id": "task", "instruction": "x"})).await;
    gets_beyond(&cluster, "task", 1).await;
    holder_first(&cluster, "task", &mut nodes).await;
    let (frozen, other) = (&nodes[0], &nodes[1]);
    frozen.freeze();
    let task = other.service().ended("task").await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(4)), "{task}");
    let record = other.service().get("/tasks/task/log").await.text();

    frozen.thaw();
    let let_go = || frozen.service().log().contains("let go");
    eventually("the one that stood still lets go", async || let_go()).await;
    assert_eq!(frozen.service().get("/tasks/task").await.json(), task);
    assert_eq!(frozen.service().get("/tasks/task/log").await.text(), record);
    assert_eq!(std::fs::read_to_string(cluster.code().join("a.txt")).unwrap(), "3");
    assert!(cluster.referee.differed().is_empty());
    cluster.witness.saw_no_crime().await;
    // It is as good as any other.
    nodes[1].stop().await;
    nodes[0].service().finish(&json!({"task_id": "another", "instruction": "x"})).await;
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_refused_even_if_nothing_has_been_written_since() {
    let (soon, late) = (Duration::from_secs(LEASE) / 2, Duration::from_secs(4 * LEASE));
    let asked = std::sync::Mutex::new(std::collections::HashMap::<String, u32>::new());
    let referee = Referee::new(move |task, iteration| {
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(format!("{task}/{iteration}")).or_default();
        *times += 1;
        match (iteration, *times) {
            (1, _) => (call("read_file", &json!({"file_path": "none"})), Duration::ZERO),
            // Whoever asks first has its answer when it comes back, and the other one is still waiting for it.
            (_, 1) => (finish(), soon),
            _ => (finish(), late),
        }
    });
    let Some(cluster) = Cluster::begin(referee.await).await else { return };
    let frozen = cluster.running("one", &[]).await;
    let tasks: Vec<String> = (0..MANY).map(|number| format!("task-{number}")).collect();
    for task in &tasks {
        frozen.service().submit(&json!({"task_id": task, "instruction": "x"})).await;
    }
    let asked = async |by: &str| {
        eventually("the second step of all is asked for", async || {
            let asked =
                |task: &String| cluster.referee.heard(task).iter().any(|heard| heard.iteration == 2 && heard.by == by);
            tasks.iter().all(asked)
        })
        .await;
    };
    asked(&frozen.life()).await;
    frozen.freeze();
    let other = cluster.running("two", &[]).await;
    asked(&other.life()).await;
    frozen.thaw();
    for task in &tasks {
        let ended = other.service().ended(task).await;
        assert_eq!(ended["status"], "succeeded", "{ended}");
    }
    eventually("the one that stood still lets go", async || frozen.has_said("let go") > 0).await;
    cluster.witness.saw_no_crime().await;
}

#[tokio::test]
async fn a_worker_that_is_cut_off_stops_its_command_before_the_task_is_anothers() {
    let referee = Referee::new(|_, iteration| match iteration {
        1 => (call("run_command", &json!({"command": format!("sleep {SLEEP}")})), Duration::ZERO),
        _ => (finish(), THINKING),
    });
    let Some(cluster) = Cluster::begin(referee.await).await else { return };
    let variables = [("CMD_TIMEOUT", "600")];
    let cut_off = cluster.running("one", &variables).await;
    cut_off.service().submit(&json!({"task_id": "task", "instruction": "x"})).await;
    eventually("the command runs", async || !processes_with(SLEEP).is_empty()).await;
    let other = cluster.running("two", &variables).await;
    let since = Instant::now();
    cut_off.proxy.stall(true);
    eventually("the command is gone", async || processes_with(SLEEP).is_empty()).await;
    let stopped = Instant::now();
    let next = goes_on_elsewhere(&cluster, "task", &cut_off.life(), since).await;
    println!("from the cut to the command's end: {:?}, to the next step: {:?}", stopped - since, next.at - since);
    let task = other.service().ended("task").await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(2)), "{task}");
    let told = &other.service().record("task").await[1]["agent_input"]["result"];
    assert!(told["message"].as_str().unwrap().starts_with("interrupted: "), "{told}");

    cut_off.proxy.stall(false);
    eventually("the one that was cut off lets go", async || cut_off.has_said("let go") == 1).await;
    assert_eq!(cut_off.service().get("/tasks/task").await.json(), task);
    cluster.witness.saw_no_crime().await;
}
