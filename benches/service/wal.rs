//! How long the write-ahead log becomes under load, with readers beside it.

use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _};

use super::brain::{Brain, Script};
use super::common::{Home, Service};
use super::latency;
use super::load::{self, Watch};
use super::table::{Goal, Row};

/// Tasks that go round as fast as the service can, longer than they are watched.
const TASKS: usize = 64;
const FOR_EVER: u32 = 100_000;

/// So long; a quarter of it for what comes after.
const LOAD: Duration = Duration::from_secs(20);

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Twice what the service waits for before it cuts the log.
const BOUND: Goal = Goal::AtMost(64.0);

const MIB: f64 = 1024.0 * 1024.0;

pub async fn length() -> Vec<Row> {
    let brain = Brain::start(Script::Reads(FOR_EVER, Duration::ZERO));
    let (service, watch) = loaded(&brain).await;
    let reading = async {
        let until = Instant::now() + LOAD;
        while Instant::now() < until {
            let pages = latency::due(&service.url, "GET", "/tasks?limit=50", "", 200);
            let statuses = latency::due(&service.url, "GET", "/tasks?limit=1&status=running", "", 200);
            futures_util::future::join(pages, statuses).await;
        }
    };
    let (passing, ()) = futures_util::future::join(largest(&service.home, LOAD), reading).await;
    watch.close().await;
    drop(service);

    let (service, watch) = loaded(&brain).await;
    let file = service.home.output().join("codex-agent.db");
    let mut reader = SqliteConnectOptions::new().filename(&file).read_only(true).connect().await.unwrap();
    let mut snapshot = reader.begin().await.unwrap();
    let _: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tasks").fetch_one(&mut *snapshot).await.unwrap();
    let staying = largest(&service.home, LOAD).await;
    snapshot.rollback().await.unwrap();
    reader.close().await.unwrap();
    // The load goes on, and the log is to be cut without anybody's help.
    tokio::time::sleep(LOAD / 4).await;
    let afterwards = largest(&service.home, LOAD / 4).await;
    watch.close().await;
    vec![
        Row::plain("WAL", "its greatest length, readers that come and go", BOUND, passing, "MiB"),
        Row::note("WAL", "its greatest length, one reader stays for 20 s", staying, "MiB"),
        Row::plain("WAL", "its greatest length from 5 s after it has left", BOUND, afterwards, "MiB"),
    ]
}

/// A service at work, with a connection of ours that looks from time to time.
async fn loaded(brain: &Brain) -> (Service, Watch) {
    let home = load::home();
    let service = load::service(home.clone(), &brain.url, &[]).await;
    let mut watch = Watch::open(&home).await;
    load::post(&service, TASKS, TASKS, &load::task(FOR_EVER)).await;
    watch.until_running(i64::try_from(TASKS).unwrap()).await;
    (service, watch)
}

/// The log's greatest length for so long, in mebibytes.
async fn largest(home: &Home, time: Duration) -> f64 {
    let (file, until) = (home.output().join("codex-agent.db-wal"), Instant::now() + time);
    let mut largest = 0;
    while Instant::now() < until {
        largest = largest.max(file.metadata().map_or(0, |metadata| metadata.len()));
        tokio::time::sleep(LOOK).await;
    }
    largest as f64 / MIB
}
