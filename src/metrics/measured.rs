//! What is counted and timed as it happens.
//!
//! Every series is made at the start, at zero: then the first failure is an increase that an alert sees, and to count
//! is one addition, without a look for the name. Only requests have series that come when they are needed.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::each::Each;
use super::labels::{BrainOutcome, Tool, ToolStatus};
use crate::domain::{ErrorCode, Outcome, Status};

/// How a task can end, and the places of these.
const ENDS: [Status; 3] = [Status::Succeeded, Status::Failed, Status::Cancelled];
const SUCCEEDED: usize = 0;
const FAILED: usize = 1;
const CANCELLED: usize = 2;

/// From a brain in the process to one that is slow and asked again until `MCP_TIMEOUT` and `MCP_RETRIES` are used up.
const BRAIN_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0];

/// From a file in the cache to a command at `CMD_TIMEOUT_MAX`; `CMD_TIMEOUT` is 20 if nothing is said.
const TOOL_SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0];

/// From a status out of memory to the longest `wait` there is.
const HTTP_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

pub(super) struct Measured {
    pub(super) submitted: IntCounter,
    pub(super) iterations: IntCounter,
    pub(super) record_bytes: IntCounter,
    pub(super) leases_lost: IntCounter,
    pub(super) requeued: IntCounter,
    pub(super) brain_steps: Each<Histogram>,
    pub(super) tool_calls: Each<Each<Histogram>>,
    pub(super) http_requests: HistogramVec,
    ended: Each<IntCounter>,
    failed: Each<IntCounter>,
}

impl Measured {
    pub(super) fn in_registry(registry: &Registry, version: &str) -> Self {
        let made = Made { registry };
        made.build_info(version);
        let ended = made.counters("tasks_ended_total", "Tasks that have ended, by how.", "status");
        let failed = made.counters("tasks_failed_total", "Tasks that have failed, by the error's code.", "code");
        let brain_steps = made.histograms(
            "brain_step_duration_seconds",
            "How long the brain took over a step, tries included, by what came of it.",
            &["outcome"],
            BRAIN_SECONDS,
        );
        let tool_calls = made.histograms(
            "tool_call_duration_seconds",
            "How long a tool took, by its result's status; tools that there are not are one.",
            &["tool", "status"],
            TOOL_SECONDS,
        );
        let statuses = || ToolStatus::ALL.iter().map(|status| status.as_str());
        Self {
            submitted: made.counter("tasks_submitted_total", "New tasks that were accepted."),
            iterations: made.counter("iterations_total", "Iterations that were put on record."),
            record_bytes: made.counter("record_bytes_total", "Bytes of the records' lines."),
            leases_lost: made.counter("leases_lost_total", "Tasks of this worker that another one took over."),
            requeued: made
                .counter("tasks_requeued_total", "Tasks put back in the queue because their worker was gone."),
            brain_steps: Each::new(BrainOutcome::ALL.iter().map(|outcome| outcome.as_str()), |outcome| {
                brain_steps.with_label_values(&[outcome])
            }),
            tool_calls: Each::new(Tool::ALL.iter().map(|tool| tool.as_str()), |tool| {
                Each::new(statuses(), |status| tool_calls.with_label_values(&[tool, status]))
            }),
            http_requests: made.histograms(
                "http_request_duration_seconds",
                "How long a request took to the head of its answer, by the pattern of its path.",
                &["method", "route", "status"],
                HTTP_SECONDS,
            ),
            ended: Each::new(ENDS.iter().map(|status| status.as_str()), |status| ended.with_label_values(&[status])),
            failed: Each::new(ErrorCode::ALL.iter().map(|code| code.as_str()), |code| {
                failed.with_label_values(&[code])
            }),
        }
    }

    pub(super) fn task_ended(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Succeeded { .. } => self.ended.of(SUCCEEDED).inc(),
            Outcome::Failed(error) => self.tasks_failed(error.code, 1),
            Outcome::Cancelled => self.ended.of(CANCELLED).inc(),
        }
    }

    pub(super) fn given_up(&self, tasks: u64) {
        self.tasks_failed(ErrorCode::LostTooOften, tasks);
    }

    fn tasks_failed(&self, code: ErrorCode, tasks: u64) {
        self.failed.of(code as usize).inc_by(tasks);
        self.ended.of(FAILED).inc_by(tasks);
    }
}

/// What is made is in the registry.
pub(super) struct Made<'a> {
    pub(super) registry: &'a Registry,
}

#[expect(clippy::expect_used, reason = "names and labels are constants, and a test makes every one of them")]
impl Made<'_> {
    /// What `make` says of a name of ours.
    pub(super) fn made<M: Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let made = made.expect("a lawful name");
        self.registry.register(Box::new(made.clone())).expect("a name that is there once");
        made
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.made(IntCounter::with_opts(opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        self.made(IntCounterVec::new(opts(name, help), &[label]))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.made(HistogramVec::new(opts, labels))
    }

    fn build_info(&self, version: &str) {
        let info = IntGaugeVec::new(opts("build_info", "1; the label says which program this is."), &["version"]);
        self.made(info).with_label_values(&[version]).set(1);
    }
}

/// A metric of this service.
pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("codex_agent")
}
