//! What several processes on one database tell: each of them all of it.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::brain::finish;
use crate::common::{Home, Service, eventually, send};
use crate::events::{Listening, gated, numbers, parse, since};
use crate::metrics::{count, scrape};
use crate::postgres::{Database, Postgres, Stop};

/// Long enough for a busy machine, short enough to be waited for.
const LEASE: (&str, &str) = ("LEASE", "3");

async fn start(role: &str, brain: &str, database: &Database) -> Service {
    let (url, retries) = (database.url(), ("MCP_RETRIES", "100"));
    Service::start_in(Home::new(), brain, &[LEASE, retries, ("ROLE", role), ("DATABASE_URL", &url)]).await
}

async fn stats(service: &Service) -> Value {
    service.get("/stats").await.json()
}

#[tokio::test]
async fn events_go_on_at_another_process_whichever_worker_dies() {
    let Some(database) = Postgres::database().await else { return };
    let (brain, go) = gated(3).await;
    let (api, first) = (start("api", &brain.url, &database).await, start("all", &brain.url, &database).await);
    let id = api.submit(&json!({"instruction": "x"})).await;
    let (mut here, mut there) = (Listening::to(&api, &id, 0).await, Listening::to(&first, &id, 0).await);
    go.add_permits(1);
    here.has(&[1, 2, 3]).await;
    there.has(&[1, 2, 3]).await;
    drop(there);
    first.kill().await;
    let second = start("all", &brain.url, &database).await;
    // Who listened at the one that died comes to another.
    let back = Listening::to(&second, &id, 3).await;
    go.add_permits(2);
    let (here, back) = (here.ended().await, back.ended().await);
    assert_eq!((numbers(&here), &here[3..]), (vec![1, 2, 3, 4, 5, 6], &back[..]));
    for service in [&api, &second] {
        assert_eq!(parse(&since(service, &id, "").await.text()).0, here);
        assert_eq!(since(service, &id, "6").await.status, 204);
    }
}

#[tokio::test]
async fn every_process_tells_the_same_of_the_queue_and_its_own_of_itself() {
    let Some(database) = Postgres::database().await else { return };
    let (brain, go) = gated(1).await;
    let api = start("api", &brain.url, &database).await;
    let id = api.submit(&json!({"instruction": "x"})).await;
    let now = stats(&api).await;
    assert_eq!((&now["queued"], &now["unfinished"], &now["capacity"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(now["workers"], json!([]));

    let worker = start("worker", &brain.url, &database).await;
    eventually("the worker has it", async || stats(&api).await["workers"][0]["running"] == 1).await;
    // A worker has the figures, and nothing of the tasks.
    assert_eq!(worker.get("/tasks").await.status, 404);
    for service in [&api, &worker] {
        let (now, text) = (stats(service).await, scrape(service).await);
        assert_eq!((&now["running"], &now["unfinished"], &now["capacity"]), (&1.into(), &1.into(), &256.into()));
        for (series, expected) in [("tasks{status=\"running\"}", 1), ("workers", 1), ("capacity_tasks", 256)] {
            assert_eq!(count(&text, series), expected, "{series}");
        }
        let used = |state: &str| count(&text, &format!("database_connections{{state=\"{state}\"}}"));
        assert!((1..=8).contains(&(used("idle") + used("used"))), "{text}");
        assert!(!text.contains("codex_agent_database_size_bytes"), "{text}");
    }
    go.add_permits(1);
    api.ended(&id).await;
    let (at_api, at_worker) = (scrape(&api).await, scrape(&worker).await);
    for (series, submitted, run) in
        [("tasks_submitted_total", 1, 0), ("iterations_total", 0, 1), ("tasks_ended_total{status=\"succeeded\"}", 0, 1)]
    {
        assert_eq!((count(&at_api, series), count(&at_worker, series)), (submitted, run), "{series}");
    }
}

#[tokio::test]
async fn a_lost_lease_is_counted_by_who_lost_it_and_by_who_found_it() {
    let Some(database) = Postgres::database().await else { return };
    let (brain, go) = gated(2).await;
    let frozen = start("all", &brain.url, &database).await;
    let id = frozen.submit(&json!({"instruction": "x"})).await;
    go.add_permits(1);
    eventually("it is under way", async || frozen.get(&format!("/tasks/{id}")).await.json()["iteration"] == 1).await;
    let other = start("all", &brain.url, &database).await;
    frozen.signal(Signal::STOP);
    eventually("the other one found it", async || {
        count(&scrape(&other).await, "tasks_requeued_total") == 1 && stats(&other).await["running"] == 1
    })
    .await;
    frozen.signal(Signal::CONT);
    eventually("it knows that it has lost", async || count(&scrape(&frozen).await, "leases_lost_total") == 1).await;
    go.add_permits(1);
    assert_eq!(other.ended(&id).await["status"], "succeeded");
    let (lost, found) = (scrape(&frozen).await, scrape(&other).await);
    let ends = "tasks_ended_total{status=\"succeeded\"}";
    assert_eq!((count(&lost, ends), count(&found, ends)), (0, 1));
    assert_eq!((count(&lost, "tasks_requeued_total"), count(&found, "leases_lost_total")), (0, 0));
    assert_eq!(count(&lost, "leases_lost_total"), 1);
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_keeps_nobody_from_the_metrics() {
    let Some(cluster) = Postgres::own(&[]).await else { return };
    let database = cluster.create().await;
    let service = start("all", "script:", &database).await;
    service.finish(&json!({"instruction": "x", "script": [finish()]})).await;
    let without = async |what: &str| {
        eventually(what, async || service.get("/stats").await.status == 503).await;
        let text = scrape(&service).await;
        assert!(!text.contains("codex_agent_tasks{") && !text.contains("codex_agent_workers"), "{what}: {text}");
        assert_eq!(count(&text, "tasks_ended_total{status=\"succeeded\"}"), 1, "{what}");
    };
    cluster.stop(Stop::Fast).await;
    without("it is gone").await;
    cluster.start().await;
    eventually("it is there again", async || service.get("/stats").await.status == 200).await;
    cluster.freeze();
    without("it is silent").await;
    cluster.thaw();
    eventually("it answers again", async || scrape(&service).await.contains("codex_agent_workers 1")).await;
}

#[tokio::test]
async fn a_record_that_was_begun_elsewhere_takes_the_place_of_what_lies_here_under_its_name() {
    let Some(database) = Postgres::database().await else { return };
    let (brain, go) = gated(3).await;
    let first = start("all", &brain.url, &database).await;
    let id = first.submit(&json!({"instruction": "x"})).await;
    go.add_permits(1);
    eventually("an iteration is on record", async || first.record(&id).await.len() == 1).await;
    first.kill().await;
    // The file of an earlier task of that name, which was deleted while this worker was away.
    let home = Home::new();
    std::fs::create_dir_all(home.record(&id).parent().unwrap()).unwrap();
    std::fs::write(home.record(&id), "{\"iteration\":1,\"of\":\"another task\"}\n".repeat(2)).unwrap();
    let url = database.url();
    let second = Service::start_in(home, &brain.url, &[LEASE, ("DATABASE_URL", &url)]).await;
    go.add_permits(2);
    second.ended(&id).await;
    second.filed(&id).await;
    let (served, kept) =
        (second.get(&format!("/tasks/{id}/log")).await, std::fs::read(second.home.record(&id)).unwrap());
    assert_eq!(String::from_utf8(kept).unwrap(), served.text());
    assert_eq!(served.lines().len(), 3);
}

#[tokio::test]
async fn a_directory_is_one_workers_and_a_task_in_the_foreground_is_nobodys_on_postgresql() {
    let Some(database) = Postgres::database().await else { return };
    let service = start("worker", "script:", &database).await;
    let url = database.url();
    for (arguments, code, said) in
        [(&["serve"][..], 1, "OUTPUT_DIR: "), (&["run"], 2, "DATABASE_URL: `run` needs an SQLite file")]
    {
        let mut command = service.home.command(arguments);
        command.env("DATABASE_URL", &url).env("LISTEN", "127.0.0.1:0").env("MCP_SERVER_URL", "script:");
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut task = child.stdin.take().unwrap();
        // Who does not start may not have read it.
        drop(tokio::io::AsyncWriteExt::write_all(&mut task, br#"{"instruction": "x", "script": []}"#).await);
        drop(task);
        let refused = child.wait_with_output().await.unwrap();
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(code) && told.contains(said), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_task_whose_name_was_given_anew() {
    let Some(database) = Postgres::database().await else { return };
    let first = start("all", "script:", &database).await;
    let task = |said: &str, script: Value| json!({"task_id": "t", "instruction": said, "script": script});
    first.finish(&task("amaranth", json!([{"event": "finish"}]))).await;
    first.filed("t").await;
    let kept = |service: &Service| {
        let record = service.home.record("t");
        let meta = std::fs::read_to_string(record.with_extension("meta.json")).unwrap_or_default();
        std::fs::read_to_string(record).unwrap_or_default() + &meta
    };
    assert!(kept(&first).contains("amaranth"));
    // It is away while the task is deleted and its name given anew.
    let (home, code) = first.stop().await;
    assert_eq!(code, Some(0));
    let second = start("all", "script:", &database).await;
    assert_eq!(send(second.request("DELETE", "/tasks/t")).await.status, 204);
    second.finish(&task("bergamot", json!([{"event": "finish"}]))).await;
    let url = database.url();
    let first = Service::start_in(home, "script:", &[LEASE, ("DATABASE_URL", &url)]).await;
    eventually("what was deleted is gone", async || !kept(&first).contains("amaranth")).await;
    eventually("the other's is kept", async || kept(&second).contains("bergamot")).await;
}
