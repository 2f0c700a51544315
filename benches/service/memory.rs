//! P5: what a task that waits for its brain takes of the memory.

use super::ROUNDS;
use super::brain::{Brain, Script};
use super::load::{self, Watch};
use super::measure::{median, most_files, open_files, resident};
use super::table::{Goal, Row};

/// Tasks that wait at the same time.
const TASKS: usize = 10_000;

/// What a process has open besides the connections of the tasks: far less than this.
const OTHERS: u64 = 200;

pub async fn waiting() -> Vec<Row> {
    let what = "RSS per task, 10,000 waiting on a slow brain";
    if most_files() < TASKS as u64 + OTHERS {
        return vec![Row::absent("P5", what, "a process may not have 10,000 connections here")];
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let brain = Brain::start(Script::Silence);
        let home = load::home();
        let service = load::service(home.clone(), &brain.url, &[("MAX_RUNNING", "10000")]).await;
        let mut watch = Watch::open(&home).await;
        let before = resident(service.pid());
        load::post(&service, 64, TASKS, &load::task(7)).await;
        watch.until_running(i64::try_from(TASKS).unwrap()).await;
        // Each of them has asked.
        while open_files(brain.pid()) < TASKS {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        rounds.push((resident(service.pid()) - before) / TASKS as f64 / 1024.0);
        watch.close().await;
    }
    vec![Row::plain("P5", what, Goal::AtMost(16.0), median(rounds), "KiB")]
}
