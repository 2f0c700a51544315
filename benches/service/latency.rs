//! P6: how long a client waits while a thousand tasks run.

use std::cell::RefCell;
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

/// Requests of each kind in a round, one every [`PACE`], each from another client.
const REQUESTS: u32 = 500;
const PACE: Duration = Duration::from_millis(10);

/// Connections of each kind that are there before the first request. Where all of them wait for an answer, one more is
/// opened: no request waits behind another one but in the service.
const CONNECTIONS: usize = 16;

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
    let posts = due(&service.url, "POST", "/tasks", &task, 202);
    let looks = due(&service.url, "GET", "/healthz", "", 200);
    let p99 = |times: Vec<f64>| quantile(times, 0.99);
    let (posts, looks) = futures_util::future::join(posts, looks).await;
    watch.close().await;
    (p99(posts), p99(looks))
}

/// The times of [`REQUESTS`] requests in milliseconds, each from the moment it was due, whatever became of those before it. The
/// timer's own lateness, a millisecond or two, is in them.
pub async fn due(url: &str, method: &str, path: &str, body: &str, expected: u16) -> Vec<f64> {
    let opening = (0..CONNECTIONS).map(|_| Connection::open(url));
    let free = RefCell::new(futures_util::future::join_all(opening).await);
    let started = Instant::now();
    let requests = (0..REQUESTS).map(|number| {
        let (due, free) = (started + PACE * number, &free);
        async move {
            tokio::time::sleep_until(due.into()).await;
            let connection = free.borrow_mut().pop();
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::open(url).await,
            };
            assert_eq!(connection.send(method, path, body).await.0, expected);
            free.borrow_mut().push(connection);
            due.elapsed().as_secs_f64() * 1e3
        }
    });
    futures_util::future::join_all(requests).await
}
