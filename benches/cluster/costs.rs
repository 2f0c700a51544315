//! What steps and submissions cost on PostgreSQL, beside SQLite in the same run. Nothing is promised of it; it says how many
//! workers a server can bear.

use std::time::{Duration, Instant};

use super::ROUNDS;
use super::brain::{Brain, Script};
use super::common::Service;
use super::load::{self, Watch};
use super::measure::{median, processor_time};
use super::server::Server;
use super::table::Row;

/// Clients, and tasks at a time.
const SIDE_BY_SIDE: usize = 64;

/// Some seconds of work each.
const READS: u32 = 100;
const SUBMISSIONS: usize = 5_000;

const ITERATIONS: usize = SIDE_BY_SIDE * (READS as usize + 1);

/// A round: what was done in a second, and what one of it cost. What SQLite has no word for is 0.
#[derive(Clone, Copy, Default)]
struct Round {
    rate: f64,
    service: f64,
    server: f64,
    logged: f64,
    tasks_in_place: f64,
    lines_in_place: f64,
}

pub async fn beside_sqlite(server: &Server) -> Vec<Row> {
    let (mut steps, mut submissions) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for _ in 0..ROUNDS {
        steps[0].push(sqlite(true).await);
        steps[1].push(postgres(server, true).await);
        submissions[0].push(sqlite(false).await);
        submissions[1].push(postgres(server, false).await);
    }
    let of = |rounds: &[Round], what: fn(&Round) -> f64| median(rounds.iter().map(what));
    let both = |rounds: &[Vec<Round>; 2], what: fn(&Round) -> f64| (of(&rounds[1], what), of(&rounds[0], what));
    vec![
        Row::compared("C3", "iterations, PostgreSQL / SQLite", both(&steps, |round| round.rate), "/s"),
        Row::compared("C3", "service's CPU per iteration, the same", both(&steps, |round| round.service), "µs"),
        Row::note("C3", "server's CPU per iteration", of(&steps[1], |round| round.server), "µs"),
        Row::note("C3", "server's log of changes per iteration", of(&steps[1], |round| round.logged), "B"),
        Row::note("C3", "changes of a task that touch no index", of(&steps[1], |round| round.tasks_in_place), "%"),
        Row::note("C3", "the same of an iteration", of(&steps[1], |round| round.lines_in_place), "%"),
        Row::compared("C3", "submissions, PostgreSQL / SQLite", both(&submissions, |round| round.rate), "/s"),
        Row::compared("C3", "service's CPU per submission, the same", both(&submissions, |round| round.service), "µs"),
        Row::note("C3", "server's CPU per submission", of(&submissions[1], |round| round.server), "µs"),
        Row::note("C3", "server's log of changes per submission", of(&submissions[1], |round| round.logged), "B"),
    ]
}

/// Steps of some tasks, or submissions that stay in the queue behind one task that waits for ever.
fn brain_of(steps: bool) -> (Brain, &'static str, usize) {
    if steps {
        (Brain::start(Script::Reads(READS, Duration::ZERO)), "64", ITERATIONS)
    } else {
        (Brain::start(Script::Silence), "1", SUBMISSIONS)
    }
}

async fn post(service: &Service, steps: bool) {
    let count = if steps { SIDE_BY_SIDE } else { SUBMISSIONS };
    load::post(service, SIDE_BY_SIDE, count, &load::task(READS + 1)).await;
}

async fn sqlite(steps: bool) -> Round {
    let (brain, running, count) = brain_of(steps);
    let home = load::home();
    let service = load::service(home.clone(), &brain.url, &[("MAX_RUNNING", running)]).await;
    let mut watch = Watch::open(&home).await;
    let (before, started) = (processor_time(service.pid()), Instant::now());
    post(&service, steps).await;
    if steps {
        watch.until_ended().await;
    }
    let took = started.elapsed();
    if steps {
        watch.until_filed().await;
    }
    let spent = processor_time(service.pid()).saturating_sub(before);
    watch.close().await;
    let per_one = |spent: Duration| spent.as_secs_f64() * 1e6 / count as f64;
    Round { rate: count as f64 / took.as_secs_f64(), service: per_one(spent), ..Round::default() }
}

async fn postgres(server: &Server, steps: bool) -> Round {
    let (brain, running, count) = brain_of(steps);
    let mut base = server.base().await;
    let variables = [("DATABASE_URL", base.url()), ("MAX_RUNNING", running.to_owned())];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let service = load::service(load::home(), &brain.url, &variables).await;
    base.until_workers(1).await;
    let (logged, server_before) = (base.logged().await, server.processor_time());
    let (before, started) = (processor_time(service.pid()), Instant::now());
    post(&service, steps).await;
    if steps {
        base.until_ended(SIDE_BY_SIDE).await;
    }
    let took = started.elapsed();
    if steps {
        base.until_filed().await;
    }
    let spent = processor_time(service.pid()).saturating_sub(before);
    let server_spent = server.processor_time().saturating_sub(server_before);
    let logged = base.logged().await - logged;
    // Its connections tell what they have done when they end.
    drop(service);
    base.until_alone().await;
    let per_one = |spent: Duration| spent.as_secs_f64() * 1e6 / count as f64;
    Round {
        rate: count as f64 / took.as_secs_f64(),
        service: per_one(spent),
        server: per_one(server_spent),
        logged: logged as f64 / count as f64,
        tasks_in_place: base.in_place("tasks").await,
        lines_in_place: base.in_place("iterations").await,
    }
}
