//! A service that stands still, and another that takes its place.

use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use crate::common::brain::{Brain, Reply, call};
use crate::common::{Service, eventually};

#[tokio::test]
async fn a_service_that_stood_still_changes_nothing_any_more() {
    let wait = "sh -c 'echo begun >> count; while [ ! -e go ]; do sleep 0.01; done'";
    let brain = Brain::start(move |seen, _| match seen.iteration() {
        1 => Reply::json(&call("run_command", &json!({"command": wait, "timeout": 100}))),
        _ => Reply::finish(),
    })
    .await;
    let frozen = Service::start(&brain.url, &[("LEASE", "1")]).await;
    let id = frozen.submit(&json!({"instruction": "x"})).await;
    let count = frozen.home.code().join("count");
    eventually("the command has begun", async || std::fs::read_to_string(&count).is_ok_and(|text| !text.is_empty()))
        .await;
    frozen.signal(rustix::process::Signal::STOP);

    let database = frozen.home.output().join("codex-agent.db");
    eventually("the lease has run out", async || has_run_out(&database).await).await;
    let service = Service::start_in(frozen.home.clone(), &brain.url, &[]).await;
    let task = service.ended(&id).await;
    assert_eq!((&task["status"], &task["attempt"], &task["iteration"]), (&json!("succeeded"), &json!(2), &json!(2)));
    service.filed(&id).await;
    let record = std::fs::read(service.home.record(&id)).unwrap();

    std::fs::write(frozen.home.code().join("go"), "").unwrap();
    frozen.signal(rustix::process::Signal::CONT);
    let said = frozen.said();
    assert_eq!(frozen.ended_by_itself().await.1, Some(1));
    assert!(said.lock().unwrap().contains("has taken the database over while this one stood still"));
    assert_eq!(std::fs::read(service.home.record(&id)).unwrap(), record);
    assert_eq!(service.get(&format!("/tasks/{id}")).await.json(), task);
    assert_eq!(brain.seen().len(), 2);
    assert_eq!(std::fs::read_to_string(count).unwrap(), "begun\n");
    assert_eq!(service.stop().await.1, Some(0));
}

/// Until then another service is refused.
async fn has_run_out(database: &std::path::Path) -> bool {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut db = options.connect().await.unwrap();
    let sql = "SELECT until <= unixepoch('subsec') * 1000 FROM lease";
    let over = sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap();
    db.close().await.unwrap();
    over
}
