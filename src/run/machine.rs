//! What follows what in a run, without touching anything.

use crate::brain::excerpt;
use crate::domain::{
    ErrorCode, Exchange, Intent, Json, LineError, Models, Outcome, Payload, Reply, ReplyError, StopReason, ToolCall,
};
use crate::store::{Claimed, Pending};

/// A run between two events.
#[derive(Clone, Debug)]
pub struct Machine {
    iteration: u32,
    max_iterations: u32,
    phase: Phase,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Tell the brain, and hear what it wants.
    Asking(Pending),
    /// Run a tool.
    Calling {
        /// Which.
        call: ToolCall,
        /// How far it came already.
        begun: Begun,
    },
    /// Tell the brain that the task ends without it.
    Aborting(StopReason, Pending),
    /// Nothing: the task has ended.
    Over,
}

/// How far a call came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It was asked for just now.
    No,
    /// A worker before this one may have begun it.
    Perhaps {
        /// What it would have done, if it is an edit.
        intent: Option<Intent>,
    },
}

/// What has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The brain sent a JSON value.
    Replied(Json),
    /// The brain sent none.
    NoReply(ErrorCode, String),
    /// The tool is through; it may have been stopped.
    ToolDone {
        /// Its result.
        result: Json,
        /// How long it took, in milliseconds.
        tool_ms: u64,
        /// Why the task is to end now, if it is.
        stop: Option<StopReason>,
    },
    /// The task is to end now.
    Stopped(StopReason),
}

/// What is to be put on record before anything else is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// A new line: what was sent or was to be sent, and the reply, if one came.
    pub line: Option<(Pending, Option<Json>)>,
    /// Whether the line's payload is on record already, as what was to be sent.
    pub known: bool,
    /// What will be sent next.
    pub pending: Option<Pending>,
    /// The end.
    pub end: Option<Outcome>,
}

/// An event that cannot happen in this phase; a fault of the driver.
#[derive(Debug, thiserror::Error)]
#[error("a run cannot take {event} in the phase {phase}")]
pub struct IllegalEvent {
    phase: String,
    event: String,
}

impl Machine {
    /// A new run, or one that goes on where its record ends.
    pub fn resume(claimed: &Claimed, models: &Models) -> Result<Self, LineError> {
        let phase = match (&claimed.pending, &claimed.last_line) {
            (Some(pending), _) => match Payload::abort_reason(&pending.payload) {
                Some(reason) => Phase::Aborting(reason, pending.clone()),
                None => Phase::Asking(pending.clone()),
            },
            (None, None) => {
                let models = Some(models).filter(|models| **models != Models::default());
                Phase::Asking(pending(&Payload::Start { task: &claimed.task.posted, models }))
            }
            (None, Some(line)) => {
                // A reply without an end or a next payload is a tool call that was cut off.
                let reply = Exchange::parse(line)?.mcp_reply;
                match reply.as_ref().map(Reply::parse) {
                    Some(Ok(Reply::ToolCall(call))) => {
                        Phase::Calling { call, begun: Begun::Perhaps { intent: claimed.intent.clone() } }
                    }
                    _ => return Err(LineError::DeadEnd),
                }
            }
        };
        Ok(Self { iteration: claimed.task.iteration, max_iterations: claimed.task.max_iterations, phase })
    }

    /// What is to be done next.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The last iteration on record.
    pub fn iteration(&self) -> u32 {
        self.iteration
    }

    /// Takes an event in; what it returns is to be written before the new phase is acted on.
    pub fn on(&mut self, event: Event) -> Result<Write, IllegalEvent> {
        // The first payload comes from the task, and a result that nobody is to be told any more from its tool.
        let known = self.iteration > 0 && !matches!(self.phase, Phase::Calling { .. });
        let (write, phase) = match (std::mem::replace(&mut self.phase, Phase::Over), event) {
            (Phase::Asking(sent), Event::Replied(json)) => replied(sent, json),
            (Phase::Asking(sent), Event::NoReply(code, message)) => {
                (Write::last((sent, None), Outcome::failed(code, message)), Phase::Over)
            }
            (Phase::Asking(unsent), Event::Stopped(reason)) => abort(unsent, reason),
            (Phase::Calling { call, .. }, Event::ToolDone { result, tool_ms, stop }) => {
                let next = Pending { payload: tool_result(&call, &result), tool_ms: Some(tool_ms) };
                let used_up = (self.iteration >= self.max_iterations).then_some(StopReason::MaxIterations);
                match stop.or(used_up) {
                    Some(reason) => abort(next, reason),
                    None => (Write { pending: Some(next.clone()), ..Write::default() }, Phase::Asking(next)),
                }
            }
            (Phase::Aborting(reason, sent), Event::Replied(json)) => {
                (Write::last((sent, Some(json)), Outcome::stopped(reason)), Phase::Over)
            }
            (Phase::Aborting(reason, sent), Event::NoReply(..)) => {
                (Write::last((sent, None), Outcome::stopped(reason)), Phase::Over)
            }
            (phase, event) => {
                let illegal = IllegalEvent { phase: format!("{phase:?}"), event: format!("{event:?}") };
                self.phase = phase;
                return Err(illegal);
            }
        };
        self.iteration += u32::from(write.line.is_some());
        self.phase = phase;
        Ok(Write { known: known && write.line.is_some(), ..write })
    }
}

impl Write {
    fn last(line: (Pending, Option<Json>), outcome: Outcome) -> Self {
        Self { line: Some(line), end: Some(outcome), ..Self::default() }
    }
}

fn replied(sent: Pending, json: Json) -> (Write, Phase) {
    let failed = |code, message: String| (Outcome::failed(code, message), Phase::Over);
    let (outcome, phase) = match Reply::parse(&json) {
        Ok(Reply::ToolCall(call)) => {
            let write = Write { line: Some((sent, Some(json))), ..Write::default() };
            return (write, Phase::Calling { call, begun: Begun::No });
        }
        Ok(Reply::Finish { summary }) => (Outcome::Succeeded { summary }, Phase::Over),
        Ok(Reply::Unknown { event }) => {
            failed(ErrorCode::UnknownEvent, format!("the brain sent the event {:?}", excerpt(&event)))
        }
        Ok(Reply::Resync) => failed(
            ErrorCode::BrainProtocol,
            "the brain asked for the history of the task again after it had been given".to_owned(),
        ),
        Err(error) => failed(ErrorCode::BrainProtocol, protocol_message(&error, &json)),
    };
    (Write::last((sent, Some(json)), outcome), phase)
}

/// The payload that the brain has not answered becomes a line, so that the record has the last result; what is sent
/// instead is a line of its own.
fn abort(unsent: Pending, reason: StopReason) -> (Write, Phase) {
    let farewell = pending(&Payload::AgentAbort { reason });
    let write = Write { line: Some((unsent, None)), pending: Some(farewell.clone()), ..Write::default() };
    (write, Phase::Aborting(reason, farewell))
}

fn pending(payload: &Payload<'_>) -> Pending {
    Pending { payload: payload.to_json(), tool_ms: None }
}

fn tool_result(call: &ToolCall, result: &Json) -> Json {
    // By the protocol the arguments of an unknown tool are not told back.
    let arguments = Some(&call.arguments).filter(|_| crate::tools::is_known(&call.name));
    Payload::ToolResult { name: &call.name, arguments, result }.to_json()
}

fn protocol_message(error: &ReplyError, json: &Json) -> String {
    format!("{error}: {}", excerpt(json.as_str()))
}
