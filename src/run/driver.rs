//! Does what the machine decided, and tells it what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::journal::Entry;
use super::machine::{Begun, Event, IllegalEvent, Machine, Phase, Write};
use super::measure;
use crate::brain::{Brain, BrainError, StepRequest};
use crate::domain::{Clock, Intent, Json, LineError, Models, Reply, StopReason, Task, ToolCall, millis};
use crate::kill_point::kill_point;
use crate::metrics::{Metrics, Tool, ToolStatus};
use crate::recorder::{RecordError, Recorder};
use crate::store::{Claimed, Fence, Pending, Store, StoreError};
use crate::tools::{self, Intentions, Plan, ToolResult, Toolbox};

/// How long the brain may take over an `agent_abort`: its answer changes nothing, and somebody waits for the end.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a brain is told of a call that a worker did not live to see the end of: it is never repeated silently.
const INTERRUPTED: &str = "interrupted: the worker stopped during this call, its effects are unknown";

/// What stands in place of a result when a stop came before the tool was started.
const NOT_BEGUN: &str = "stopped before the call was begun: it had no effect";

/// Runs tasks, one call of [`Runner::run`] each.
pub struct Runner {
    pub(super) store: Arc<dyn Store>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) models: Models,
    pub(super) tools: Json,
    pub(super) metrics: Metrics,
    brain: Arc<dyn Brain>,
    toolbox: Arc<Toolbox>,
}

/// What a runner is made of.
pub struct RunSettings {
    /// Where steps are kept.
    pub store: Arc<dyn Store>,
    /// Where records are kept.
    pub recorder: Arc<Recorder>,
    /// Who decides.
    pub brain: Arc<dyn Brain>,
    /// Who acts.
    pub toolbox: Arc<Toolbox>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What the brain is told of.
    pub models: Models,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// How a run is told to stop.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// The task is to be cancelled.
    pub cancel: CancellationToken,
    /// The worker stops: hand the task back at the next rest.
    pub drain: CancellationToken,
    /// The worker stops now, or has lost the task: leave everything as it is on record.
    pub halt: CancellationToken,
}

/// Why a run went no further. The task is not lost: it is on record, and taken up again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The step could not be recorded.
    #[error("a step could not be recorded")]
    Store(#[source] StoreError),
    /// The record's file could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record in the store cannot be read.
    #[error(transparent)]
    Line(LineError),
    /// A fault of ours.
    #[error(transparent)]
    Machine(#[from] IllegalEvent),
}

/// Why something is broken off.
enum Stop {
    Task(StopReason),
    Worker,
}

/// One task being run.
struct Run<'a> {
    runner: &'a Runner,
    task: &'a Task,
    fence: &'a Fence,
    signals: &'a Signals,
    deadline: Option<tokio::time::Instant>,
}

impl Runner {
    /// A runner of these parts.
    pub fn new(settings: RunSettings) -> Self {
        let RunSettings { store, recorder, brain, toolbox, clock, models, metrics } = settings;
        Self { store, recorder, clock, models, tools: tools::schemas(), metrics, brain, toolbox }
    }

    /// Takes a task as far as it goes: to its end, or to where a signal stops it.
    pub async fn run(&self, claimed: &Claimed, signals: &Signals) -> Result<(), RunError> {
        let (task, fence) = (&claimed.task, &claimed.fence);
        if task.cancel_requested {
            signals.cancel.cancel();
        }
        if task.iteration > 0 {
            self.distrust_file(&task.id).await;
            self.refresh_of(task).await;
        } else {
            self.recorder.begin(&task.id).await;
        }
        let left = task.deadline.map(|deadline| {
            let started = task.started_at.unwrap_or(task.created_at);
            deadline.saturating_sub(self.clock.now().since(started))
        });
        let deadline = left.map(|left| tokio::time::Instant::now() + left);
        let run = Run { runner: self, task, fence, signals, deadline };
        let mut machine = Machine::resume(claimed, &self.models).map_err(RunError::Line)?;
        tracing::info!(task = %task.id, attempt = task.attempt, iteration = task.iteration, "running");
        run.drive(&mut machine).await
    }
}

impl Run<'_> {
    async fn drive(&self, machine: &mut Machine) -> Result<(), RunError> {
        // An edit that was asked for just now, worked out; what it is about to do went on record with the reply.
        let mut plan = None;
        loop {
            // A call that was asked for just now is still made: nobody could tell later that it had not begun.
            let at_rest = matches!(machine.phase(), Phase::Asking(_) | Phase::Aborting(..));
            if at_rest && self.signals.drain.is_cancelled() {
                return self.hand_back().await;
            }
            let started = Instant::now();
            let asked = !matches!(machine.phase(), Phase::Calling { .. });
            let event = match machine.phase().clone() {
                Phase::Over => return Ok(()),
                Phase::Asking(pending) => self.ask(&pending, machine.iteration() + 1).await?,
                Phase::Aborting(_, pending) => {
                    let event = self.abort(&pending, machine.iteration() + 1).await;
                    kill_point("abort-answered");
                    event
                }
                Phase::Calling { call, begun } => {
                    // Boxed: four kilobytes that a task would keep while its brain thinks.
                    let calling = Box::pin(self.call(&call, begun, plan.take(), machine.iteration()));
                    Some(calling.await?)
                }
            };
            let Some(event) = event else { return self.hand_back().await };
            let heard = measure::heard(&event);
            let write = machine.on(event)?;
            // A tool's time is not the brain's.
            let step = if asked { started.elapsed() } else { Duration::ZERO };
            if asked {
                self.runner.metrics.brain_step(measure::judged(heard, &write), step);
            }
            if let Some(outcome) = &write.end {
                // Without what was said at the end: it may be megabytes, and is on record.
                let code = outcome.error().map(|error| error.code.as_str());
                let status = outcome.status();
                tracing::info!(task = %self.task.id, iteration = machine.iteration(), %status, code, "ended");
            }
            if let Phase::Calling { call, .. } = machine.phase() {
                plan = self.runner.toolbox.plan(self.task.workspace.as_deref(), call).await;
            }
            let entry = Entry {
                write,
                intent: plan.as_ref().and_then(Plan::intent).cloned(),
                iteration: machine.iteration(),
                step,
            };
            let recorded = self.runner.journal(self.fence, entry, &self.signals.halt).await?;
            kill_point(if asked { "line-written" } else { "result-recorded" });
            if recorded.cancel_requested {
                self.signals.cancel.cancel();
            }
        }
    }

    async fn hand_back(&self) -> Result<(), RunError> {
        tracing::info!(task = %self.task.id, "handed back");
        self.runner.hand_back(self.fence, &self.signals.halt).await
    }

    /// `None`: the worker stops, and the question will be asked again with the same key.
    async fn ask(&self, pending: &Pending, iteration: u32) -> Result<Option<Event>, RunError> {
        let answered = tokio::select! {
            biased;
            stop = self.stop() => return Ok(match stop {
                Stop::Task(reason) => Some(Event::Stopped(reason)),
                Stop::Worker => None,
            }),
            answered = self.ask_with_history(pending, iteration) => answered?,
        };
        kill_point("reply-received");
        Ok(Some(match answered {
            Ok(json) => Event::Replied(json),
            Err(error) => Event::NoReply(error.code(), error.to_string()),
        }))
    }

    /// A brain that has lost the task gets its history, once.
    async fn ask_with_history(&self, pending: &Pending, iteration: u32) -> Result<Result<Json, BrainError>, RunError> {
        let mut request = self.request(pending, iteration);
        let answered = self.runner.brain.step(&request).await;
        if answered.as_ref().is_ok_and(|json| matches!(Reply::parse(json), Ok(Reply::Resync))) {
            // Some ask at every step, so as to keep nothing.
            tracing::debug!(task = %self.task.id, iteration, "the brain asks for the task's history");
            request.history = Some(self.runner.history(&self.task.id, &self.signals.halt).await?);
            return Ok(self.runner.brain.step(&request).await);
        }
        Ok(answered)
    }

    async fn abort(&self, pending: &Pending, iteration: u32) -> Option<Event> {
        let request = self.request(pending, iteration);
        let no_reply = |message: &str| Event::NoReply(crate::domain::ErrorCode::BrainUnreachable, message.to_owned());
        tokio::select! {
            biased;
            () = self.signals.halt.cancelled() => None,
            answered = tokio::time::timeout(ABORT_TIMEOUT, self.runner.brain.step(&request)) => Some(match answered {
                Ok(Ok(json)) => Event::Replied(json),
                Ok(Err(error)) => no_reply(&error.to_string()),
                Err(_) => no_reply("no reply in time"),
            }),
        }
    }

    fn request(&self, pending: &Pending, iteration: u32) -> StepRequest {
        StepRequest {
            task_id: self.task.id.clone(),
            iteration,
            payload: pending.payload.clone(),
            task: self.task.posted.clone(),
            history: None,
        }
    }

    async fn call(&self, call: &ToolCall, begun: Begun, plan: Option<Plan>, iteration: u32) -> Result<Event, RunError> {
        let at_once = |result, stop| Event::ToolDone { result, tool_ms: 0, stop };
        if let Begun::Perhaps { intent } = begun {
            if !tools::is_repeatable(&call.name) {
                return Ok(at_once(tools::failure(INTERRUPTED), None));
            }
            if let Some(intent) = intent
                && let Some(told) = self.runner.toolbox.settle(self.task.workspace.as_deref(), call, intent).await
            {
                return Ok(at_once(told, None));
            }
        }
        if let Some(stop) = self.stop().now_or_never() {
            let stop = match stop {
                Stop::Task(reason) => Some(reason),
                Stop::Worker => None,
            };
            return Ok(at_once(tools::failure(NOT_BEGUN), stop));
        }
        self.runner.hold(self.fence, &self.signals.halt).await?;
        let stop_tool = CancellationToken::new();
        let on_record = OnRecord { run: self, iteration };
        let calling = self.runner.toolbox.call(self.task.workspace.as_deref(), call, plan, &on_record, &stop_tool);
        tokio::pin!(calling);
        let (done, stopped) = tokio::select! {
            done = &mut calling => (done, None),
            stop = self.stop() => {
                stop_tool.cancel();
                (calling.await, Some(stop))
            }
            // Others may have the task by now, and begin what comes next in the same workspace.
            () = self.runner.store.hold_ends(self.fence) => {
                tracing::warn!(task = %self.task.id, "the call is stopped: the hold on the task has run out");
                stop_tool.cancel();
                (calling.await, Some(Stop::Worker))
            }
        };
        let done = done?;
        let status = if done.succeeded() { ToolStatus::Success } else { ToolStatus::Failure };
        self.runner.metrics.tool_call(Tool::of(&call.name), status, done.took);
        let ToolResult { result, took, cut_off } = done;
        let (result, stop) = match stopped {
            Some(Stop::Task(reason)) => (result, Some(reason)),
            // To the brain it is as if the worker had died.
            Some(Stop::Worker) if cut_off => (tools::failure(INTERRUPTED), None),
            None | Some(Stop::Worker) => (result, None),
        };
        Ok(Event::ToolDone { result, tool_ms: millis(took), stop })
    }

    /// Returns when the task or the worker has to stop.
    async fn stop(&self) -> Stop {
        let deadline = async {
            match self.deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.signals.cancel.cancelled() => Stop::Task(StopReason::Cancelled),
            () = self.signals.halt.cancelled() => Stop::Worker,
            () = deadline => Stop::Task(StopReason::DeadlineExceeded),
        }
    }
}

/// Puts edits on record that are worked out after their call was.
struct OnRecord<'a> {
    run: &'a Run<'a>,
    iteration: u32,
}

impl Intentions for OnRecord<'_> {
    type Error = RunError;

    async fn record(&self, intent: Intent) -> Result<(), RunError> {
        let (iteration, step) = (self.iteration, Duration::ZERO);
        let entry = Entry { write: Write::default(), intent: Some(intent), iteration, step };
        self.run.runner.journal(self.run.fence, entry, &self.run.signals.halt).await?;
        Ok(())
    }
}
