//! Who sees every write in the database: triggers, in witness.sql, and what they have to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use std::time::Duration;

use serde_json::json;

use crate::common::brain::{call, finish};
use crate::common::eventually;
use crate::node::Cluster;
use crate::postgres::{Database, Postgres};
use crate::referee::Referee;

/// Asks what was seen.
pub struct Witness {
    cluster: Arc<Postgres>,
    database: String,
}

impl Witness {
    pub fn of(database: &Database) -> Self {
        Self { cluster: Arc::clone(&database.cluster), database: database.name.clone() }
    }

    /// From here on it looks.
    pub async fn take_the_stand(&self) {
        self.ask(include_str!("witness.sql")).await;
    }

    /// Nothing happened that must not.
    pub async fn saw_no_crime(&self) {
        let crimes = self.ask("SELECT what, count(*), min(id), min(detail) FROM crimes GROUP BY what").await;
        assert!(crimes.is_empty(), "seen in the database:\n{crimes}");
    }

    /// How often each change of status was made.
    pub async fn changes(&self) -> BTreeMap<String, u64> {
        let rows = self.ask("SELECT what, count(*) FROM changes GROUP BY what").await;
        let row = |row: &str| row.split_once('|').map(|(what, count)| (what.to_owned(), count.parse().unwrap()));
        rows.lines().filter_map(row).collect()
    }

    /// The life that holds a task now, or held it last.
    pub async fn holder(&self, task: &str) -> String {
        let sql = format!("SELECT life FROM tasks JOIN holders USING (seq, claim) WHERE tasks.id = '{task}'");
        self.ask(&sql).await
    }

    async fn ask(&self, sql: &str) -> String {
        self.cluster.psql(&self.database, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

#[tokio::test]
async fn the_witness_sees_whatever_must_not_happen() {
    let thinking = Duration::from_millis(50);
    let referee = Referee::new(move |task, iteration| match (task, iteration) {
        ("ended", 2) => (finish(), thinking),
        _ => (call("read_file", &json!({"file_path": "none"})), thinking),
    });
    let Some(cluster) = Cluster::begin(referee.await).await else { return };
    let node = cluster.running("one", &[]).await;
    node.service().submit(&json!({"task_id": "running", "instruction": "x", "max_iterations": 200})).await;
    node.service().finish(&json!({"task_id": "ended", "instruction": "x"})).await;
    cluster.witness.saw_no_crime().await;
    assert_eq!(cluster.witness.holder("running").await, node.life());

    for (crime, change) in [
        ("an end was changed", "UPDATE tasks SET status = 'cancelled' WHERE id = 'ended'"),
        ("an end was changed", "UPDATE tasks SET iteration = iteration + 1 WHERE id = 'ended'"),
        ("a write of one who does not hold it", "UPDATE tasks SET log_bytes = log_bytes + 1 WHERE id = 'running'"),
        ("a write of one who does not hold it", "UPDATE tasks SET lease_until = lease_until + 1 WHERE id = 'running'"),
        ("a write of one who does not hold it", "UPDATE tasks SET status = 'queued' WHERE id = 'running'"),
        ("another claim without its turn", "UPDATE tasks SET claim = claim + 1 WHERE id = 'running'"),
        ("taken from one who holds it", "UPDATE tasks SET losses = losses + 1, status = 'queued' WHERE id = 'running'"),
        (
            "a line of one who does not hold the task",
            "INSERT INTO iterations SELECT seq, iteration + 1, 1, 'x' FROM tasks WHERE id = 'running'",
        ),
        (
            "a line out of its turn",
            "INSERT INTO iterations SELECT seq, iteration + 7, 1, 'x' FROM tasks WHERE id = 'running'",
        ),
        ("a line was changed", "UPDATE iterations SET line = 'x'"),
        ("a payload was changed", "UPDATE iterations SET next = 'x' WHERE next IS NOT NULL"),
    ] {
        // All of it is undone, once the crime has its name.
        let sql = format!("BEGIN; DELETE FROM crimes; {change}; SELECT DISTINCT what FROM crimes; ROLLBACK");
        let mut seen = String::new();
        // The task goes on meanwhile, and between two of its steps there may be nothing to change.
        eventually(crime, async || {
            seen = cluster.database.psql(&sql).await;
            !seen.is_empty()
        })
        .await;
        assert_eq!(seen, crime, "{change}");
    }
    cluster.witness.saw_no_crime().await;
}
