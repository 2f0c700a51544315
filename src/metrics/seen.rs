//! What is so at the moment of a scrape.

use std::time::Duration;

use prometheus::{Gauge, IntGauge, IntGaugeVec, Registry};

use super::measured::{Made, opts};

/// What could be learned for one scrape; what could not is not in the text.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The tasks and the workers, if the database answered.
    pub queue: Option<Queue>,
    /// The database, as it is from here.
    pub database: Option<Database>,
}

/// All tasks and all workers: the same, whichever worker is asked.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Tasks that wait.
    pub queued: u64,
    /// Tasks that run.
    pub running: u64,
    /// How long the one that waits longest has waited; zero if none waits.
    pub oldest_age: Duration,
    /// Tasks that the workers can run at a time.
    pub capacity: u64,
    /// Workers that are alive.
    pub workers: u64,
}

/// What is worth watching of a database, of either kind.
#[derive(Clone, Copy, Debug)]
pub enum Database {
    /// A file of ours.
    File {
        /// Its length.
        bytes: u64,
        /// The length of its write-ahead log.
        log_bytes: u64,
    },
    /// A server elsewhere.
    Pool {
        /// Connections of this process that nobody uses.
        idle: u64,
        /// Those that are in use.
        used: u64,
    },
}

impl Seen {
    pub(super) fn add_to(&self, registry: &Registry) {
        let now = Now { made: Made { registry } };
        if let Some(queue) = self.queue {
            let tasks = [("queued", queue.queued), ("running", queue.running)];
            now.gauges("tasks", "Unfinished tasks of all workers, by status.", "status", tasks);
            let age = "How long the task that waits longest has waited; 0 if none waits.";
            now.seconds("queue_oldest_age_seconds", age, queue.oldest_age);
            now.gauge("capacity_tasks", "How many tasks all workers together run at a time.", queue.capacity);
            now.gauge("workers", "Workers that are alive.", queue.workers);
        }
        match self.database {
            Some(Database::File { bytes, log_bytes }) => {
                now.gauge("database_size_bytes", "The length of the database's file (SQLite).", bytes);
                let log = "The length of the database's write-ahead log (SQLite).";
                now.gauge("database_wal_bytes", log, log_bytes);
            }
            Some(Database::Pool { idle, used }) => {
                let help = "Connections of this process to the database, by state (PostgreSQL).";
                now.gauges("database_connections", help, "state", [("idle", idle), ("used", used)]);
            }
            None => {}
        }
    }
}

/// Gauges that are made for one scrape.
struct Now<'a> {
    made: Made<'a>,
}

impl Now<'_> {
    fn gauge(&self, name: &str, help: &str, value: u64) {
        self.made.made(IntGauge::with_opts(opts(name, help))).set(signed(value));
    }

    fn gauges<const N: usize>(&self, name: &str, help: &str, label: &str, values: [(&str, u64); N]) {
        let gauges = self.made.made(IntGaugeVec::new(opts(name, help), &[label]));
        for (word, value) in values {
            gauges.with_label_values(&[word]).set(signed(value));
        }
    }

    fn seconds(&self, name: &str, help: &str, value: Duration) {
        self.made.made(Gauge::with_opts(opts(name, help))).set(value.as_secs_f64());
    }
}

/// No count of ours is anywhere near the difference.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
