//! A database as the run loop leaves it, without a brain and without tools: what they say is written down beforehand.

use codex_agent::domain::{
    ErrorCode, Json, Line, Models, Reply, SpecLimits, StopReason, TaskSpec, Timestamp, Verdict, VerdictOutcome,
};
use codex_agent::run::{Event, Machine, Phase, Write};
use codex_agent::store::{
    Claim, Claimed, Fence, LabelAnswer, NewLine, NewTask, SqliteStore, Step, Store, Submitted, Which,
};
use serde_json::{Value, json};

use crate::common::Home;

/// When the first task was accepted.
pub const FIRST: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Longer than a test.
const LEASE: std::time::Duration = std::time::Duration::from_mins(10);

/// What one task came to.
#[derive(Clone, Debug)]
pub struct Story {
    pub id: String,
    /// Besides `task_id` and `instruction`.
    pub instruction: String,
    pub options: Value,
    pub turns: Vec<Turn>,
    pub end: End,
    pub verdict: Option<VerdictOutcome>,
}

/// A tool call and what came of it, both as JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What the model wrote beside the call, as the model's brain keeps it.
    pub said: Option<String>,
    pub name: String,
    pub arguments: String,
    pub result: String,
}

/// How a task ends, after its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Finish(Option<String>),
    /// The brain gives no answer any more.
    Unreachable,
    /// The task is stopped, and the brain told so.
    Stopped(StopReason),
    /// It is cancelled before it begins.
    CancelledUnbegun,
    /// It is not over.
    Running,
    Queued,
}

impl Story {
    pub fn new(id: &str, instruction: &str) -> Self {
        Self {
            id: id.to_owned(),
            instruction: instruction.to_owned(),
            options: json!({}),
            turns: Vec::new(),
            end: End::Finish(Some(format!("What was asked for is done: {id}."))),
            verdict: None,
        }
    }

    pub fn with(mut self, option: &str, value: Value) -> Self {
        self.options[option] = value;
        self
    }

    pub fn turn(mut self, name: &str, arguments: &str, result: &str) -> Self {
        self.turns.push(Turn {
            said: None,
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result: result.to_owned(),
        });
        self
    }

    /// The last call comes with words.
    pub fn saying(mut self, words: &str) -> Self {
        self.turns.last_mut().unwrap().said = Some(words.to_owned());
        self
    }

    pub fn ends(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Somebody has looked at what came of it.
    pub fn judged(mut self, outcome: VerdictOutcome) -> Self {
        self.verdict = Some(outcome);
        self
    }

    pub fn has_ended(&self) -> bool {
        !matches!(self.end, End::Running | End::Queued)
    }

    fn posted(&self) -> Json {
        let mut posted = json!({ "task_id": self.id, "instruction": self.instruction });
        for (name, value) in self.options.as_object().unwrap() {
            posted[name] = value.clone();
        }
        Json::parse(&posted.to_string()).unwrap()
    }

    /// The reply that comes after so many calls; none if the brain is silent.
    fn reply(&self, after: usize) -> Option<Json> {
        let reply = match (self.turns.get(after), &self.end) {
            (Some(turn), _) => {
                let said = turn.said.as_ref().map(|said| format!(r#","assistant":{}"#, json!({ "content": said })));
                let (name, said) = (json!(turn.name), said.unwrap_or_default());
                format!(r#"{{"event":"tool_call","name":{name},"arguments":{}{said}}}"#, turn.arguments)
            }
            (None, End::Finish(Some(summary))) => json!({ "event": "finish", "summary": summary }).to_string(),
            (None, End::Finish(None)) => json!({ "event": "finish" }).to_string(),
            (None, _) => return None,
        };
        Some(Json::parse(&reply).unwrap())
    }
}

/// Puts the stories into the database of `home`, one after the other, each a second after the one before.
pub async fn tell(home: &Home, stories: &[Story], first: Timestamp) {
    std::fs::create_dir_all(home.output()).unwrap();
    let database = SqliteStore::open(&home.output().join("codex-agent.db"), LEASE).await.unwrap();
    for (story, seconds) in stories.iter().zip(0..) {
        let now = Timestamp::from_millis(first.millis() + seconds * 1000);
        tell_one(&database, story, now).await;
    }
    database.close().await;
}

async fn tell_one(database: &SqliteStore, story: &Story, now: Timestamp) {
    let limits = SpecLimits { default_iterations: 100, max_iterations: 200 };
    let spec = TaskSpec::parse(story.posted(), limits).unwrap();
    let id = story.id.parse::<codex_agent::domain::TaskId>().unwrap();
    let new = NewTask { id: id.clone(), idempotency_key: None, spec, now, max_queued: 1000 };
    assert!(matches!(database.submit(new).await.unwrap(), Submitted::Created(_)));
    match story.end {
        End::Queued => return,
        End::CancelledUnbegun => {
            database.request_cancel(&id, now).await.unwrap();
            return;
        }
        _ => {}
    }
    let claim = Claim { worker: "w".into(), limit: 1, which: Which::One(id), now };
    let claimed = database.claim(claim).await.unwrap().remove(0);
    run(database, story, &claimed, now).await;
    if let Some(outcome) = story.verdict {
        let verdict = Verdict { outcome: Some(outcome), reward: None, note: None, at: now };
        assert!(matches!(database.label(&claimed.fence.id, verdict).await.unwrap(), LabelAnswer::Labelled(_)));
    }
}

async fn run(database: &SqliteStore, story: &Story, claimed: &Claimed, now: Timestamp) {
    let mut machine = Machine::resume(claimed, &Models::default()).unwrap();
    let mut calls = 0;
    loop {
        let event = match machine.phase() {
            Phase::Over => return,
            Phase::Asking(_) => match (story.reply(calls), &story.end) {
                (Some(reply), _) => Event::Replied(reply),
                (None, End::Running) => return,
                (None, End::Stopped(reason)) => Event::Stopped(*reason),
                (None, _) => Event::NoReply(ErrorCode::BrainUnreachable, "connection refused".to_owned()),
            },
            Phase::Calling { .. } => {
                calls += 1;
                let result = Json::parse(&story.turns[calls - 1].result).unwrap();
                Event::ToolDone { result, tool_ms: 5, stop: None }
            }
            Phase::Aborting(..) => Event::Replied(Json::parse(r#"{"event":"ok"}"#).unwrap()),
        };
        let write = machine.on(event).unwrap();
        record(database, &claimed.fence, machine.iteration(), write, now).await;
    }
}

/// What `Runner::journal` does, without a file.
async fn record(database: &SqliteStore, fence: &Fence, iteration: u32, write: Write, now: Timestamp) {
    let usage = write.line.as_ref().and_then(|(_, reply)| reply.as_ref()).and_then(Reply::usage);
    let line = write.line.as_ref().map(|(sent, reply)| {
        let (agent_input, mcp_reply) = (&sent.payload, reply.as_ref());
        let line = Line { iteration, agent_input, mcp_reply, at: now, step_ms: 3, tool_ms: sent.tool_ms };
        NewLine { text: line.render().into(), payload: write.known.then(|| line.payload()) }
    });
    let step = Step { iteration, line, pending: write.pending, intent: None, usage, end: write.end, now };
    database.record(fence.clone(), step).await.unwrap();
}
