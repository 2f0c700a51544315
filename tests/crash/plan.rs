//! What a task's brain will say, made from the seed and the task's number alone: both sides of the wire can be checked.

use fastrand::Rng;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::common::brain::finish;
use crate::steps::{Drawing, Step};
use crate::trouble::{self, Trouble};

/// What a brain says that is no reply; the first few are not even JSON.
const NO_REPLIES: [&str; 8] =
    ["", "<html>busy</html>", "{\"event\":", "[1]", "{}", "{\"event\":7}", "{\"event\":\"tool_call\"}", "null"];

/// What a brain refuses with for good.
const REFUSALS: [u16; 3] = [400, 404, 422];

/// Around the deadline of the tasks that have one, in milliseconds: how long the brain thinks about one of their steps.
const HURRY: std::ops::Range<u64> = 850..1100;

/// The seed and the mixture that all tasks of a run are made from.
#[derive(Clone, Copy)]
pub struct Course {
    pub seed: u64,
    pub mix: Mix,
}

/// How much there is of what can be more or less.
#[derive(Clone, Copy)]
pub struct Mix {
    /// Commands in a thousand tool calls: they cost the most by far.
    pub commands: u32,
    /// The longest the brain thinks about a step, in milliseconds.
    pub slowness: u64,
    /// How often a client looks for something to read, in milliseconds.
    pub reads: u64,
}

/// A task's whole course.
pub struct Plan {
    pub id: String,
    pub steps: Vec<Step>,
    pub end: End,
    pub fate: Fate,
    /// The question that the brain wants the history for first.
    pub lost: Option<u64>,
    /// The question that the brain has trouble with, and what comes of its first tries.
    pub trouble: Option<(u64, Vec<Trouble>)>,
    /// The question that the brain thinks about until the deadline has nearly or just passed, in milliseconds.
    pub hurry: Option<(u64, u64)>,
}

/// How it ends if nobody interferes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Finish,
    UnknownEvent,
    MaxIterations,
    /// The brain says this, which is no reply.
    NoReply(&'static str),
    /// The brain refuses with this status.
    Refused(u16),
    /// The brain wants the history although it has been given.
    LostAgain,
    /// The brain says nothing any more.
    Silence,
}

/// What clients do to it besides.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    #[default]
    None,
    Cancel,
    Delete,
}

/// What the brain says to a question when all is well.
#[derive(PartialEq, Eq)]
pub enum Word {
    Text(String),
    Status(u16),
    Silence,
}

impl Course {
    pub fn plan(self, number: u64) -> Plan {
        let mut dice = Rng::with_seed(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let id = format!("task-{number}");
        let end = End::of(&mut dice);
        let mut drawing = Drawing::new(self.mix.commands);
        let mut steps: Vec<_> =
            (1..=dice.usize(1..7)).map(|at| drawing.step(&mut dice, &format!("{id}/{at}"), at)).collect();
        // It is not always the brain that the deadline finds at work.
        if end == End::Silence && dice.u32(0..8) == 0 {
            steps.push(Step::endless(&format!("{id}/{}", steps.len() + 1)));
        }
        let fate = match dice.u32(0..100) {
            0..20 => Fate::Cancel,
            20..35 => Fate::Delete,
            _ => Fate::None,
        };
        // The last question may be one that only a task that goes on comes to, or a farewell.
        let question = |dice: &mut Rng, percent| (dice.u32(0..100) < percent).then(|| dice.u64(1..=8));
        let questions = steps.len() as u64 + 2;
        let lost = question(&mut dice, 12).filter(|at| *at < questions);
        let trouble = question(&mut dice, 25).filter(|at| *at <= questions).map(|at| (at, trouble::some(&mut dice)));
        let hurry = question(&mut dice, 6).filter(|at| *at < questions && end != End::Silence);
        let hurry = hurry.map(|at| (at, dice.u64(HURRY)));
        Plan { id, steps, end, fate, lost, trouble, hurry }
    }
}

impl End {
    fn of(dice: &mut Rng) -> Self {
        match dice.u32(0..100) {
            0..12 => Self::UnknownEvent,
            12..28 => Self::MaxIterations,
            28..36 => Self::NoReply(dice.choice(&NO_REPLIES).unwrap()),
            36..39 => Self::Refused(*dice.choice(&REFUSALS).unwrap()),
            39..42 => Self::LostAgain,
            42..46 => Self::Silence,
            _ => Self::Finish,
        }
    }
}

impl Plan {
    /// What is posted.
    pub fn posted(&self) -> Value {
        let most = if self.end == End::MaxIterations { self.steps.len() } else { 100 };
        let mut task = json!({"instruction": "x", "task_id": self.id, "workspace": self.id, "max_iterations": most});
        if self.hurry.is_some() || self.end == End::Silence {
            task["deadline_seconds"] = 1.into();
        }
        task
    }

    /// What the brain says to the n-th question, or would say if it knew the task.
    pub fn word(&self, iteration: u64) -> Word {
        let step = usize::try_from(iteration).ok().and_then(|at| self.steps.get(at - 1));
        step.map_or_else(|| self.last(), |step| Word::Text(step.reply.to_string()))
    }

    fn last(&self) -> Word {
        match self.end {
            End::UnknownEvent => Word::Text(json!({"event": "dance"}).to_string()),
            End::NoReply(text) => Word::Text(text.to_owned()),
            End::Refused(status) => Word::Status(status),
            End::LostAgain => Word::resync(),
            End::Silence => Word::Silence,
            End::Finish | End::MaxIterations => Word::Text(finish().to_string()),
        }
    }

    /// Whether nothing comes after the n-th question.
    pub fn is_over(&self, iteration: u64) -> bool {
        iteration > self.steps.len() as u64 && self.end != End::Silence
    }

    /// Whether the brain asks for the history before it answers the n-th question.
    pub fn is_lost(&self, iteration: u64) -> bool {
        self.lost == Some(iteration) || iteration > self.steps.len() as u64 && self.end == End::LostAgain
    }

    /// Whether the task may end so, status and error's code, if nobody interferes.
    pub fn may_end(&self, status: &str, code: &str) -> bool {
        let planned = match self.end {
            End::Finish => ("succeeded", ""),
            End::UnknownEvent => ("failed", "unknown_event"),
            End::MaxIterations => ("failed", "max_iterations"),
            End::NoReply(_) | End::Refused(_) | End::LostAgain => ("failed", "brain_protocol"),
            End::Silence => ("failed", "deadline_exceeded"),
        };
        (status, code) == planned || self.hurry.is_some() && (status, code) == ("failed", "deadline_exceeded")
    }
}

impl Word {
    pub fn resync() -> Self {
        Self::Text(json!({"event": "resync"}).to_string())
    }

    /// How it stands in the task's record.
    pub fn on_record(&self) -> String {
        match self {
            Self::Text(text) if serde_json::from_str::<&RawValue>(text).is_ok() => text.clone(),
            _ => "null".to_owned(),
        }
    }
}
