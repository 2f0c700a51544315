//! The database goes away under load, or all its connections do, and what ran goes on.

use std::time::Duration;

use serde_json::json;

use crate::clients::{Clients, name};
use crate::common::brain::{call, finish};
use crate::common::eventually;
use crate::node::Cluster;
use crate::postgres::{Postgres, Stop};
use crate::referee::Referee;

/// What each task comes to.
const ITERATIONS: u64 = 5;

/// Tasks, and the time over which they come in; as often something happens meanwhile.
const TASKS: u64 = 60;
const TIME: Duration = Duration::from_secs(3);
const TIMES: u64 = 4;

enum Outage {
    /// `pg_terminate_backend` on all connections.
    Terminated,
    Restarted(Stop),
    /// The server answers nobody for a while.
    Frozen,
}

/// Goes through one kind of outage several times under load; everything that came in has ended well afterwards.
async fn goes_through(outage: Outage) {
    let Some(postgres) = Postgres::own(&[]).await else { return };
    let referee = Referee::new(|_, iteration| {
        let thinking = Duration::from_millis(fastrand::u64(0..200));
        let reply = if iteration == ITERATIONS { finish() } else { call("read_file", &json!({"file_path": "none"})) };
        (reply, thinking)
    });
    let cluster = Cluster::on(postgres.create().await, referee.await).await;
    let nodes = [cluster.running("one", &[]).await, cluster.running("two", &[]).await];
    let urls = nodes.iter().map(|node| node.service().url.clone()).collect();
    let clients = Clients::of(tokio::sync::watch::channel(urls).1);
    let outages = async {
        for time in 1..=TIMES {
            let some = usize::try_from(time * TASKS / (TIMES + 1)).unwrap();
            eventually("there is work", async || cluster.referee.questions() >= some).await;
            match outage {
                Outage::Terminated => assert!(cluster.database.terminate_all().await > 0),
                Outage::Restarted(how) => postgres.restart(how).await,
                Outage::Frozen => {
                    postgres.freeze();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    postgres.thaw();
                }
            }
        }
    };
    tokio::join!(outages, clients.submit(TASKS, TIME));
    for number in 0..TASKS {
        let node = nodes[usize::from(number.is_multiple_of(2))].service();
        let task = node.ended(&name(number)).await;
        assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(ITERATIONS)), "{task}");
        let numbers = node.record(&name(number)).await;
        let numbers: Vec<_> = numbers.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=ITERATIONS).collect::<Vec<_>>());
    }
    assert!(cluster.referee.differed().is_empty());
    cluster.witness.saw_no_crime().await;
    for node in &nodes {
        eventually("it is ready", async || node.service().get("/readyz").await.status == 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_are_terminated_under_load_and_nothing_is_lost() {
    goes_through(Outage::Terminated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_restarted_under_load_and_nothing_is_lost() {
    goes_through(Outage::Restarted(Stop::Fast)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_crashes_under_load_and_nothing_is_lost() {
    goes_through(Outage::Restarted(Stop::Immediate)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_stands_still_under_load_and_nothing_is_lost() {
    goes_through(Outage::Frozen).await;
}
