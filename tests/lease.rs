//! Whose an SQLite file is. One service's at a time: the next one waits until it is gone, or stands still.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

use std::path::Path;
use std::time::{Duration, Instant};

use codex_agent::domain::Timestamp;
use codex_agent::store::{SqliteStore, Store, StoreError};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::{Builder, Runtime};

const LONG: Duration = Duration::from_mins(10);

fn service() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn open(runtime: &Runtime, file: &Path, lease: Duration) -> Result<SqliteStore, StoreError> {
    runtime.block_on(SqliteStore::open(file, lease))
}

/// As if the holder had not renewed for a long time.
fn let_run_out(runtime: &Runtime, file: &Path) {
    runtime.block_on(async {
        let mut db = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        sqlx::query("UPDATE lease SET until = 0").execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    });
}

#[test]
fn a_file_whose_holder_moves_is_refused_and_one_that_was_closed_is_free_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    let (first, second) = (service(), service());
    let store = open(&first, &file, LONG).unwrap();
    assert!(matches!(open(&second, &file, LONG), Err(StoreError::Held)));
    first.block_on(store.close());
    drop(store);
    second.block_on(open(&second, &file, LONG).unwrap().close());
    let locks = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "lock"));
    assert_eq!(locks.count(), 1);
}

#[test]
fn a_file_whose_holder_died_is_free_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    let first = service();
    let store = open(&first, &file, LONG).unwrap();
    // As with kill -9: nothing is given back, and the kernel lets go of the lock when the last thread is gone.
    drop(store);
    let second = service();
    let begun = Instant::now();
    while let Err(error) = open(&second, &file, LONG) {
        assert!(matches!(error, StoreError::Held) && begun.elapsed() < Duration::from_mins(1), "{error}");
    }
}

#[test]
fn one_that_stood_still_writes_nothing_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    let (first, second) = (service(), service());
    let frozen = open(&first, &file, LONG).unwrap();
    let_run_out(&second, &file);
    let store = open(&second, &file, LONG).unwrap();
    let now = Timestamp::from_millis(0);
    let refused = |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Displaced)), "{done:?}");
    refused(first.block_on(frozen.recover(&"w".into(), 5, now)).map(|_| ()));
    refused(first.block_on(frozen.mark_filed(vec![("t".parse().unwrap(), now)])).map(|_| ()));
    refused(first.block_on(frozen.hold_files()));
    first.block_on(frozen.displaced());
    // Nor does it take the lease from the other when it ends.
    first.block_on(frozen.close());
    assert!(matches!(open(&service(), &file, LONG), Err(StoreError::Held)));
    second.block_on(store.hold_files()).unwrap();
    second.block_on(store.recover(&"w".into(), 5, now)).unwrap();
}

#[test]
fn one_that_moves_again_in_time_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    let first = service();
    let store = open(&first, &file, Duration::from_millis(1)).unwrap();
    let begun = Instant::now();
    // Past its time, but nobody was there to take it.
    while begun.elapsed() < Duration::from_millis(2) {
        std::thread::yield_now();
    }
    first.block_on(store.hold_files()).unwrap();
    first.block_on(store.recover(&"w".into(), 5, Timestamp::from_millis(0))).unwrap();
}
