//! Claims beside what has ended: workers that take a queue apart, as fast as the server lets them.

use std::collections::HashSet;
use std::time::Instant;

use codex_agent::domain::Timestamp;
use codex_agent::store::{Claim, PostgresStore, Store, Which};

use super::ROUNDS;
use super::filled::{self, clear, queue};
use super::measure::{median, medians};
use super::server::{Base, Server};
use super::table::{Goal, Row};

/// Ended tasks beside the queue. The first is the floor of the others.
const HISTORIES: [i64; 3] = [1_000, 100_000, 1_000_000];

/// Connections that claim at the same time, each its own worker's.
const WORKERS: usize = 8;

/// Tasks in a claim: the scheduler's most, some, and one.
const BATCHES: [u32; 3] = [64, 8, 1];

/// Tasks to be claimed with each batch: some seconds of work, and far less than what has ended.
const TASKS: [usize; 3] = [20_000, 10_000, 5_000];

/// Tasks that have been claimed from the front of a queue since the last vacuum: by default a server with such a history
/// cleans up after about a tenth of them.
const CLAIMED: usize = 100_000;

/// Flat within a fifth.
const FLAT: Goal = Goal::AtLeast(0.8);
const NO_MORE: Goal = Goal::AtMost(1.2);

/// Claimed tasks a second, and the server's processor time for each in microseconds.
#[derive(Clone, Copy)]
struct Round {
    rate: f64,
    cost: f64,
}

pub async fn beside_history(server: &Server) -> Vec<Row> {
    let mut bases = Vec::new();
    for count in HISTORIES {
        bases.push(filled::ended(server, count).await);
    }
    let mut rows = Vec::new();
    for (batch, tasks) in BATCHES.into_iter().zip(TASKS) {
        let mut rounds = [const { Vec::new() }; HISTORIES.len()];
        for _ in 0..ROUNDS {
            for (base, rounds) in bases.iter_mut().zip(&mut rounds) {
                queue(base, tasks).await;
                rounds.push(take_all(server, base, batch, tasks).await);
                clear(base).await;
            }
        }
        let [few, many, most] = rounds.map(|rounds: Vec<Round>| Round {
            rate: median(rounds.iter().map(|round| round.rate)),
            cost: median(rounds.iter().map(|round| round.cost)),
        });
        for (what, round) in [("100,000", many), ("1,000,000", most)] {
            let claims = format!("claimed {batch} at a time, {what} ended / 1,000");
            rows.push(Row::ratio("C1", &claims, FLAT, (round.rate, few.rate), "/s"));
            let cost = "server's CPU per claimed task, the same";
            rows.push(Row::ratio("C1", cost, NO_MORE, (round.cost, few.cost), "µs"));
        }
    }
    rows.extend(behind_many(server, &mut bases[2]).await);
    rows
}

/// All that waits, by all workers; each task is claimed once.
async fn take_all(server: &Server, base: &mut Base, batch: u32, tasks: usize) -> Round {
    let mut stores = Vec::new();
    for _ in 0..WORKERS {
        stores.push(filled::store(base).await);
    }
    let (before, started) = (server.processor_time(), Instant::now());
    let taken = futures_util::future::join_all(stores.iter().enumerate().map(|(n, store)| take(store, n, batch)));
    let taken: Vec<i64> = taken.await.concat();
    let took = started.elapsed().as_secs_f64();
    for store in stores {
        store.close().await;
    }
    base.until_alone().await;
    let spent = server.processor_time().saturating_sub(before);
    assert_eq!((taken.len(), taken.iter().collect::<HashSet<_>>().len()), (tasks, tasks), "each is claimed once");
    Round { rate: tasks as f64 / took, cost: spent.as_secs_f64() * 1e6 / tasks as f64 }
}

async fn take(store: &PostgresStore, worker: usize, batch: u32) -> Vec<i64> {
    let mut taken = Vec::new();
    loop {
        let (worker, which) = (format!("worker-{worker}").as_str().into(), Which::Any);
        let claim = Claim { worker, limit: batch, which, now: Timestamp::from_millis(0) };
        let claimed = store.claim(claim).await.unwrap();
        if claimed.is_empty() {
            return taken;
        }
        taken.extend(claimed.iter().map(|claimed| claimed.fence.seq));
    }
}

/// Claims at a place where very many have been made since the last vacuum. Each goes past what is left of those in the
/// index; nothing is promised of it but that the server cleans up.
async fn behind_many(server: &Server, base: &mut Base) -> Vec<Row> {
    let (batch, tasks) = (BATCHES[1], TASKS[1]);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        queue(base, tasks).await;
        let fresh = take_all(server, base, batch, tasks).await;
        clear(base).await;
        queue(base, CLAIMED + tasks).await;
        let store = filled::store(base).await;
        let mut left = CLAIMED;
        while left > 0 {
            let limit = u32::try_from(left.min(1000)).unwrap();
            let claim = Claim { worker: "w".into(), limit, which: Which::Any, now: Timestamp::from_millis(0) };
            left -= store.claim(claim).await.unwrap().len();
        }
        store.close().await;
        rounds.push((take_all(server, base, batch, tasks).await, fresh));
        clear(base).await;
    }
    let of = |what: fn(&Round) -> f64| {
        medians(&rounds.iter().map(|(late, fresh)| (what(late), what(fresh))).collect::<Vec<_>>())
    };
    let what = "claimed 8 at a time, 100,000 not vacuumed / none";
    vec![
        Row::compared("C1", what, of(|round| round.rate), "/s"),
        Row::compared("C1", "server's CPU per claimed task, the same", of(|round| round.cost), "µs"),
    ]
}
