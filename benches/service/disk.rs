//! P4: what becomes durable in a second, beside what this disk syncs in one.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::ROUNDS;
use super::brain::{Brain, Script};
use super::load::{self, Watch};
use super::measure::medians;
use super::table::{Goal, Row};

/// Clients, and tasks at a time.
const SIDE_BY_SIDE: usize = 64;

/// How long the disk is tried before and after each figure.
const TRIAL: Duration = Duration::from_secs(1);

/// Some seconds of work each, so that starting up does not count.
const SUBMISSIONS: usize = 10_000;
const READS: u32 = 200;
const NO_OPS: usize = 5_000;

pub async fn rates() -> Vec<Row> {
    let (mut submitted, mut committed, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        submitted.push(submissions().await);
        committed.push(iterations().await);
        ended.push(no_ops().await);
    }
    let row = |what, goal, rounds: &[(f64, f64)]| Row::ratio("P4", what, Goal::AtLeast(goal), medians(rounds), "/s");
    vec![
        row("durable submissions, 64 clients / fdatasync", 3.0, &submitted),
        row("committed iterations, 64 tasks / fdatasync", 4.0, &committed),
        row("no-op tasks end to end / fdatasync", 1.2, &ended),
    ]
}

async fn submissions() -> (f64, f64) {
    // One task is taken up and waits for ever; the others stay in the queue.
    let brain = Brain::start(Script::Silence);
    let home = load::home();
    let service = load::service(home.clone(), &brain.url, &[("MAX_RUNNING", "1")]).await;
    let before = syncs(home.path());
    let started = Instant::now();
    load::post(&service, SIDE_BY_SIDE, SUBMISSIONS, &load::task(7)).await;
    let rate = per_second(SUBMISSIONS, started);
    (rate, f64::midpoint(before, syncs(home.path())))
}

async fn iterations() -> (f64, f64) {
    let brain = Brain::start(Script::Reads(READS, Duration::ZERO));
    let iterations = SIDE_BY_SIDE * (READS as usize + 1);
    run(&brain, SIDE_BY_SIDE, READS + 1, iterations).await
}

async fn no_ops() -> (f64, f64) {
    let brain = Brain::start(Script::Reads(0, Duration::ZERO));
    run(&brain, NO_OPS, 1, NO_OPS).await
}

/// So many tasks, from the first request to the last end; `what` is counted.
async fn run(brain: &Brain, tasks: usize, iterations: u32, what: usize) -> (f64, f64) {
    let home = load::home();
    let service = load::service(home.clone(), &brain.url, &[]).await;
    let mut watch = Watch::open(&home).await;
    let before = syncs(home.path());
    let started = Instant::now();
    load::post(&service, SIDE_BY_SIDE, tasks, &load::task(iterations)).await;
    watch.until_ended().await;
    let rate = per_second(what, started);
    watch.close().await;
    (rate, f64::midpoint(before, syncs(home.path())))
}

fn per_second(count: usize, started: Instant) -> f64 {
    count as f64 / started.elapsed().as_secs_f64()
}

/// How many times a second the disk takes four kilobytes more and says that it has them.
fn syncs(dir: &Path) -> f64 {
    let path = dir.join("syncs");
    let (mut file, page, started, mut count) = (File::create(&path).unwrap(), [1; 4096], Instant::now(), 0);
    while started.elapsed() < TRIAL {
        file.write_all(&page).unwrap();
        rustix::fs::fdatasync(&file).unwrap();
        count += 1;
    }
    let rate = per_second(count, started);
    std::fs::remove_file(path).unwrap();
    rate
}
