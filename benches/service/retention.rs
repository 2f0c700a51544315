//! What the deletion of old tasks costs, and how much of it is done in a second.

use std::time::{Duration, Instant};

use codex_agent::domain::Timestamp;
use codex_agent::store::{SqliteStore, Store};
use futures_util::future::join_all;

use super::brain::{Brain, Script};
use super::common::Home;
use super::filled::{self, LEASE};
use super::load::{self, Watch};
use super::measure::{median, medians, quantile};
use super::scale::FEW;
use super::table::Row;
use super::{ROUNDS, latency};

/// Batches of the size that the scheduler deletes at a time, by turns on the two histories.
const BATCHES: usize = 30;
const BATCH: u32 = 64;

/// So long a service is watched as it deletes, or until so many are gone: half of the few.
const WATCHED: Duration = Duration::from_secs(10);
const ENOUGH: i64 = FEW / 2;

const LOOK: Duration = Duration::from_millis(20);

/// On two homes with [`MANY`](super::scale::MANY) and with [`FEW`] ended tasks.
pub async fn deleting(many: &Home, few: &Home) -> Vec<Row> {
    let batches = in_the_store(many, few).await;
    let brain = Brain::start(Script::Silence);
    let mut rates = [0.0; 2];
    for (home, rate) in [many, few].into_iter().zip(&mut rates) {
        write_files(home, i64::try_from(BATCHES).unwrap() * i64::from(BATCH));
        *rate = deletions(home, &brain).await;
    }
    let (mut posts, mut looks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (undisturbed, disturbed) = (latencies(many, &brain, "0").await, latencies(many, &brain, "1").await);
        posts.push((disturbed.0, undisturbed.0));
        looks.push((disturbed.1, undisturbed.1));
    }
    vec![
        Row::compared("P7", "64 tasks deleted in the store, 1,000,000 / 10,000", batches, "µs"),
        Row::compared("P7", "deleted by the service, 1,000,000 / 10,000", (rates[0], rates[1]), "/s"),
        Row::compared("P7", "POST /tasks p99, old ones are deleted / not", medians(&posts), "ms"),
        Row::compared("P7", "GET /tasks p99, old ones are deleted / not", medians(&looks), "ms"),
    ]
}

/// What the scheduler asks of the store for one batch; median times in microseconds.
async fn in_the_store(many: &Home, few: &Home) -> (f64, f64) {
    let open = async |home: &Home| SqliteStore::open(&home.output().join("codex-agent.db"), LEASE).await.unwrap();
    let stores = [open(many).await, open(few).await];
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..BATCHES {
        for (store, times) in stores.iter().zip(&mut times) {
            let started = Instant::now();
            let ids = store.expired(Timestamp::from_millis(i64::MAX), BATCH).await.unwrap();
            assert_eq!(ids.len(), BATCH as usize);
            assert!(join_all(ids.iter().map(|id| store.delete(id))).await.iter().all(Result::is_ok));
            assert!(join_all(ids.iter().map(|id| store.mark_removed(id))).await.iter().all(Result::is_ok));
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    for store in stores {
        store.close().await;
    }
    let [many, few] = times.map(median);
    (many, few)
}

/// The records of the oldest tasks that are left, from this one on: as many as are deleted while it is measured.
fn write_files(home: &Home, first: i64) {
    std::fs::create_dir_all(home.record("any").parent().unwrap()).unwrap();
    for number in first..FEW {
        let record = home.record(filled::old(number).as_str());
        std::fs::write(record.with_extension("meta.json"), "{}").unwrap();
        std::fs::write(record, "{}\n").unwrap();
    }
}

/// Tasks that a service forgets in a second; their files are gone too.
async fn deletions(home: &Home, brain: &Brain) -> f64 {
    let service = load::service(home.clone(), &brain.url, &[("RETENTION_DAYS", "1")]).await;
    let mut watch = Watch::open(home).await;
    // The time of an old task's end is its number. The index answers this, whatever the table's length.
    let oldest = "SELECT COALESCE(MIN(finished_at), 0) FROM tasks WHERE finished_at IS NOT NULL";
    let (before, started) = (watch.number(oldest).await, Instant::now());
    let mut deleted = 0;
    while started.elapsed() < WATCHED && deleted < ENOUGH {
        tokio::time::sleep(LOOK).await;
        deleted = watch.number(oldest).await - before;
    }
    let rate = deleted as f64 / started.elapsed().as_secs_f64();
    assert!(deleted > 0, "nothing was deleted");
    service.stop().await;
    watch.close().await;
    for number in before..before + deleted {
        let record = home.record(filled::old(number).as_str());
        assert!(!record.exists() && !record.with_extension("meta.json").exists(), "{} is left", record.display());
    }
    rate
}

/// What 99 of a hundred submissions are not above, and of a hundred looks at the list, in milliseconds.
async fn latencies(home: &Home, brain: &Brain, days: &str) -> (f64, f64) {
    let variables = [("MAX_RUNNING", "1"), ("RETENTION_DAYS", days)];
    let service = load::service(home.clone(), &brain.url, &variables).await;
    let task = load::task(7);
    let posts = latency::due(&service.url, "POST", "/tasks", &task, 202);
    let looks = latency::due(&service.url, "GET", "/tasks?limit=50", "", 200);
    let (posts, looks) = futures_util::future::join(posts, looks).await;
    (quantile(posts, 0.99), quantile(looks, 0.99))
}
