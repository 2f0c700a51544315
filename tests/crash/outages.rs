//! What the service stands on goes away for a while under load, and comes back.

use sqlx::{ConnectOptions, Connection, Executor};

use crate::bench::Bench;
use crate::common::eventually;
use crate::storm::Storm;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_brain_that_dies_and_comes_back_loses_nothing() {
    let storm = Storm::begin(10).await;
    let service = storm.start(&[("RUST_LOG", "warn,codex_agent::cli=info,codex_agent::brain=info")]).await;
    for _ in 0..2 {
        storm.busy(5).await;
        let bench = storm.brain.lock().unwrap().take().unwrap();
        let address = bench.address;
        let found_none = || service.log().matches("Connection refused").count();
        let before = found_none();
        bench.close().await;
        eventually("the service has found no brain", async || found_none() > before).await;
        let bench = Bench::open(&storm.judge, address).await;
        storm.brain.lock().unwrap().replace(bench);
    }
    storm.busy(5).await;
    storm.settle(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_refuses_what_is_new_and_everything_is_whole_afterwards() {
    let storm = Storm::begin(5).await;
    let service = storm.start(&[]).await;
    storm.busy(5).await;
    let file = storm.home.output().join("codex-agent.db");
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let (readyz, ()) = tokio::join!(service.get("/readyz"), storm.refused());
    let reasons = readyz.json()["reasons"].to_string();
    assert_eq!(readyz.status, 503, "{reasons}");
    assert!(reasons.contains("the database does not answer"), "{reasons}");
    // Reading goes on.
    assert_eq!(service.get("/tasks").await.status, 200);
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    eventually("it is ready again", async || service.get("/readyz").await.status == 200).await;
    storm.busy(5).await;
    storm.settle(&service).await;
}
