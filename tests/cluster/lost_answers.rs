//! Whichever request to the database is lost on its way, and whichever answer when it was done: nothing is lost, and nothing
//! is done twice.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::common::brain::{call, finish};
use crate::common::{Service, eventually, send};
use crate::node::Cluster;
use crate::proxy::What;
use crate::referee::Referee;

/// What each task comes to.
const ITERATIONS: u64 = 3;

/// In the statement that claims tasks, in the one that puts a step on record, and in all that has to do with tasks.
const WORDS: [&str; 3] = ["attempt + 1", "INSERT INTO iterations", "tasks"];

/// More statements than a task takes.
const MANY: usize = 60;

/// A lease in seconds that no pause of a busy machine uses up.
const LONG: &str = "4";

async fn quick() -> Referee {
    Referee::new(|_, iteration| match iteration {
        ITERATIONS => (finish(), Duration::ZERO),
        _ => (call("read_file", &json!({"file_path": "none"})), Duration::ZERO),
    })
    .await
}

fn task(id: &str) -> Value {
    json!({"task_id": id, "instruction": "x"})
}

fn has_sprung(told: &mut oneshot::Receiver<String>) -> bool {
    match told.try_recv() {
        Ok(_) => true,
        Err(TryRecvError::Empty) => false,
        Err(TryRecvError::Closed) => panic!("nobody waits for it any more"),
    }
}

/// As a client does: until there is an answer that is not "not now".
async fn insist(service: &Service, method: &str, path: &str, body: &str) -> u16 {
    let mut status = 503;
    eventually("there is an answer", async || {
        let request = service.request(method, path).header("content-type", "application/json").body(body.to_owned());
        status = send(request).await.status;
        status != 503
    })
    .await;
    status
}

#[tokio::test]
async fn whatever_a_worker_asks_may_be_lost_and_whatever_it_is_answered() {
    let Some(cluster) = Cluster::begin(quick().await).await else { return };
    // A worker that is only slow is to keep its task.
    let worker = cluster.running("worker", &[("ROLE", "worker"), ("LEASE", LONG)]).await;
    let api = cluster.running("api", &[("ROLE", "api")]).await;
    for (what, word) in [What::Request, What::Answer].into_iter().flat_map(|what| WORDS.map(|word| (what, word))) {
        // The first, the second and so on, until the task needs no more.
        for others in 0..=MANY {
            let (id, mut told) =
                (format!("{what:?}-{}-{others}", word.len()), worker.proxy.lose_after(word, others, what));
            api.service().submit(&task(&id)).await;
            let ended = api.service().ended(&id).await;
            assert_eq!((&ended["status"], &ended["iteration"]), (&json!("succeeded"), &json!(ITERATIONS)), "{ended}");
            let record = api.service().record(&id).await;
            let numbers: Vec<_> = record.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (1..=ITERATIONS).collect::<Vec<_>>(), "{id}");
            worker.service().filed(&id).await;
            // What has been done is found done, and a claim that nobody knows of goes back: it was no attempt.
            assert_eq!(ended["attempt"], 1, "{what:?} number {others} with {word}");
            if !has_sprung(&mut told) {
                assert!(others > 0, "{what:?}: none with {word}");
                break;
            }
            assert!(others < MANY, "a task takes more than {MANY} statements with {word}");
        }
        worker.proxy.lose_nothing();
    }
    let changes = cluster.witness.changes().await;
    assert_eq!(changes.get("running to queued, lost"), None, "{changes:?}");
    assert!(changes.contains_key("running to queued"), "no claim's answer was lost: {changes:?}");
    assert!(cluster.referee.differed().is_empty(), "{:?}", cluster.referee.differed());
    cluster.witness.saw_no_crime().await;
}

#[tokio::test]
async fn what_a_client_wants_is_done_once_although_the_answer_was_lost() {
    let Some(cluster) = Cluster::begin(quick().await).await else { return };
    let api = cluster.running("api", &[("ROLE", "api")]).await;
    let (proxy, api) = (&api.proxy, api.service());
    let count = async |id: &str, what: &str| {
        cluster.database.psql(&format!("SELECT count(*) FROM tasks WHERE id = '{id}' AND {what}")).await
    };
    for what in [What::Request, What::Answer] {
        let id = format!("{what:?}").to_lowercase();
        let (path, body) = (format!("/tasks/{id}"), task(&id).to_string());

        let lost = proxy.lose("INSERT INTO tasks", what);
        let status = insist(api, "POST", "/tasks", &body).await;
        assert!([200, 202].contains(&status), "{status}");
        lost.await.unwrap();
        assert_eq!(count(&id, "true").await, "1");
        assert_eq!(api.get(&path).await.json()["status"], "queued");

        let lost = proxy.lose("cancel_requested = 1", what);
        assert_eq!(insist(api, "POST", &format!("{path}/cancel"), "").await, 202);
        lost.await.unwrap();
        assert_eq!(api.get(&path).await.json()["status"], "cancelled");

        let lost = proxy.lose("DELETE FROM tasks", what);
        let status = insist(api, "DELETE", &path, "").await;
        // Whoever asks again is told that it is gone.
        assert!([204, 404].contains(&status), "{status}");
        lost.await.unwrap();
        assert_eq!(count(&id, "true").await, "0");
        assert_eq!(api.get(&path).await.status, 404);

        // And so may what is asked behind the deletion, before the files go.
        assert_eq!(insist(api, "POST", "/tasks", &body).await, 202);
        assert_eq!(insist(api, "POST", &format!("{path}/cancel"), "").await, 202);
        let mut behind = proxy.lose_after("tasks", 1, what);
        let status = insist(api, "DELETE", &path, "").await;
        assert!([204, 404].contains(&status), "{status}");
        assert!(has_sprung(&mut behind), "nothing was asked");
        assert_eq!(count(&id, "true").await, "0");
    }
    cluster.witness.saw_no_crime().await;
}

#[tokio::test]
async fn a_task_that_is_handed_back_goes_on_elsewhere_although_the_answer_was_lost() {
    let referee = Referee::new(|_, iteration| match iteration {
        ITERATIONS => (finish(), Duration::from_millis(200)),
        _ => (call("read_file", &json!({"file_path": "none"})), Duration::from_millis(200)),
    });
    let Some(cluster) = Cluster::begin(referee.await).await else { return };
    let api = cluster.running("api", &[("ROLE", "api")]).await;
    for what in [What::Request, What::Answer] {
        let mut worker = cluster.running("worker", &[("ROLE", "worker")]).await;
        let id = format!("{what:?}");
        api.service().submit(&task(&id)).await;
        eventually("it is begun", async || !cluster.referee.heard(&id).is_empty()).await;
        let lost = worker.proxy.lose("attempt - 1", what);
        worker.service().signal(Signal::TERM);
        lost.await.unwrap();
        worker.stop().await;
        let other = cluster.running("other", &[("ROLE", "worker")]).await;
        let ended = api.service().ended(&id).await;
        assert_eq!((&ended["status"], &ended["iteration"]), (&json!("succeeded"), &json!(ITERATIONS)), "{ended}");
        drop(other);
    }
    assert!(cluster.referee.differed().is_empty());
    cluster.witness.saw_no_crime().await;
}

#[tokio::test]
async fn a_worker_that_has_just_started_does_not_give_up_over_a_lost_connection() {
    let Some(cluster) = Cluster::begin(quick().await).await else { return };
    for what in [What::Request, What::Answer] {
        let mut node = cluster.node(&format!("{what:?}"), &[]).await;
        // The first thing it does with the queue: it looks for what others have left.
        let lost = node.proxy.lose("losses + 1", what);
        node.start().await;
        lost.await.unwrap();
        let task = node.service().finish(&task(&format!("task-{what:?}"))).await;
        assert_eq!(task["status"], "succeeded");
        node.assert_lives();
    }
}
