//! Whose an SQLite file is. One service's at a time: the next one waits until it is gone, or stands still.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

use std::path::Path;
use std::time::{Duration, Instant};

use codex_agent::domain::Timestamp;
use codex_agent::store::{SqliteStore, Store, StoreError};
use tokio::runtime::{Builder, Runtime};

const LONG: Duration = Duration::from_mins(10);

/// A service's threads; while nobody is in `block_on` they stand still.
fn service() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn open(runtime: &Runtime, file: &Path, lease: Duration) -> Result<SqliteStore, StoreError> {
    runtime.block_on(SqliteStore::open(file, lease))
}

/// Tries until the other one's lease has run out.
fn take_over(runtime: &Runtime, file: &Path) -> SqliteStore {
    let begun = Instant::now();
    loop {
        match open(runtime, file, LONG) {
            Ok(store) => return store,
            Err(StoreError::Held) => assert!(begun.elapsed() < Duration::from_mins(1)),
            Err(error) => panic!("{error}"),
        }
    }
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
    // As with kill -9: nothing is closed, and the kernel lets go of the lock.
    drop(store);
    first.shutdown_background();
    take_over(&service(), &file);
}

#[test]
fn one_that_stood_still_writes_nothing_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    let (first, second) = (service(), service());
    let frozen = open(&first, &file, Duration::from_millis(50)).unwrap();
    let store = take_over(&second, &file);
    let now = Timestamp::from_millis(0);
    let refused = |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Displaced)), "{done:?}");
    refused(first.block_on(frozen.hold()));
    refused(first.block_on(frozen.recover(5, now)).map(|_| ()));
    refused(first.block_on(frozen.mark_filed(&"t".parse().unwrap())));
    first.block_on(frozen.displaced());
    // Nor does it take the lease from the other when it ends.
    first.block_on(frozen.close());
    assert!(matches!(open(&service(), &file, LONG), Err(StoreError::Held)));
    second.block_on(store.hold()).unwrap();
    second.block_on(store.recover(5, now)).unwrap();
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
    first.block_on(store.hold()).unwrap();
    first.block_on(store.recover(5, Timestamp::from_millis(0))).unwrap();
}
