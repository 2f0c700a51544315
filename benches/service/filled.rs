//! Databases that already have something in them, written past the service: the only SQL here that knows its tables.

use std::time::Duration;

use codex_agent::domain::TaskId;
use codex_agent::store::{SqliteStore, Store};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection as _};

use super::common::Home;
use super::load;

/// Longer than the bench.
pub const LEASE: Duration = Duration::from_hours(1);

/// A home whose database has so many tasks that have ended after one iteration, in the first minutes of 1970.
pub async fn ended(count: i64) -> Home {
    let home = load::home();
    let mut db = database(&home).await;
    fill(&mut db, count).await;
    db.close().await.unwrap();
    home
}

/// A home whose database has so many tasks that wait.
pub async fn queued(count: i64) -> Home {
    let home = load::home();
    let mut db = database(&home).await;
    let sql = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
               INSERT INTO tasks (id, priority, max_iterations, status, created_at) \
               SELECT printf('waiting-%07d', i), 0, 7, 'queued', i FROM n";
    sqlx::query(sql).bind(count).execute(&mut db).await.unwrap();
    let sql = r#"INSERT INTO posted (seq, body) SELECT seq, '{"instruction":"Read."}' FROM tasks"#;
    sqlx::query(sql).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    home
}

/// The name of an ended task, from 0: the first of them ended first.
pub fn old(number: i64) -> TaskId {
    format!("old-{number:07}").parse().unwrap()
}

/// A new database in a home, with its tables.
async fn database(home: &Home) -> SqliteConnection {
    std::fs::create_dir(home.output()).unwrap();
    let file = home.output().join("codex-agent.db");
    SqliteStore::open(&file, LEASE).await.unwrap().close().await;
    SqliteConnectOptions::new().filename(&file).connect().await.unwrap()
}

async fn fill(db: &mut SqliteConnection, count: i64) {
    let line = concat!(
        r#"{"iteration":1,"agent_input":{"event":"start","task":{"instruction":"Read."}},"#,
        r#""mcp_reply":{"event":"finish","summary":"done"},"at":"2026-01-01T00:00:00.000Z","step_ms":1}"#,
        "\n"
    );
    let length = i64::try_from(line.len()).unwrap();
    let mut transaction = db.begin().await.unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
               INSERT INTO tasks (id, priority, max_iterations, status, claim, attempt, iteration, log_bytes, summary, \
               revision, filed, created_at, started_at, finished_at) \
               SELECT printf('old-%07d', i), 0, 7, 'succeeded', 1, 1, 1, ?2, 'done', 3, 1, i, i, i FROM n";
    sqlx::query(sql).bind(count).bind(length).execute(&mut *transaction).await.unwrap();
    let sql = r#"INSERT INTO posted (seq, body) SELECT seq, '{"instruction":"Read."}' FROM tasks"#;
    sqlx::query(sql).execute(&mut *transaction).await.unwrap();
    let sql = "INSERT INTO iterations (seq, iteration, log_end, line) SELECT seq, 1, ?, ? FROM tasks";
    sqlx::query(sql).bind(length).bind(line).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}
