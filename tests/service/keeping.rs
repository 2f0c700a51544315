//! What is given up, and what is forgotten.

use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use crate::common::brain::{Brain, Reply};
use crate::common::{Service, eventually};
use crate::metrics::{count, scrape};

#[tokio::test]
async fn a_task_over_which_service_after_service_dies_fails_as_lost_too_often() {
    let brain = Brain::start(|seen, _| if seen.task_id() == "deadly" { Reply::Silence } else { Reply::finish() }).await;
    let limit = [("LOST_LIMIT", "2")];
    let service = Service::start(&brain.url, &limit).await;
    service.submit(&json!({"instruction": "x", "task_id": "deadly"})).await;
    let mut home = service.home.clone();
    let mut running = Some(service);
    for lives in 1..=2 {
        let service = match running.take() {
            Some(service) => service,
            None => Service::start_in(home.clone(), &brain.url, &limit).await,
        };
        eventually("it is asked", async || brain.seen().len() == lives).await;
        home = service.kill().await;
    }
    let service = Service::start_in(home, &brain.url, &limit).await;
    let task = service.ended("deadly").await;
    assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!("lost_too_often")));
    assert_eq!((&task["attempt"], brain.seen().len()), (&json!(2), 2));
    assert_eq!(service.filed("deadly").await["outcome"]["error"]["code"], "lost_too_often");
    let text = scrape(&service).await;
    assert_eq!(count(&text, "tasks_failed_total{code=\"lost_too_often\"}"), 1);
    assert_eq!((count(&text, "tasks_ended_total{status=\"failed\"}"), count(&text, "tasks_requeued_total")), (1, 0));
    // Others are not held up.
    assert_eq!(service.finish(&json!({"instruction": "x"})).await["status"], "succeeded");
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten_with_its_files() {
    let service = Service::start("script:", &[]).await;
    for name in ["old", "new"] {
        let task = json!({"instruction": "x", "task_id": name, "script": [{"event": "finish"}]});
        service.finish(&task).await;
        service.filed(name).await;
    }
    let (home, _) = service.stop().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.output().join("codex-agent.db"));
    let mut db = options.connect().await.unwrap();
    // Two days and a bit.
    let aged = "UPDATE tasks SET finished_at = finished_at - 180000000, filed = 1 WHERE id = 'old'";
    sqlx::query(aged).execute(&mut db).await.unwrap();
    db.close().await.unwrap();

    let service = Service::start_in(home, "script:", &[("RETENTION_DAYS", "2")]).await;
    eventually("it is forgotten", async || service.get("/tasks/old").await.status == 404).await;
    let (record, meta) = (service.home.record("old"), service.home.record("old").with_extension("meta.json"));
    eventually("its files are gone", async || !record.exists() && !meta.exists()).await;
    assert_eq!(service.get("/tasks/new").await.status, 200);
    assert!(service.home.record("new").exists());
    assert_eq!(service.get("/tasks/new/log").await.lines().len(), 1);
}
