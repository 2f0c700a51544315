//! What only a database that many workers share promises.

use std::sync::Arc;
use std::time::Duration;

use codex_agent::domain::{Clock, ErrorCode, Outcome, Status, SystemClock, TaskFilter, Timestamp};
use codex_agent::store::{Heartbeat, ListQuery, PostgresSettings, PostgresStore, Recovered, Store, StoreError};
use sqlx::{Connection, PgConnection};

use crate::common::eventually;
use crate::postgres::{Database, Postgres};
use crate::world::{LEASE, World, at, claim, end, id, posted, settings, settled, step, submit};

/// A worker on the database.
async fn worker(database: &Database) -> Arc<dyn Store> {
    Arc::new(PostgresStore::open(settings(database)).await.unwrap())
}

fn beat(worker: &str, held: Vec<codex_agent::store::Fence>) -> Heartbeat {
    Heartbeat { worker: worker.into(), capacity: 7, started_at: at(1), held, complete: true, now: SystemClock.now() }
}

#[tokio::test]
async fn two_that_start_at_the_same_moment_make_the_tables_once() {
    let Some(database) = Postgres::database().await else { return };
    let opened = futures_util::future::join_all((0..4).map(|_| worker(&database))).await;
    submit(&opened[0], "t").await;
    assert_eq!(claim(&opened[3], 9).await.len(), 1);
    assert!(claim(&opened[1], 9).await.is_empty());
}

#[tokio::test]
async fn tables_of_a_later_version_are_worked_with() {
    let Some(database) = Postgres::database().await else { return };
    worker(&database).await.close().await;
    let later = "INSERT INTO _sqlx_migrations SELECT 9999, 'later', installed_on, success, checksum, execution_time \
                 FROM _sqlx_migrations WHERE version = 1";
    database.psql(later).await;
    database.psql("ALTER TABLE tasks ADD COLUMN later TEXT").await;
    let store = worker(&database).await;
    submit(&store, "t").await;
    let fence = claim(&store, 1).await.remove(0).fence;
    assert!(store.record(fence, end()).await.unwrap().ended.is_some());
}

#[tokio::test]
async fn a_task_that_came_to_a_process_of_an_older_version_is_found_by_its_labels() {
    let Some(database) = Postgres::database().await else { return };
    let store = worker(&database).await;
    // As a version did that knew of no words; some bodies are none that this one can read.
    let bodies = [r#"{"labels":{"team":"a"}}"#, r#"{"l\u0061bels":{"team":"a"},"x":"\u0000"}"#, r#"{"labels":"#, "{}"];
    for (n, body) in bodies.into_iter().enumerate() {
        let add = format!(
            "WITH added AS (INSERT INTO tasks (id, workspace, priority, max_iterations, status, created_at) \
                 VALUES ('old-{n}', NULL, 0, 7, 'queued', 5) RETURNING seq) \
             INSERT INTO posted (seq, body) SELECT seq, '{body}' FROM added"
        );
        database.psql(&add).await;
    }
    store.submit(posted("new", r#"{"instruction":"x","labels":{"team":"a"}}"#)).await.unwrap();
    assert_eq!(database.psql("SELECT count(*) FROM wordless").await, "3");
    let filter = TaskFilter { labels: vec!["team=a".parse().unwrap()], ..TaskFilter::default() };
    let listed = store.list(ListQuery { filter, limit: 9, ..ListQuery::default() }).await.unwrap();
    assert_eq!(listed.tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["new", "old-1", "old-0"]);
    assert_eq!(database.psql("SELECT count(*) FROM wordless").await, "0");
}

#[tokio::test]
async fn a_lease_is_renewed_by_each_step_and_by_each_beat_and_the_servers_clock_ends_it() {
    let Some(database) = Postgres::database().await else { return };
    let store = worker(&database).await;
    submit(&store, "t").await;
    let left = async || -> i64 {
        let sql = "SELECT lease_until - (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint FROM tasks";
        database.psql(sql).await.parse().unwrap()
    };
    let cut = async || database.psql("UPDATE tasks SET lease_until = 5").await;
    let fence = claim(&store, 1).await.remove(0).fence;
    let full = 590_000..=600_000;
    assert!(full.contains(&left().await));
    cut().await;
    store.record(fence.clone(), step(1, "one\n")).await.unwrap();
    assert!(full.contains(&left().await));
    cut().await;
    assert!(store.beat(beat("w", vec![fence.clone()])).await.unwrap().is_empty());
    assert!(full.contains(&left().await));
    // It is certain that it has the task, and does not ask.
    cut().await;
    store.hold(&fence).await.unwrap();
    assert!(left().await < 0);
    // Another one is not, and is told.
    let other = worker(&database).await;
    assert_eq!(other.recover(&"v".into(), 5, at(9)).await.unwrap().requeued, 1);
    assert!(matches!(other.hold(&fence).await, Err(StoreError::Lost(_))));
    let lost = store.beat(beat("w", vec![fence.clone()])).await.unwrap();
    assert_eq!(lost, std::slice::from_ref(&fence));
    assert!(matches!(store.hold(&fence).await, Err(StoreError::Lost(_))));
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_goes_back_and_nobody_has_died_over_it() {
    let Some(database) = Postgres::database().await else { return };
    let store = worker(&database).await;
    for name in ["lost", "known"] {
        submit(&store, name).await;
    }
    let known: Vec<_> = claim(&store, 2)
        .await
        .into_iter()
        .map(|claimed| claimed.fence)
        .filter(|fence| fence.id == id("known"))
        .collect();
    // The answer may be on its way.
    assert!(store.beat(beat("w", known.clone())).await.unwrap().is_empty());
    assert_eq!(database.psql("SELECT count(*) FROM tasks WHERE status = 'running'").await, "2");
    database.psql("UPDATE tasks SET lease_until = lease_until - 310000").await;
    // A beat that was on its way for half a lease may be older than the claim.
    let now = SystemClock.now().millis() - i64::try_from(LEASE.as_millis() / 2).unwrap();
    let late = Heartbeat { now: Timestamp::from_millis(now), ..beat("w", known.clone()) };
    assert!(store.beat(late).await.unwrap().is_empty());
    // One that was made while a claim was under way does not know whether that is all.
    let asking = Heartbeat { complete: false, ..beat("w", known.clone()) };
    assert!(store.beat(asking).await.unwrap().is_empty());
    assert_eq!(database.psql("SELECT count(*) FROM tasks WHERE status = 'running'").await, "2");
    assert!(store.beat(beat("w", known)).await.unwrap().is_empty());
    let left = "SELECT id, status, attempt, losses, claim FROM tasks ORDER BY id";
    assert_eq!(database.psql(left).await, "known|running|1|0|1\nlost|queued|0|0|1");
}

#[tokio::test]
async fn a_task_that_cannot_be_read_fails_alone() {
    let Some(database) = Postgres::database().await else { return };
    let store = worker(&database).await;
    for name in ["a", "b", "c"] {
        submit(&store, name).await;
    }
    // As a later version may have left it.
    database.psql("UPDATE tasks SET iteration = 1, intent = '{\"v\":2}' WHERE id = 'b'").await;
    database.psql("INSERT INTO iterations SELECT seq, 1, 4, E'one\\n' FROM tasks WHERE id = 'b'").await;
    let claimed: Vec<_> = claim(&store, 9).await.into_iter().map(|claimed| claimed.task.id).collect();
    assert_eq!(claimed, [id("a"), id("c")]);
    let task = store.task(&id("b")).await.unwrap().unwrap();
    let Some(Outcome::Failed(error)) = task.state.outcome() else { panic!("{task:?}") };
    assert!(
        error.code == ErrorCode::Internal && error.message.contains("tasks.intent of b cannot be read"),
        "{error:?}"
    );
    // Nor does one keep the others from being listed.
    database.psql("UPDATE tasks SET id = 'no id' WHERE id = 'b'").await;
    let listed = store.list(ListQuery { limit: 9, ..ListQuery::default() }).await.unwrap();
    assert_eq!(listed.tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["c", "a"]);
}

#[tokio::test]
async fn a_row_that_somebody_locks_keeps_no_other_from_being_renewed() {
    let Some(database) = Postgres::database().await else { return };
    let store = worker(&database).await;
    for name in ["locked", "free"] {
        submit(&store, name).await;
    }
    let held: Vec<_> = claim(&store, 2).await.into_iter().map(|claimed| claimed.fence).collect();
    database.psql("UPDATE tasks SET lease_until = lease_until - 100000").await;
    let mut other = PgConnection::connect(&database.url()).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM tasks WHERE id = 'locked' FOR UPDATE").execute(&mut *transaction).await.unwrap();
    assert!(store.beat(beat("w", held)).await.unwrap().is_empty());
    transaction.rollback().await.unwrap();
    let renewed =
        "SELECT id FROM tasks WHERE lease_until - (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint > 550000";
    assert_eq!(database.psql(renewed).await, "free");
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_character_is_refused() {
    let Some(database) = Postgres::database().await else { return };
    database.psql("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let url = database.url().replace(&database.name, "latin");
    let latin = PostgresSettings::new(&url, 1, LEASE).unwrap();
    let Err(StoreError::Open(cause)) = PostgresStore::open(latin).await else { panic!("it was opened") };
    assert_eq!(cause.to_string(), "its encoding is LATIN1, and has to be UTF8");
    database.psql("DROP DATABASE latin").await;
}

#[tokio::test]
async fn nobody_is_taken_for_dead_while_the_server_has_just_started() {
    let Some(database) = Postgres::database().await else { return };
    let store = worker(&database).await;
    submit(&store, "t").await;
    claim(&store, 1).await;
    database.psql("UPDATE tasks SET lease_until = 5").await;
    let mut careful = settings(&database);
    careful.grace = Duration::from_hours(1);
    let careful = PostgresStore::open(careful).await.unwrap();
    assert_eq!(careful.recover(&"v".into(), 5, at(9)).await.unwrap(), Recovered::default());
    assert_eq!(store.recover(&"v".into(), 5, at(9)).await.unwrap().requeued, 1);
}

#[tokio::test]
async fn the_workers_that_live_are_told_with_what_they_run() {
    let Some(database) = Postgres::database().await else { return };
    let (one, two) = (worker(&database).await, worker(&database).await);
    for name in ["a", "b", "c"] {
        submit(&one, name).await;
    }
    let fences: Vec<_> = claim(&one, 2).await.into_iter().map(|claimed| claimed.fence).collect();
    one.beat(beat("w", fences)).await.unwrap();
    two.beat(beat("v", Vec::new())).await.unwrap();
    let stats = two.stats().await.unwrap();
    let workers: Vec<_> =
        stats.workers.iter().map(|worker| (worker.id.as_str(), worker.capacity, worker.running)).collect();
    assert_eq!(workers, [("v", 7, 0), ("w", 7, 2)]);
    assert_eq!((stats.queued, stats.running, stats.oldest), (1, 2, Some(at(1))));
    assert_eq!(database.psql("SELECT unfinished FROM codex_agent_load").await, "3");
    two.retire(&"v".into()).await.unwrap();
    database.psql("UPDATE workers SET seen_at = 0").await;
    assert!(one.stats().await.unwrap().workers.is_empty());
}

#[tokio::test]
async fn what_one_does_rings_at_the_others() {
    let Some(database) = Postgres::database().await else { return };
    let (one, two) = (worker(&database).await, worker(&database).await);
    // Whatever rang when they began.
    let quiet = async |store: &Arc<dyn Store>| {
        while tokio::time::timeout(Duration::from_millis(300), store.changes().queued()).await.is_ok() {}
    };
    quiet(&two).await;
    let (id, waiting) = (id("t"), two.changes().subscribe(&id("t")));
    let change = waiting.next_change();
    submit(&one, "t").await;
    let rung = async { tokio::join!(two.changes().queued(), change) };
    tokio::time::timeout(crate::common::PATIENCE, rung).await.unwrap();
    let fence = claim(&one, 1).await.remove(0).fence;
    two.request_cancel(&id, at(5)).await.unwrap();
    tokio::time::timeout(crate::common::PATIENCE, one.changes().cancel_requested()).await.unwrap();
    assert_eq!(one.cancel_requests(&"w".into()).await.unwrap(), std::slice::from_ref(&fence));
    let change = waiting.next_change();
    one.record(fence, end()).await.unwrap();
    tokio::time::timeout(crate::common::PATIENCE, change).await.unwrap();
    assert_eq!(two.task(&id).await.unwrap().unwrap().state.status(), Status::Cancelled);
}

#[tokio::test]
async fn each_worker_removes_the_files_that_it_has_of_a_deleted_task() {
    let Some(database) = Postgres::database().await else { return };
    let (one, two) = (worker(&database).await, worker(&database).await);
    submit(&one, "gone").await;
    one.request_cancel(&id("gone"), at(5)).await.unwrap();
    one.delete(&id("gone")).await.unwrap();
    settled(&database).await;
    for store in [&one, &two] {
        assert_eq!(store.removals(10).await.unwrap(), [id("gone")]);
        store.mark_removed(&id("gone")).await.unwrap();
        assert!(store.removals(10).await.unwrap().is_empty());
    }
    // It is not told of for ever.
    database.psql("UPDATE removals SET removed_at = 0").await;
    one.removals(10).await.unwrap();
    assert_eq!(database.psql("SELECT count(*) FROM removals").await, "0");
}

#[tokio::test]
async fn the_time_is_the_servers() {
    let Some(database) = Postgres::database().await else { return };
    let store = PostgresStore::open(settings(&database)).await.unwrap();
    let server = async || -> i64 {
        database.psql("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint").await.parse().unwrap()
    };
    let clock = store.clock();
    let (before, now, after) = (server().await, clock.now(), server().await);
    // An answer that was long on its way tells less well.
    let near = Timestamp::from_millis(before - 1000)..=Timestamp::from_millis(after + 1000);
    assert!(near.contains(&now), "{now} is not between {before} and {after}");
}

#[tokio::test]
async fn a_step_that_comes_twice_is_taken_once() {
    let Some(world) = World::postgres().await else { return };
    let store = &world.store;
    submit(store, "t").await;
    let fence = claim(store, 1).await.remove(0).fence;
    for _ in 0..2 {
        let recorded = store.record(fence.clone(), step(1, "one\n")).await.unwrap();
        assert_eq!((recorded.log_bytes, recorded.ended.is_some()), (4, false));
    }
    let last = codex_agent::store::Step { iteration: 2, ..end() };
    let last = codex_agent::store::Step { line: step(2, "two\n").line, ..last };
    for _ in 0..2 {
        let recorded = store.record(fence.clone(), last.clone()).await.unwrap();
        assert_eq!((recorded.log_bytes, recorded.ended.unwrap().iteration), (8, 2));
    }
    // Not under another claim, and not with another line.
    let other = codex_agent::store::Fence { claim: fence.claim + 1, ..fence.clone() };
    assert!(matches!(store.record(other, last).await, Err(StoreError::Lost(_))));
    assert!(matches!(store.record(fence, step(2, "other\n")).await, Err(StoreError::Lost(_))));
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back_is_found_again() {
    let Some(cluster) = Postgres::own(&[]).await else { return };
    let database = cluster.create().await;
    let store = worker(&database).await;
    submit(&store, "t").await;
    cluster.stop(crate::postgres::Stop::Fast).await;
    assert!(matches!(store.task(&id("t")).await, Err(StoreError::Unavailable(_))));
    cluster.start().await;
    eventually("the store answers", async || store.task(&id("t")).await.is_ok_and(|task| task.is_some())).await;
    let fence = claim(&store, 1).await.remove(0).fence;
    database.terminate_all().await;
    eventually("a step is taken", async || store.record(fence.clone(), step(1, "one\n")).await.is_ok()).await;
    assert_eq!(store.task(&id("t")).await.unwrap().unwrap().log_bytes, 4);
}
