//! What is asked for all the time reads what it is about and not what has ended, whatever the planner believes.
//!
//! The server counts the rows that its plans have gone through, so no plan has to be read here. Each question is asked often
//! enough that the server may have made a plan once and for all, which knows no values.

use std::sync::Arc;

use codex_agent::domain::{Status, TaskFilter};
use codex_agent::store::{Claim, Cursor, ListQuery, PostgresSettings, PostgresStore, Store, Which};
use futures_util::future::BoxFuture;

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

/// A part of each that is there before all others, where the planner is to be taken by surprise: more than is claimed then.
const AT_FIRST: u32 = 150;

/// Tasks that run, and the workers that hold them.
const RUNNING: u32 = 2_000;
const WORKERS: u32 = 8;

/// A time that does not come: in milliseconds, a hundred thousand years from 1970.
const LATER: u64 = 3_155_760_000_000_000;

/// Rows that one question may go through, those of indexes counted as well: each of them answers with ten rows at most.
const FEW: u32 = 200;

/// The same for what goes through the tasks that run, and for what counts those that wait as well.
const RUN: u32 = RUNNING + FEW;
const COUNT: u32 = WAITING + 2 * RUN;

/// The same for a list of what is two things: so many tasks are found by the one, and looked at for the other.
const LOOKED_AT: u32 = 3 * 5_000 + FEW;

/// A minute, in milliseconds: one of those that have ended came in each.
const MINUTE: i64 = 60_000;

/// What is asked, how many rows it may go through, and how it is asked.
type Question = (&'static str, u32, fn(Arc<PostgresStore>) -> BoxFuture<'static, ()>);

#[tokio::test]
async fn a_planner_that_knows_all_reads_few_rows() {
    let state = [ended(0, ENDED), running(), waiting(0, WAITING), "ANALYZE".into()];
    ask_everything(&state, &[]).await;
}

#[tokio::test]
async fn a_planner_that_knows_of_no_queue_reads_few_rows() {
    let state = [ended(0, ENDED), "ANALYZE".into(), running(), waiting(0, WAITING)];
    ask_everything(&state, &[]).await;
}

#[tokio::test]
async fn a_planner_that_knows_of_nothing_reads_few_rows() {
    let state = [ended(0, ENDED), running(), waiting(0, WAITING)];
    ask_everything(&state, &[]).await;
}

#[tokio::test]
async fn a_plan_that_was_made_when_there_was_little_reads_few_rows_of_much() {
    let first = [ended(0, AT_FIRST), waiting(0, AT_FIRST), "ANALYZE".into()];
    let then = [ended(AT_FIRST, ENDED), running(), waiting(AT_FIRST, WAITING)];
    ask_everything(&first, &then).await;
}

/// Asks in the first state and again in the second one, if there is one; then it counts.
async fn ask_everything(first: &[String], then: &[String]) {
    let Some(database) = Postgres::database().await else { return };
    open(&database).await.close().await;
    // No vacuum and no statistics gathered meanwhile change the state.
    for table in ["tasks", "posted", "iterations", "task_words"] {
        database.psql(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
    }
    for statement in first {
        database.psql(statement).await;
    }
    let mut stores = Vec::new();
    for (_, _, ask) in questions() {
        let store = Arc::new(open(&database).await);
        for _ in 0..if then.is_empty() { 0 } else { TIMES } {
            ask(Arc::clone(&store)).await;
        }
        stores.push(store);
    }
    for statement in then {
        database.psql(statement).await;
    }
    let mut before = read(&database, stores.len()).await;
    // What those that are still open have read at first may be told of at any time: from a small table even all of it is little.
    let at_first = if then.is_empty() { 0 } else { 2 * AT_FIRST * u32::try_from(stores.len()).unwrap() };
    for (number, ((what, most, ask), store)) in questions().into_iter().zip(&stores).enumerate() {
        for _ in 0..TIMES {
            ask(Arc::clone(store)).await;
        }
        store.close().await;
        let told = read(&database, stores.len() - number - 1).await;
        let (read, most) = (told - before, u64::from((most + at_first) * TIMES));
        assert!(read <= most, "{what}: {read} rows read in {TIMES} times, not {most}");
        before = told;
    }
}

fn questions() -> Vec<Question> {
    vec![
        ("a claim", FEW, |store| Box::pin(claim(store, Which::Any))),
        ("a claim of one", FEW, |store| Box::pin(claim(store, Which::One(id("waiting-149"))))),
        ("a claim of what is to be cancelled", FEW, |store| Box::pin(claim(store, Which::Cancelled))),
        ("what is lost", RUN, |store| {
            Box::pin(async move {
                store.recover(&"w".into(), 5, at(9)).await.unwrap();
            })
        }),
        ("what is to be cancelled", FEW, |store| {
            Box::pin(async move { drop(store.cancel_requests(&"w".into()).await.unwrap()) })
        }),
        ("what is unfiled", FEW, |store| Box::pin(async move { drop(store.unfiled(10).await.unwrap()) })),
        ("what is old", FEW, |store| Box::pin(async move { drop(store.expired(at(10), 10).await.unwrap()) })),
        ("how much there is to do", COUNT, |store| Box::pin(async move { drop(store.stats().await.unwrap()) })),
        ("a task", FEW, |store| Box::pin(async move { drop(store.task(&id("old-77")).await.unwrap()) })),
        ("its lines", FEW, |store| Box::pin(async move { drop(store.lines(&id("old-77"), 0, 10).await.unwrap()) })),
        ("the list", FEW, |store| Box::pin(list(store, TaskFilter::default()))),
        ("the list of what waits", FEW, |store| Box::pin(list(store, status(&[Status::Queued])))),
        ("the list of what has failed", FEW, |store| Box::pin(list(store, status(&[Status::Failed])))),
        ("the list of what was cancelled", FEW, |store| Box::pin(list(store, status(&[Status::Cancelled])))),
        ("the list of what has ended", FEW, |store| {
            Box::pin(list(store, status(&[Status::Succeeded, Status::Failed, Status::Cancelled])))
        }),
        ("the list of a label that all have", FEW, |store| Box::pin(list(store, labelled(&["team"])))),
        ("the list of a label that some have", FEW, |store| Box::pin(list(store, labelled(&["team=7"])))),
        ("the list of a label that the oldest have", FEW, |store| Box::pin(list(store, labelled(&["rare"])))),
        ("the list of a label that none has", FEW, |store| Box::pin(list(store, labelled(&["none"])))),
        ("the list of a workspace", FEW, |store| {
            Box::pin(list(store, TaskFilter { workspace: Some("w".into()), ..TaskFilter::default() }))
        }),
        ("the list of a quarter of an hour", FEW, |store| {
            let (since, until) = (Some(at(20_000 * MINUTE)), Some(at(20_015 * MINUTE)));
            Box::pin(list(store, TaskFilter { since, until, ..TaskFilter::default() }))
        }),
        ("the list of what came long ago", FEW, |store| {
            Box::pin(list(store, TaskFilter { until: Some(at(99 * MINUTE)), ..TaskFilter::default() }))
        }),
        ("the list of what will come", FEW, |store| {
            Box::pin(list(store, TaskFilter { since: Some(at(99_999 * MINUTE)), ..TaskFilter::default() }))
        }),
        ("the list of a label and a quarter of an hour", FEW, |store| {
            let (since, until) = (Some(at(20_000 * MINUTE)), Some(at(20_015 * MINUTE)));
            Box::pin(list(store, TaskFilter { since, until, ..labelled(&["team"]) }))
        }),
        ("the list of a label that many have and a status that few have", 2 * LOOKED_AT, |store| {
            Box::pin(list(store, TaskFilter { status: vec![Status::Failed], ..labelled(&["team"]) }))
        }),
        ("the list of two labels", 2 * LOOKED_AT, |store| Box::pin(list(store, labelled(&["team", "rare"])))),
        ("a submission", COUNT, |store| {
            Box::pin(async move {
                drop(store.submit(new(&format!("new-{}", fastrand::u64(..)), 0)).await.unwrap());
            })
        }),
        ("a step", FEW, |store| {
            Box::pin(async move {
                let claim = Claim { worker: "w".into(), limit: 1, which: Which::Any, now: at(2) };
                let claimed = store.claim(claim).await.unwrap().remove(0);
                store.record(claimed.fence, end()).await.unwrap();
            })
        }),
    ]
}

async fn claim(store: Arc<PostgresStore>, which: Which) {
    drop(store.claim(Claim { worker: "w".into(), limit: 8, which, now: at(2) }).await.unwrap());
}

/// A page in the middle and the first one.
async fn list(store: Arc<PostgresStore>, filter: TaskFilter) {
    for before in [Some(Cursor(i64::from(ENDED) / 2)), None] {
        drop(store.list(ListQuery { filter: filter.clone(), before, limit: 9 }).await.unwrap());
    }
}

fn status(status: &[Status]) -> TaskFilter {
    TaskFilter { status: status.to_vec(), ..TaskFilter::default() }
}

fn labelled(labels: &[&str]) -> TaskFilter {
    TaskFilter { labels: labels.iter().map(|label| label.parse().unwrap()).collect(), ..TaskFilter::default() }
}

/// A store with one connection, which all its plans belong to.
async fn open(database: &Database) -> PostgresStore {
    PostgresStore::open(PostgresSettings::new(&database.url(), 1, LEASE).unwrap()).await.unwrap()
}

/// Tasks that have ended long ago. The first five have failed: whoever looks for these from the newest on sees all others.
fn ended(from: u32, to: u32) -> String {
    format!(
        "WITH old AS (INSERT INTO tasks (id, priority, max_iterations, status, error_code, error_message, claim, attempt, \
             iteration, log_bytes, filed, created_at, started_at, finished_at) \
             SELECT 'old-' || n, 0, 7, CASE WHEN n < 5 THEN 'failed' ELSE 'succeeded' END, \
                 CASE WHEN n < 5 THEN 'max_iterations' END, CASE WHEN n < 5 THEN '' END, 1, 1, 1, 2, 1, n::bigint * {MINUTE}, n, n \
             FROM generate_series({from}, {to} - 1) n RETURNING seq, finished_at AS n), \
         words AS (INSERT INTO task_words (seq, word) SELECT seq, word FROM old, UNNEST(ARRAY[ \
             'team', 'team=' || n % 10, CASE WHEN n < 5 THEN 'rare' END, CASE WHEN n % 10 = 0 THEN '=workspace=w' END]) word \
             WHERE word IS NOT NULL), \
         lines AS (INSERT INTO iterations (seq, iteration, log_end, line) SELECT seq, 1, 2, '1' || chr(10) FROM old) \
         INSERT INTO posted (seq, body) SELECT seq, '{POSTED}' FROM old"
    )
}

/// Tasks that others run.
fn running() -> String {
    format!(
        "INSERT INTO workers (id, capacity, started_at, seen_at) \
             SELECT 'worker-' || n, {RUNNING}, 1, {LATER} FROM generate_series(0, {WORKERS} - 1) n; \
         WITH new AS (INSERT INTO tasks (id, priority, max_iterations, status, claim, attempt, worker, lease_until, created_at) \
             SELECT 'running-' || n, 0, 7, 'running', 1, 1, 'worker-' || n % {WORKERS}, {LATER}, {ENDED}::bigint * {MINUTE} + n \
             FROM generate_series(0, {RUNNING} - 1) n RETURNING seq) \
         INSERT INTO posted (seq, body) SELECT seq, '{POSTED}' FROM new"
    )
}

/// Tasks that wait.
fn waiting(from: u32, to: u32) -> String {
    format!(
        "WITH new AS (INSERT INTO tasks (id, priority, max_iterations, status, created_at) \
             SELECT 'waiting-' || n, 0, 7, 'queued', {ENDED}::bigint * {MINUTE} + n FROM generate_series({from}, {to} - 1) n RETURNING seq) \
         INSERT INTO posted (seq, body) SELECT seq, '{POSTED}' FROM new"
    )
}

/// Rows that have been read: a connection tells of its own at the latest when it ends. `left`: stores that are still open,
/// each with a connection that asks and one that listens.
async fn read(database: &Database, left: usize) -> u64 {
    let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    eventually("one has left", async || database.psql(others).await.parse::<usize>().unwrap() <= 2 * left).await;
    let read = "SELECT (SELECT SUM(seq_tup_read) FROM pg_stat_user_tables) + (SELECT SUM(idx_tup_read) FROM pg_stat_user_indexes)";
    database.psql(read).await.parse().unwrap()
}
