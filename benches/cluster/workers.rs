//! One worker and four on a load that is bound by the brain's time and not by the machine's.

use std::time::{Duration, Instant};

use super::ROUNDS;
use super::brain::{Brain, Script};
use super::common::Service;
use super::load;
use super::measure::medians;
use super::server::Server;
use super::table::{Goal, Row};

/// Tool calls of a task; one step more finishes it.
const READS: u32 = 4;

/// What the brain takes over a step. A task then takes a second.
const THINKING: Duration = Duration::from_millis(200);

/// Tasks that a worker runs at a time: four workers make 320 steps a second, far less than a core can do.
const RUNNING: &str = "16";

/// A quarter of a minute for four workers: the last second, when some places have nothing to do any more, is a small part of
/// that.
const TASKS: usize = 960;

pub async fn one_and_four(server: &Server) -> Vec<Row> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push((seconds(server, 1).await, seconds(server, 4).await));
    }
    let (one, four) = medians(&rounds);
    let rates = (TASKS as f64 / four, TASKS as f64 / one);
    vec![Row::ratio("C2", "4 workers / 1, 16 at a time, brain takes 200 ms", Goal::AtLeast(3.6), rates, "/s")]
}

/// From the first submission to the last end.
async fn seconds(server: &Server, workers: usize) -> f64 {
    let mut base = server.base().await;
    let brain = Brain::start(Script::Reads(READS, THINKING));
    let url = base.url();
    let start = async |role: &'static str| -> Service {
        let variables = [("DATABASE_URL", url.as_str()), ("ROLE", role), ("MAX_RUNNING", RUNNING)];
        load::service(load::home(), &brain.url, &variables).await
    };
    let api = start("api").await;
    let mut running = Vec::new();
    for _ in 0..workers {
        running.push(start("worker").await);
    }
    base.until_workers(i64::try_from(workers).unwrap()).await;
    let started = Instant::now();
    load::post(&api, 16, TASKS, &load::task(READS + 1)).await;
    base.until_ended(TASKS).await;
    let took = started.elapsed().as_secs_f64();
    for service in running {
        service.stop().await;
    }
    api.stop().await;
    took
}
