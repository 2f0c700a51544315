//! What is counted and timed while the service works, and how Prometheus reads it.
//!
//! ```text
//!  run, scheduler, http ── task_ended, brain_step, … ─► Metrics (counters, histograms)
//!                                                          │ text()
//!  at a scrape: Seen (queue, database) + the process ──────┴──► Prometheus text, 0.0.4
//! ```
//!
//! What happens is counted here, where it happens. What merely is (how many tasks wait, how large the database is) is
//! asked for at each scrape and kept nowhere, so that it is never told when it is no longer true.
//!
//! Deliberately absent: globals, tasks' names as labels, and any label whose values a client chooses.

mod each;
mod labels;
mod measured;
mod process;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Registry, TextEncoder};

pub use labels::{BrainOutcome, Tool, ToolStatus};
pub use seen::{Database, Queue, Seen};

use self::measured::Measured;
use crate::domain::{Outcome, Timestamp};

/// How the text is called in HTTP.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that one service counts. A clone counts for the same service.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    measured: Measured,
    started: Timestamp,
}

impl Metrics {
    /// For a service of this version that was `started` then; everything stands at zero.
    pub fn new(version: &str, started: Timestamp) -> Self {
        let registry = Registry::new();
        let measured = Measured::in_registry(&registry, version);
        Self { inner: Arc::new(Inner { registry, measured, started }) }
    }

    /// A client's task is new, and stored.
    pub fn task_submitted(&self) {
        self.inner.measured.submitted.inc();
    }

    /// A task has come to its end, and that is stored.
    pub fn task_ended(&self, outcome: &Outcome) {
        self.inner.measured.task_ended(outcome);
    }

    /// An iteration is stored, with a line of so many bytes.
    pub fn iteration_recorded(&self, bytes: u64) {
        self.inner.measured.iterations.inc();
        self.inner.measured.record_bytes.inc_by(bytes);
    }

    /// A task that this worker held is somebody else's.
    pub fn lease_lost(&self) {
        self.inner.measured.leases_lost.inc();
    }

    /// So many tasks are in the queue again because their worker was gone.
    pub fn requeued(&self, tasks: u64) {
        self.inner.measured.requeued.inc_by(tasks);
    }

    /// So many tasks have failed because worker after worker died over them.
    pub fn given_up(&self, tasks: u64) {
        self.inner.measured.given_up(tasks);
    }

    /// The brain was asked for a step.
    pub fn brain_step(&self, outcome: BrainOutcome, took: Duration) {
        self.inner.measured.brain_steps.of(outcome as usize).observe(took.as_secs_f64());
    }

    /// A tool was called.
    pub fn tool_call(&self, called: Tool, status: ToolStatus, took: Duration) {
        self.inner.measured.tool_calls.of(called as usize).of(status as usize).observe(took.as_secs_f64());
    }

    /// A request was answered. `route` is the pattern that its path fits, never the path.
    pub fn http_request(&self, method: &str, route: &str, status: &str, took: Duration) {
        self.inner.measured.http_requests.with_label_values(&[method, route, status]).observe(took.as_secs_f64());
    }

    /// Everything as Prometheus reads it, with what was `seen` of the rest of the service just now.
    pub fn text(&self, seen: &Seen) -> String {
        let now = Registry::new();
        seen.add_to(&now);
        process::add_to(&now, self.inner.started);
        let mut families = self.inner.registry.gather();
        families.extend(now.gather());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be written down");
            String::new()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ErrorCode;

    fn metrics() -> Metrics {
        Metrics::new("1.2.3", Timestamp::from_millis(1_700_000_000_500))
    }

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = metrics();
        metrics.task_submitted();
        metrics.task_ended(&Outcome::Cancelled);
        metrics.clone().task_ended(&Outcome::failed(ErrorCode::MaxIterations, "x"));
        metrics.iteration_recorded(100);
        metrics.iteration_recorded(20);
        metrics.lease_lost();
        metrics.requeued(3);
        metrics.given_up(2);
        metrics.brain_step(BrainOutcome::Reply, Duration::from_millis(20));
        metrics.tool_call(Tool::of("no such tool"), ToolStatus::Failure, Duration::from_secs(2));
        metrics.http_request("GET", "/tasks/{id}", "404", Duration::from_micros(500));
        let text = metrics.text(&Seen::default());
        for line in [
            "codex_agent_build_info{version=\"1.2.3\"} 1",
            "codex_agent_tasks_submitted_total 1",
            "codex_agent_tasks_ended_total{status=\"cancelled\"} 1",
            "codex_agent_tasks_ended_total{status=\"failed\"} 3",
            "codex_agent_tasks_ended_total{status=\"succeeded\"} 0",
            "codex_agent_tasks_failed_total{code=\"max_iterations\"} 1",
            "codex_agent_tasks_failed_total{code=\"lost_too_often\"} 2",
            "codex_agent_tasks_failed_total{code=\"internal\"} 0",
            "codex_agent_iterations_total 2",
            "codex_agent_record_bytes_total 120",
            "codex_agent_leases_lost_total 1",
            "codex_agent_tasks_requeued_total 3",
            "codex_agent_brain_step_duration_seconds_sum{outcome=\"reply\"} 0.02",
            "codex_agent_tool_call_duration_seconds_count{status=\"failure\",tool=\"unknown\"} 1",
            "codex_agent_tool_call_duration_seconds_count{status=\"success\",tool=\"read_file\"} 0",
            "codex_agent_http_request_duration_seconds_bucket{method=\"GET\",route=\"/tasks/{id}\",status=\"404\",le=\"0.001\"} 1",
            "process_start_time_seconds 1700000000.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_was_not_seen_is_not_told() {
        let text = metrics().text(&Seen::default());
        assert!(!text.contains("codex_agent_tasks{") && !text.contains("codex_agent_database"), "{text}");
        let queue = Queue { queued: 4, running: 2, oldest_age: Duration::from_millis(1500), capacity: 8, workers: 1 };
        let seen = Seen { queue: Some(queue), database: Some(Database::Pool { idle: 3, used: 5 }) };
        let text = metrics().text(&seen);
        for line in [
            "codex_agent_tasks{status=\"queued\"} 4",
            "codex_agent_tasks{status=\"running\"} 2",
            "codex_agent_queue_oldest_age_seconds 1.5",
            "codex_agent_capacity_tasks 8",
            "codex_agent_workers 1",
            "codex_agent_database_connections{state=\"idle\"} 3",
            "codex_agent_database_connections{state=\"used\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
