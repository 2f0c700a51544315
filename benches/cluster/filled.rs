//! Databases that already have something in them, written past the service.

use std::time::Duration;

use codex_agent::store::{PostgresSettings, PostgresStore, Store};

use super::server::{Base, Server};

/// Longer than the bench.
pub const LEASE: Duration = Duration::from_hours(1);

const POSTED: &str = r#"{"instruction":"Read."}"#;

/// A database with its tables and so many tasks that have ended after one iteration, in the first minutes of 1970.
pub async fn ended(server: &Server, count: i64) -> Base {
    let mut base = server.base().await;
    store(&base).await.close().await;
    let line = concat!(
        r#"{"iteration":1,"agent_input":{"event":"start","task":{"instruction":"Read."}},"#,
        r#""mcp_reply":{"event":"finish","summary":"done"},"at":"2026-01-01T00:00:00.000Z","step_ms":1}"#,
    );
    let length = line.len() + 1;
    base.run(&format!(
        "INSERT INTO tasks (id, priority, max_iterations, status, claim, attempt, iteration, log_bytes, summary, \
             revision, filed, created_at, started_at, finished_at) \
             SELECT 'old-' || lpad(n::text, 7, '0'), 0, 7, 'succeeded', 1, 1, 1, {length}, 'done', 3, 1, n, n, n \
             FROM generate_series(0, {count} - 1) n; \
         INSERT INTO posted (seq, body) SELECT seq, '{POSTED}' FROM tasks; \
         INSERT INTO iterations (seq, iteration, log_end, line) SELECT seq, 1, {length}, '{line}' || chr(10) FROM tasks"
    ))
    .await;
    base.run("VACUUM (ANALYZE)").await;
    base.run("CHECKPOINT").await;
    base
}

/// So many tasks more, that wait.
pub async fn queue(base: &mut Base, count: usize) {
    base.run(&format!(
        "INSERT INTO tasks (id, priority, max_iterations, status, created_at) \
             SELECT 'waiting-' || n, 0, 7, 'queued', n FROM generate_series(1, {count}) n; \
         INSERT INTO posted (seq, body) SELECT seq, '{POSTED}' FROM tasks WHERE status = 'queued'"
    ))
    .await;
}

/// Takes all away that has not ended, and its traces.
pub async fn clear(base: &mut Base) {
    base.run("DELETE FROM tasks WHERE finished_at IS NULL").await;
    base.run("VACUUM (ANALYZE)").await;
}

/// A store with one connection.
pub async fn store(base: &Base) -> PostgresStore {
    PostgresStore::open(PostgresSettings::new(&base.url(), 1, LEASE).unwrap()).await.unwrap()
}
