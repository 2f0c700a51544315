//! Random events, with crashes between any two: a run comes to one legal end, and its record has no gaps.

use proptest::prelude::*;

use super::machine::{Begun, Event, Machine, Phase};
use crate::domain::{ErrorCode, Intent, Json, Line, Models, Outcome, StopReason, Task, TaskState, Timestamp, Usage};
use crate::store::{Claimed, Fence, Pending};

/// What the world does next, as far as it fits the phase.
#[derive(Clone, Debug)]
enum Next {
    Reply(&'static str),
    NoReply,
    Tool,
    ToolStopped(StopReason),
    Stop(StopReason),
    Crash,
}

const FINISH: &str = r#"{"event":"finish","summary":"s"}"#;

const REPLIES: &[&str] = &[
    r#"{"event":"tool_call","name":"read_file","arguments":{"file_path":"a"}}"#,
    r#"{"event":"tool_call","name":"edit_file","arguments":{"file_path":"a","new_content":"b"}}"#,
    r#"{"event":"tool_call","name":"nothing"}"#,
    r#"{"event":"tool_call"}"#,
    FINISH,
    r#"{"event":"resync"}"#,
    r#"{"event":"dance"}"#,
    r"[1]",
];

fn next() -> impl Strategy<Value = Next> {
    let reason = prop_oneof![Just(StopReason::Cancelled), Just(StopReason::DeadlineExceeded)];
    prop_oneof![
        8 => (0..2usize).prop_map(|n| Next::Reply(REPLIES[n])),
        4 => (0..REPLIES.len()).prop_map(|n| Next::Reply(REPLIES[n])),
        8 => Just(Next::Tool),
        3 => Just(Next::Crash),
        1 => Just(Next::NoReply),
        1 => reason.clone().prop_map(Next::Stop),
        1 => reason.prop_map(Next::ToolStopped),
    ]
}

/// What would be in the store: the lines, what waits to be sent, the end.
struct Stored {
    claimed: Claimed,
    lines: Vec<String>,
    end: Option<Outcome>,
}

impl Stored {
    fn new(max_iterations: u32) -> Self {
        let id: crate::domain::TaskId = "t".parse().unwrap();
        let task = Task {
            id: id.clone(),
            posted: Json::parse(r#"{"instruction":"x"}"#).unwrap(),
            workspace: None,
            state: TaskState::Running,
            cancel_requested: false,
            attempt: 1,
            iteration: 0,
            max_iterations,
            deadline: None,
            log_bytes: 0,
            revision: 1,
            usage: None::<Usage>,
            verdict: None,
            created_at: Timestamp::from_millis(0),
            started_at: None,
            finished_at: None,
        };
        let claimed =
            Claimed { task, fence: Fence { id, seq: 1, claim: 1 }, pending: None, last_line: None, intent: None };
        Self { claimed, lines: Vec::new(), end: None }
    }

    fn write(&mut self, machine: &Machine, write: super::Write) {
        assert!(self.end.is_none(), "something was written after the end");
        if let Some((Pending { payload, tool_ms }, reply)) = write.line {
            // What is said to be on record is.
            let pending = self.claimed.pending.as_ref().map(|pending| &pending.payload);
            assert!(!write.known || pending == Some(&payload), "{payload:?} is not on record");
            let (iteration, at) = (machine.iteration(), Timestamp::from_millis(0));
            assert_eq!(iteration as usize, self.lines.len() + 1);
            let line =
                Line { iteration, agent_input: &payload, mcp_reply: reply.as_ref(), at, step_ms: 0, tool_ms }.render();
            self.claimed.last_line = Some(line.clone());
            self.lines.push(line);
        }
        self.claimed.task.iteration = machine.iteration();
        self.claimed.pending = write.pending;
        // As the driver does: what an edit is about to do goes with its call, and goes when its result comes.
        self.claimed.intent = match machine.phase() {
            Phase::Calling { call, .. } if call.name == "edit_file" => {
                Some(Intent { before: None, after: Some(self.lines.len().to_string()), result: Json::empty_object() })
            }
            _ => None,
        };
        self.end = write.end;
    }
}

/// The event, if it can happen in this phase.
fn fits(next: &Next, phase: &Phase) -> Option<Event> {
    let json = |text| Json::parse(text).unwrap();
    let result = || json(r#"{"status":"success"}"#);
    Some(match (next, phase) {
        (Next::Reply(text), Phase::Asking(_) | Phase::Aborting(..)) => Event::Replied(json(text)),
        (Next::NoReply, Phase::Asking(_) | Phase::Aborting(..)) => {
            Event::NoReply(ErrorCode::BrainUnreachable, "gone".into())
        }
        (Next::Stop(reason), Phase::Asking(_)) => Event::Stopped(*reason),
        (Next::Tool, Phase::Calling { .. }) => Event::ToolDone { result: result(), tool_ms: 1, stop: None },
        (Next::ToolStopped(reason), Phase::Calling { .. }) => {
            Event::ToolDone { result: result(), tool_ms: 1, stop: Some(*reason) }
        }
        _ => return None,
    })
}

proptest! {
    #[test]
    fn every_run_has_one_end_and_a_record_without_gaps(
        max_iterations in 1u32..6, story in prop::collection::vec(next(), 0..60)
    ) {
        let models = Models::default();
        let mut stored = Stored::new(max_iterations);
        let mut machine = Machine::resume(&stored.claimed, &models).unwrap();
        // However the story goes on, replies and tools come in the end.
        let ending = [Next::Reply(FINISH), Next::Tool].into_iter().cycle().take(2 * max_iterations as usize + 8);
        for next in story.into_iter().chain(ending) {
            if *machine.phase() == Phase::Over {
                break;
            }
            if let Next::Crash = next {
                let before = machine.phase().clone();
                machine = Machine::resume(&stored.claimed, &models).unwrap();
                match (before, machine.phase()) {
                    (Phase::Calling { call, .. }, Phase::Calling { call: again, begun: Begun::Perhaps { intent } }) => {
                        prop_assert_eq!((&call, &stored.claimed.intent), (again, intent));
                    }
                    (before, after) => prop_assert_eq!(&before, after),
                }
            } else if let Some(event) = fits(&next, machine.phase()) {
                let write = machine.on(event).unwrap();
                stored.write(&machine, write);
            }
        }
        prop_assert_eq!(machine.phase(), &Phase::Over);
        prop_assert!(stored.end.is_some());
        // The brain is asked at most so often; then come the result nobody asked for and the farewell.
        prop_assert!(stored.lines.len() <= max_iterations as usize + 2);
        let last = stored.lines.last().unwrap();
        let stopped = !matches!(&stored.end, Some(Outcome::Succeeded { .. })) && last.contains("agent_abort");
        let expected = match &stored.end {
            Some(Outcome::Cancelled) => true,
            Some(Outcome::Failed(error)) => {
                matches!(error.code, ErrorCode::MaxIterations | ErrorCode::DeadlineExceeded)
            }
            _ => false,
        };
        prop_assert_eq!(stopped, expected);
    }
}
