//! What is asked for all the time reads what it is about and not what has ended, whatever the planner believes.
//!
//! The server counts the rows that its plans have gone through, so no plan has to be read here. Each question is asked often
//! enough that the server may have made a plan once and for all, which knows no values.

use codex_agent::domain::Status;
use codex_agent::store::{Claim, Cursor, ListQuery, PostgresSettings, PostgresStore, Store, Which};

use crate::common::eventually;
use crate::postgres::{Database, Postgres};
use crate::world::{LEASE, at, end, id, new};

/// Ended tasks: to go through them once would be seen beside all that is read otherwise.
const ENDED: u32 = 50_000;

/// What was posted.
const POSTED: &str = r#"{"instruction":"x"}"#;

/// How often each question is asked: from the sixth time on there may be one plan for all values.
const TIMES: u32 = 12;

/// Tasks that wait, behind those that have ended.
const WAITING: u32 = 20_000;

/// Tasks that run, and the workers that hold them.
const RUNNING: u32 = 2_000;
const WORKERS: u32 = 8;

/// A time that does not come: in milliseconds, a hundred thousand years from 1970.
const LATER: u64 = 3_155_760_000_000_000;

/// Rows that one question may go through, those of indexes counted as well: each of them answers with ten rows at most.
const FEW: u32 = 200;

/// The same for what goes through the tasks that run, and for what counts those that wait as well.
const RUN: u32 = RUNNING + FEW;
const COUNT: u32 = WAITING + 2 * RUNNING + FEW;

#[tokio::test]
async fn a_planner_that_knows_all_reads_few_rows() {
    if let Some(database) = Postgres::database().await {
        prepare(&database, &[ended(), waiting(), "ANALYZE".into()]).await;
        ask_everything(&database).await;
    }
}

#[tokio::test]
async fn a_planner_that_knows_of_no_queue_reads_few_rows() {
    if let Some(database) = Postgres::database().await {
        prepare(&database, &[ended(), "ANALYZE".into(), waiting()]).await;
        ask_everything(&database).await;
    }
}

#[tokio::test]
async fn a_planner_that_knows_of_nothing_reads_few_rows() {
    if let Some(database) = Postgres::database().await {
        prepare(&database, &[ended(), waiting()]).await;
        ask_everything(&database).await;
    }
}

async fn ask_everything(database: &Database) {
    let claim = |which: Which| {
        async move |store: &PostgresStore| {
            let claim = Claim { worker: "w".into(), limit: 8, which: which.clone(), now: at(2) };
            drop(store.claim(claim).await.unwrap());
        }
    };
    few(database, "a claim", claim(Which::Any)).await;
    few(database, "a claim of one", claim(Which::One(id("waiting-19999")))).await;
    few(database, "a claim of what is to be cancelled", claim(Which::Cancelled)).await;
    at_most(RUN, database, "what is lost", async |store| {
        store.recover(&"w".into(), 5, at(9)).await.unwrap();
    })
    .await;
    few(database, "what is to be cancelled", async |store| drop(store.cancel_requests(&"w".into()).await.unwrap()))
        .await;
    few(database, "what is unfiled", async |store| drop(store.unfiled(10).await.unwrap())).await;
    few(database, "what is old", async |store| drop(store.expired(at(10), 10).await.unwrap())).await;
    at_most(COUNT, database, "how much there is to do", async |store| drop(store.stats(at(10)).await.unwrap())).await;
    few(database, "a task", async |store| drop(store.task(&id("old-777")).await.unwrap())).await;
    for status in [Some(Status::Queued), Some(Status::Failed), Some(Status::Cancelled), None] {
        let list = async |store: &PostgresStore| {
            let before = Some(Cursor(i64::from(ENDED) / 2));
            drop(store.list(ListQuery { status, before, limit: 9 }).await.unwrap());
            drop(store.list(ListQuery { status, before: None, limit: 9 }).await.unwrap());
        };
        few(database, &format!("the list of {status:?}"), list).await;
    }
    at_most(COUNT, database, "a submission", async |store| {
        drop(store.submit(new(&format!("new-{}", fastrand::u64(..)), 0)).await.unwrap());
    })
    .await;
    few(database, "a step", async |store| {
        let claim = Claim { worker: "w".into(), limit: 1, which: Which::Any, now: at(2) };
        let claimed = store.claim(claim).await.unwrap().remove(0);
        store.record(claimed.fence, end()).await.unwrap();
    })
    .await;
}

/// Makes the tables and brings them into a state that no vacuum and no statistics gathered meanwhile change.
async fn prepare(database: &Database, statements: &[String]) {
    PostgresStore::open(PostgresSettings::new(&database.url(), 1, LEASE).unwrap()).await.unwrap().close().await;
    database.psql("ALTER TABLE tasks SET (autovacuum_enabled = false)").await;
    database.psql("ALTER TABLE posted SET (autovacuum_enabled = false)").await;
    for statement in statements {
        database.psql(statement).await;
    }
}

/// Tasks that have ended long ago. The first five have failed: whoever looks for these from the newest on sees all others.
fn ended() -> String {
    format!(
        "WITH old AS (INSERT INTO tasks (id, priority, max_iterations, status, error_code, error_message, claim, attempt, filed, \
             created_at, started_at, finished_at) \
             SELECT 'old-' || n, 0, 7, CASE WHEN n < 5 THEN 'failed' ELSE 'succeeded' END, \
                 CASE WHEN n < 5 THEN 'max_iterations' END, CASE WHEN n < 5 THEN '' END, 1, 1, 1, n, n, n \
             FROM generate_series(0, {ENDED} - 1) n RETURNING seq) \
         INSERT INTO posted (seq, body) SELECT seq, '{POSTED}' FROM old"
    )
}

/// Tasks that wait, and some that run.
fn waiting() -> String {
    format!(
        "INSERT INTO workers (id, capacity, started_at, seen_at) \
             SELECT 'worker-' || n, {RUNNING}, 1, {LATER} FROM generate_series(0, {WORKERS} - 1) n; \
         INSERT INTO tasks (id, priority, max_iterations, status, claim, attempt, worker, lease_until, created_at) \
             SELECT 'running-' || n, 0, 7, 'running', 1, 1, 'worker-' || n % {WORKERS}, {LATER}, n \
             FROM generate_series(0, {RUNNING} - 1) n; \
         INSERT INTO tasks (id, priority, max_iterations, status, created_at) \
             SELECT 'waiting-' || n, 0, 7, 'queued', n FROM generate_series(0, {WAITING} - 1) n; \
         INSERT INTO posted (seq, body) SELECT seq, '{POSTED}' FROM tasks WHERE finished_at IS NULL"
    )
}

/// Asks a store of its own, with one connection, and looks what the server has read for it.
async fn at_most(most: u32, database: &Database, what: &str, ask: impl AsyncFn(&PostgresStore)) {
    let before = read(database).await;
    let store = PostgresStore::open(PostgresSettings::new(&database.url(), 1, LEASE).unwrap()).await.unwrap();
    for _ in 0..TIMES {
        ask(&store).await;
    }
    store.close().await;
    let read = read(database).await - before;
    assert!(read <= u64::from(most * TIMES), "{what}: {read} rows read in {TIMES} times");
}

async fn few(database: &Database, what: &str, ask: impl AsyncFn(&PostgresStore)) {
    at_most(FEW, database, what, ask).await;
}

/// Rows that have been read: a connection tells of its own at the latest when it ends.
async fn read(database: &Database) -> u64 {
    let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    eventually("nobody is connected", async || database.psql(others).await == "0").await;
    let read = "SELECT (SELECT SUM(seq_tup_read) FROM pg_stat_user_tables) + (SELECT SUM(idx_tup_read) FROM pg_stat_user_indexes)";
    database.psql(read).await.parse().unwrap()
}
