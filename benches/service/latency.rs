//! P6: how long a client waits while a thousand tasks run.

use std::time::{Duration, Instant};

use super::ROUNDS;
use super::brain::{Brain, Script};
use super::load::{self, Connection, Watch};
use super::measure::{median, quantile};
use super::table::{Goal, Row};

/// Tasks at a time.
const TASKS: usize = 1000;

/// A quick model's time for a step: a thousand tasks then take a thousand steps a second.
const THINKING: Duration = Duration::from_secs(1);

/// Iterations that no task comes to the end of while it is measured.
const FOR_EVER: u32 = 100_000;

/// Requests of each kind in a round, one every [`PACE`].
const REQUESTS: u32 = 500;
const PACE: Duration = Duration::from_millis(10);

/// Where each of them takes long, fewer are made: a round does not go on for ever.
const LONGEST: Duration = Duration::from_secs(15);

pub async fn under_load() -> Vec<Row> {
    let (mut rows, mut rounds, mut rushed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rounds.push(round(THINKING).await);
        rushed.push(round(Duration::ZERO).await);
    }
    let posts = |rounds: &[(f64, f64)]| median(rounds.iter().map(|round| round.0));
    let looks = |rounds: &[(f64, f64)]| median(rounds.iter().map(|round| round.1));
    let goals = (Goal::AtMost(40.0), Goal::AtMost(10.0));
    rows.push(Row::plain("P6", "POST /tasks p99, 1,000 tasks run, brain takes 1 s", goals.0, posts(&rounds), "ms"));
    rows.push(Row::plain("P6", "GET /healthz p99, 1,000 tasks run, brain takes 1 s", goals.1, looks(&rounds), "ms"));
    rows.push(Row::note("P6", "POST /tasks p99, the brain answers at once", posts(&rushed), "ms"));
    rows.push(Row::note("P6", "GET /healthz p99, the brain answers at once", looks(&rushed), "ms"));
    rows
}

async fn round(thinking: Duration) -> (f64, f64) {
    let brain = Brain::start(Script::Reads(FOR_EVER, thinking));
    let home = load::home();
    let service = load::service(home.clone(), &brain.url, &[("MAX_RUNNING", "1000")]).await;
    let mut watch = Watch::open(&home).await;
    load::post(&service, 64, TASKS, &load::task(FOR_EVER)).await;
    watch.until_running(i64::try_from(TASKS).unwrap()).await;
    // Until all of them have gone round: the first step is not like the others.
    tokio::time::sleep(2 * THINKING).await;
    let task = load::task(7);
    let (mut posting, mut looking) = (Connection::open(&service.url).await, Connection::open(&service.url).await);
    let posts = paced(&mut posting, "POST", "/tasks", &task, 202);
    let looks = paced(&mut looking, "GET", "/healthz", "", 200);
    let p99 = |times: Vec<f64>| quantile(times, 0.99);
    let (posts, looks) = futures_util::future::join(posts, looks).await;
    watch.close().await;
    (p99(posts), p99(looks))
}

/// The times of requests in milliseconds, each from the moment it was due: one that waits for a late one waits as well.
async fn paced(connection: &mut Connection, method: &str, path: &str, body: &str, expected: u16) -> Vec<f64> {
    let mut times = Vec::new();
    let started = Instant::now();
    for number in 0..REQUESTS {
        if started.elapsed() > LONGEST {
            break;
        }
        let due = started + PACE * number;
        tokio::time::sleep_until(due.into()).await;
        // The timer's own lateness, a millisecond at most, is not the service's.
        let from = if times.is_empty() || due.elapsed() < Duration::from_millis(2) { Instant::now() } else { due };
        assert_eq!(connection.send(method, path, body).await.0, expected);
        times.push(from.elapsed().as_secs_f64() * 1e3);
    }
    times
}
