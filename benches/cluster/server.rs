//! The PostgreSQL that is measured, and what it has spent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use super::postgres::{Database, Postgres};

/// As after installation, but that no checkpoint and no vacuum comes into one round and not into the other: both are
/// asked for between rounds.
const SETTINGS: [&str; 3] = ["autovacuum=off", "checkpoint_timeout=1h", "max_wal_size=4GB"];

/// The kernel counts in /proc in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// How often the database is looked at: a hundredth of the shortest round, or less.
const LOOK: Duration = Duration::from_millis(20);

/// Longer than a round takes on any machine that this is worth running on.
const PATIENCE: Duration = Duration::from_mins(10);

/// A running server.
pub struct Server(Arc<Postgres>);

/// A database of it, and a connection that costs the server next to nothing while it is idle.
pub struct Base {
    pub database: Database,
    connection: PgConnection,
}

impl Server {
    /// Nothing where PostgreSQL is not installed.
    pub async fn start() -> Option<Self> {
        Some(Self(Postgres::own(&SETTINGS).await?))
    }

    /// A fresh database.
    pub async fn base(&self) -> Base {
        let database = self.0.create().await;
        let connection = PgConnection::connect(&database.url()).await.unwrap();
        Base { database, connection }
    }

    /// The processor time of all its processes, those included that have ended.
    pub fn processor_time(&self) -> Duration {
        let first = self.0.pid();
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", first.as_raw_nonzero())).unwrap();
        let children = children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        // One that has ended since it was listed is counted with the first process, by a tick or two less or more.
        ticks(first, 4) + children.map(|child| ticks(child, 2)).sum::<Duration>()
    }
}

/// See proc(5): from field 14 on, a process's own time in user and kernel mode, and that of its children that have ended.
fn ticks(pid: Pid, fields: usize) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let Some((_, behind_name)) = stat.rsplit_once(')') else { return Duration::ZERO };
    let times = behind_name.split_ascii_whitespace().skip(11).take(fields);
    TICK * times.map(|field| field.parse::<u32>().unwrap()).sum()
}

impl Base {
    pub fn url(&self) -> String {
        self.database.url()
    }

    pub async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.unwrap();
    }

    pub async fn number(&mut self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await.unwrap()
    }

    /// How much the server has written into its log of changes, in bytes.
    pub async fn logged(&mut self) -> i64 {
        self.number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await
    }

    /// Of the changes of a table's rows the part that touched no index, in percent.
    pub async fn in_place(&mut self, table: &str) -> f64 {
        self.run("SELECT pg_stat_clear_snapshot()").await;
        let part = "n_tup_hot_upd * 10000 / GREATEST(n_tup_upd, 1)";
        self.number(&format!("SELECT {part} FROM pg_stat_user_tables WHERE relname = '{table}'")).await as f64 / 100.0
    }

    /// Waits until no task is queued or running and so many are there.
    pub async fn until_ended(&mut self, count: usize) {
        let count = i64::try_from(count).unwrap();
        self.until("SELECT unfinished FROM codex_agent_load", |unfinished| unfinished == 0).await;
        assert_eq!(self.number("SELECT COUNT(*) FROM tasks WHERE status = 'succeeded'").await, count);
    }

    /// Waits until the files of what has ended are written as well.
    pub async fn until_filed(&mut self) {
        self.until("SELECT COUNT(*) FROM tasks WHERE filed = 0 AND finished_at IS NOT NULL", |left| left == 0).await;
    }

    /// Waits until so many workers have said that they live.
    pub async fn until_workers(&mut self, count: i64) {
        self.until("SELECT COUNT(*) FROM workers", |workers| workers == count).await;
    }

    /// Waits until nobody else is connected: then all has been told that is counted.
    pub async fn until_alone(&mut self) {
        let others =
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.until(others, |others| others == 0).await;
    }

    async fn until(&mut self, sql: &str, holds: impl Fn(i64) -> bool) {
        let started = Instant::now();
        while !holds(self.number(sql).await) {
            assert!(started.elapsed() < PATIENCE, "never came true: {sql}");
            tokio::time::sleep(LOOK).await;
        }
    }
}
