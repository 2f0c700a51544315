//! P7 and P8: what a million ended tasks cost those that come after them.

use std::time::{Duration, Instant};

use codex_agent::domain::{Json, SpecLimits, TaskSpec, Timestamp};
use codex_agent::store::{Claim, Cursor, ListQuery, NewTask, SqliteStore, Store, Which};

use super::ROUNDS;
use super::brain::{Brain, Script};
use super::common::Home;
use super::filled::{self, LEASE};
use super::load::{self, Connection};
use super::measure::{median, resident};
use super::table::{Goal, Row};

const MANY: i64 = 1_000_000;
const FEW: i64 = 1_000;

/// Times of each kind, by turns on the two histories.
const SAMPLES: usize = 1000;

/// How long a service is left alone before its memory is looked at.
const REST: Duration = Duration::from_secs(2);

const MIB: f64 = 1024.0 * 1024.0;

pub async fn million(costs: bool, start: bool) -> Vec<Row> {
    let (many, few) = (filled::ended(MANY).await, filled::ended(FEW).await);
    let mut rows = Vec::new();
    if costs {
        rows.extend(in_the_store(&many, &few).await);
        rows.extend(over_http(&many, &few).await);
    }
    if start {
        rows.extend(starting(&many).await);
    }
    rows
}

async fn in_the_store(many: &Home, few: &Home) -> Vec<Row> {
    let open = async |home: &Home| SqliteStore::open(&home.output().join("codex-agent.db"), LEASE).await.unwrap();
    let stores = [(open(many).await, MANY), (open(few).await, FEW)];
    let mut times = [const { [const { Vec::new() }; 2] }; 3];
    for turn in 0..SAMPLES {
        for (which, (store, count)) in stores.iter().enumerate() {
            assert!(store.submit(new(turn)).await.is_ok());
            let mut clock = Instant::now();
            let mut lap = |what: usize| {
                times[what][which].push(clock.elapsed().as_secs_f64() * 1e6);
                clock = Instant::now();
            };
            let claim = Claim { worker: "w".into(), limit: 1, which: Which::Any, now: Timestamp::from_millis(0) };
            assert_eq!(store.claim(claim).await.unwrap().len(), 1);
            lap(0);
            let id = filled::old(fastrand::i64(0..*count));
            assert!(store.task(&id).await.unwrap().is_some());
            lap(1);
            let query =
                ListQuery { before: Some(Cursor(fastrand::i64(100..*count))), limit: 50, ..ListQuery::default() };
            assert_eq!(store.list(query).await.unwrap().tasks.len(), 50);
            lap(2);
        }
    }
    for (store, _) in stores {
        store.close().await;
    }
    let row =
        |what, [many, few]: [Vec<f64>; 2]| Row::ratio("P7", what, Goal::AtMost(1.2), (median(many), median(few)), "µs");
    let [claims, statuses, pages] = times;
    vec![
        row("a claim (committed), 1,000,000 ended / 1,000", claims),
        row("a status in the store, 1,000,000 ended / 1,000", statuses),
        row("a page of 50 in the store, 1,000,000 ended / 1,000", pages),
    ]
}

async fn over_http(many: &Home, few: &Home) -> Vec<Row> {
    let brain = Brain::start(Script::Silence);
    let services = [
        (load::service(many.clone(), &brain.url, &[]).await, MANY),
        (load::service(few.clone(), &brain.url, &[]).await, FEW),
    ];
    let mut connections = [Connection::open(&services[0].0.url).await, Connection::open(&services[1].0.url).await];
    let mut times = [const { [const { Vec::new() }; 2] }; 2];
    for _ in 0..SAMPLES {
        for which in 0..2 {
            let (connection, count) = (&mut connections[which], services[which].1);
            for (what, path) in [
                format!("/tasks/{}", filled::old(fastrand::i64(0..count))),
                // The cursor is what a page before has named.
                "/tasks?limit=50&status=succeeded".to_owned(),
            ]
            .iter()
            .enumerate()
            {
                let started = Instant::now();
                assert_eq!(connection.send("GET", path, "").await.0, 200);
                times[what][which].push(started.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    let row =
        |what, [many, few]: [Vec<f64>; 2]| Row::ratio("P7", what, Goal::AtMost(1.2), (median(many), median(few)), "µs");
    let [statuses, pages] = times;
    vec![
        row("GET /tasks/{id}, 1,000,000 ended / 1,000", statuses),
        row("GET /tasks?limit=50&status=…, 1,000,000 ended / 1,000", pages),
    ]
}

async fn starting(many: &Home) -> Vec<Row> {
    let (mut starts, mut idle, mut idle_with_many) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let service = load::service(many.clone(), "script:", &[]).await;
        starts.push(started.elapsed().as_secs_f64() * 1e3);
        let fresh = load::service(load::home(), "script:", &[]).await;
        tokio::time::sleep(REST).await;
        idle.push(resident(fresh.pid()) / MIB);
        idle_with_many.push(resident(service.pid()) / MIB);
        service.stop().await;
    }
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_codex-agent")).unwrap().len() as f64 / MIB;
    let at_most = Goal::AtMost;
    vec![
        Row::plain("P8", "start to listening, 1,000,000 ended tasks", at_most(100.0), median(starts), "ms"),
        Row::plain("P8", "idle RSS", at_most(16.0), median(idle), "MiB"),
        Row::note("P8", "idle RSS, 1,000,000 ended tasks", median(idle_with_many), "MiB"),
        Row::plain("P8", "the program's size", at_most(25.0), binary, "MiB"),
    ]
}

fn new(number: usize) -> NewTask {
    let posted = Json::parse(r#"{"instruction":"Read."}"#).unwrap();
    let spec = TaskSpec::parse(posted, SpecLimits { default_iterations: 7, max_iterations: 200 }).unwrap();
    let now = Timestamp::from_millis(0);
    NewTask { id: format!("new-{number}").parse().unwrap(), idempotency_key: None, spec, now, max_queued: u32::MAX }
}
