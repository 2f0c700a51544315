//! A store of its own for each case, and what cases do with it.

use std::sync::Arc;
use std::time::Duration;

use codex_agent::domain::{Json, Outcome, SpecLimits, TaskId, TaskSpec, Timestamp};
use codex_agent::store::{
    Claim, Claimed, NewLine, NewTask, PostgresSettings, PostgresStore, Recovered, SqliteStore, Step, Store, Submitted,
    Which,
};

use crate::common::eventually;
use crate::postgres::{Database, Postgres};

/// Longer than a test: leases run out where the test has it so.
pub const LEASE: Duration = Duration::from_mins(10);

/// Connections of a store: more than the machine has cores, few enough that many cases share a server.
const CONNECTIONS: u32 = 4;

/// A store, and where it lies.
pub struct World {
    pub store: Arc<dyn Store>,
    at: At,
}

enum At {
    File(tempfile::TempDir),
    Server(Database),
}

impl World {
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("test.db"), LEASE).await.unwrap();
        Self { store: Arc::new(store), at: At::File(dir) }
    }

    /// Nothing where PostgreSQL is not installed.
    pub async fn postgres() -> Option<Self> {
        let database = Postgres::database().await?;
        let store = Arc::new(PostgresStore::open(settings(&database)).await.unwrap());
        Some(Self { store, at: At::Server(database) })
    }

    /// Another store on the same database, which is closed to this one first.
    pub async fn another(&self) -> Arc<dyn Store> {
        self.store.close().await;
        match &self.at {
            At::File(dir) => Arc::new(SqliteStore::open(&dir.path().join("test.db"), LEASE).await.unwrap()),
            At::Server(database) => Arc::new(PostgresStore::open(settings(database)).await.unwrap()),
        }
    }

    /// What one number in the database is.
    pub async fn number(&self, question: &str) -> i64 {
        match &self.at {
            At::File(dir) => {
                let db = rusqlite::Connection::open(dir.path().join("test.db")).unwrap();
                db.query_row(question, [], |row| row.get(0)).unwrap()
            }
            At::Server(database) => database.psql(question).await.parse().unwrap(),
        }
    }

    /// Changes the database by hand.
    pub async fn sql(&self, statements: &str) {
        match &self.at {
            At::File(dir) => {
                let db = rusqlite::Connection::open(dir.path().join("test.db")).unwrap();
                db.busy_timeout(crate::common::PATIENCE).unwrap();
                db.execute_batch(statements).unwrap();
            }
            At::Server(database) => drop(database.psql(statements).await),
        }
    }

    /// The workers of all running tasks are gone, and another one takes up what they left.
    pub async fn recover(&self, lost_limit: u32) -> Recovered {
        self.let_run_out().await;
        self.store.recover(&"another".into(), lost_limit, at(9)).await.unwrap()
    }

    /// The deleted tasks whose files are to be removed here. On PostgreSQL they are told once no transaction is open that began
    /// before the deletion did, in whichever database of the server.
    pub async fn removals(&self) -> Vec<TaskId> {
        if let At::Server(database) = &self.at {
            settled(database).await;
        }
        self.store.removals(10).await.unwrap()
    }

    /// Nobody's hold on a chore holds any more.
    pub async fn let_chores_run_out(&self) {
        self.sql("UPDATE chores SET until = 0 WHERE until IS NOT NULL").await;
    }

    /// No lease holds any more.
    pub async fn let_run_out(&self) {
        if let At::Server(database) = &self.at {
            database.psql("UPDATE tasks SET lease_until = 0 WHERE lease_until IS NOT NULL").await;
        }
    }
}

pub async fn settled(database: &Database) {
    let open = "SELECT count(*) FROM removals WHERE transaction >= pg_snapshot_xmin(pg_current_snapshot())";
    eventually("no older transaction is open", async || database.psql(open).await == "0").await;
}

pub fn settings(database: &Database) -> PostgresSettings {
    let mut settings = PostgresSettings::new(&database.url(), CONNECTIONS, LEASE).unwrap();
    settings.grace = Duration::ZERO;
    settings
}

pub fn id(name: &str) -> TaskId {
    name.parse().unwrap()
}

pub const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn new(name: &str, priority: i32) -> NewTask {
    posted(name, &format!(r#"{{"instruction":"x","priority":{priority}}}"#))
}

pub fn posted(name: &str, body: &str) -> NewTask {
    let posted = Json::parse(body).unwrap();
    let spec = TaskSpec::parse(posted, SpecLimits { default_iterations: 7, max_iterations: 200 }).unwrap();
    NewTask { id: id(name), idempotency_key: None, spec, now: at(1), max_queued: 1000 }
}

pub async fn submit(store: &Arc<dyn Store>, name: &str) {
    assert!(matches!(store.submit(new(name, 0)).await.unwrap(), Submitted::Created(_)));
}

pub async fn claim(store: &Arc<dyn Store>, limit: u32) -> Vec<Claimed> {
    store.claim(Claim { worker: "w".into(), limit, which: Which::Any, now: at(2) }).await.unwrap()
}

pub fn step(iteration: u32, line: &str) -> Step {
    let line = Some(NewLine::whole(line));
    Step { iteration, line, pending: None, intent: None, usage: None, end: None, now: at(3) }
}

/// The end of a task that has had no iteration.
pub fn end() -> Step {
    let end = Some(Outcome::Succeeded { summary: Some("s".into()) });
    Step { iteration: 0, line: None, pending: None, intent: None, usage: None, end, now: at(4) }
}
