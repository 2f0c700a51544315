//! P1: the processor time of an iteration beside a bare loop's.

use std::time::Duration;

use super::brain::{Brain, Script};
use super::load::{self, Watch};
use super::table::{Goal, Row};
use super::{ROUNDS, bare, measure};

/// Tasks at a time, and as many in all.
const TASKS: usize = 64;

/// Iterations of each: together some seconds of processor time, hundreds of the clock's ticks.
const READS: u32 = 200;

pub async fn processor_time() -> Vec<Row> {
    let brain = Brain::start(Script::Reads(READS, Duration::ZERO));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let home = load::home();
        let floor = bare::microseconds(&brain.url, &home.code(), TASKS, READS + 1);
        let service = load::service(home.clone(), &brain.url, &[("MAX_RUNNING", "64")]).await;
        let mut watch = Watch::open(&home).await;
        let before = measure::processor_time(service.pid());
        load::post(&service, TASKS, TASKS, &load::task(READS + 1)).await;
        watch.until_filed().await;
        let spent = measure::processor_time(service.pid()).saturating_sub(before);
        let iterations = watch.number("SELECT SUM(iteration) FROM tasks WHERE status = 'succeeded'").await;
        assert_eq!(iterations, i64::try_from(TASKS).unwrap() * i64::from(READS + 1));
        rounds.push((spent.as_secs_f64() * 1e6 / iterations as f64, floor));
        watch.close().await;
    }
    let what = "CPU per iteration (read_file, 64 tasks) / bare loop";
    vec![Row::ratio("P1", what, Goal::AtMost(1.5), measure::medians(&rounds), "µs")]
}
