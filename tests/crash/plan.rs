//! What a task's brain will say, made from the seed and the task's number alone: both sides of the wire can be checked.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::common::brain::{call, finish};

/// Where edits go that leave something to be counted: a line each.
pub const EDITS: &str = "edits.txt";

/// Where commands leave a line each. Nobody else writes there.
pub const RAN: &str = "ran.txt";

/// A task's whole course.
pub struct Plan {
    pub id: String,
    pub steps: Vec<Step>,
    pub end: End,
    pub fate: Fate,
}

/// A tool call and what it leaves.
pub struct Step {
    pub reply: Value,
    pub effect: Effect,
}

/// What a call leaves in the workspace if it succeeds.
pub enum Effect {
    /// Nothing, whatever it says.
    None,
    /// Nothing, for there is no such tool.
    Refused,
    /// This file with this content, or no file.
    File(String, Option<String>),
    /// This line in the commands' file.
    Ran(String),
}

/// How it ends if nobody interferes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Finish,
    UnknownEvent,
    MaxIterations,
}

/// What clients do to it besides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    None,
    Cancel,
    Delete,
}

/// The files as they are after the steps so far.
#[derive(Default)]
struct Drawing {
    lines: Vec<String>,
    aside: Option<(String, String)>,
}

impl Plan {
    pub fn of(seed: u64, number: u64) -> Self {
        let mut dice = Rng::with_seed(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let id = format!("task-{number}");
        let mut drawing = Drawing::default();
        let steps = (1..=dice.usize(1..7)).map(|at| drawing.step(&mut dice, &format!("{id}/{at}"), at)).collect();
        let end =
            *dice.choice(&[End::Finish, End::Finish, End::Finish, End::UnknownEvent, End::MaxIterations]).unwrap();
        let fate = match dice.u32(0..100) {
            0..20 => Fate::Cancel,
            20..35 => Fate::Delete,
            _ => Fate::None,
        };
        Self { id, steps, end, fate }
    }

    /// What is posted.
    pub fn posted(&self) -> Value {
        let most = if self.end == End::MaxIterations { self.steps.len() } else { 100 };
        json!({"instruction": "x", "task_id": self.id, "workspace": self.id, "max_iterations": most})
    }

    /// What the brain says to the n-th question.
    pub fn reply(&self, iteration: u64) -> Value {
        let step = usize::try_from(iteration).ok().and_then(|at| self.steps.get(at - 1));
        step.map_or_else(|| self.last(), |step| step.reply.clone())
    }

    fn last(&self) -> Value {
        if self.end == End::UnknownEvent { json!({"event": "dance"}) } else { finish() }
    }

    /// Whether nothing comes after the n-th question.
    pub fn is_over(&self, iteration: u64) -> bool {
        iteration > self.steps.len() as u64
    }

    /// The status and the error's code at the end, if nobody interferes.
    pub fn outcome(&self) -> (&'static str, &'static str) {
        match self.end {
            End::Finish => ("succeeded", ""),
            End::UnknownEvent => ("failed", "unknown_event"),
            End::MaxIterations => ("failed", "max_iterations"),
        }
    }
}

impl Drawing {
    fn step(&mut self, dice: &mut Rng, mark: &str, at: usize) -> Step {
        match dice.u32(0..20) {
            0..10 => self.edit(dice, mark, at),
            10..12 => Step { reply: call("read_file", &json!({"file_path": EDITS})), effect: Effect::None },
            12 => Step { reply: call("dance", &json!({"mark": mark})), effect: Effect::Refused },
            _ => {
                // Before the mark, behind it, or hardly any time at all.
                let pause = ["", "sleep 0.03; ", "", "sleep 0.06; "][dice.usize(0..4)];
                let behind = ["", "; sleep 0.03", "; sleep 0.06"][dice.usize(0..3)];
                let command = format!("sh -c '{pause}echo {mark} >> {RAN}{behind}'");
                Step { reply: call("run_command", &json!({"command": command})), effect: Effect::Ran(mark.to_owned()) }
            }
        }
    }

    /// Each kind of edit, made so that doing it twice shows.
    fn edit(&mut self, dice: &mut Rng, mark: &str, at: usize) -> Step {
        if let Some((path, text)) = self.aside.take_if(|_| dice.bool()) {
            let patch = format!("--- a/{path}\n+++ /dev/null\n@@ -1 +0,0 @@\n-{text}\n");
            return edited(&path, &json!({"diff_patch": patch}), None);
        }
        if dice.u32(0..6) == 0 {
            let path = format!("aside-{at}.txt");
            self.aside = Some((path.clone(), mark.to_owned()));
            let text = format!("{mark}\n");
            return edited(&path, &json!({"new_content": text}), Some(text));
        }
        let count = self.lines.len();
        let arguments = match (self.lines.last(), dice.u32(0..4)) {
            (None, _) => json!({"new_content": format!("{mark}\n")}),
            (Some(_), 0) => json!({"new_content": format!("{mark}\n"), "insert_after_line": 1_000_000}),
            (Some(last), 1) => {
                json!({"new_content": format!("{last}\n{mark}\n"), "replace_lines": [count - 1, count - 1]})
            }
            (Some(_), 2) => json!({"new_content": format!("{}\n{mark}\n", self.lines.join("\n"))}),
            (Some(last), _) => json!({"diff_patch": format!(
                "--- a/{EDITS}\n+++ b/{EDITS}\n@@ -{count} +{count},2 @@\n {last}\n+{mark}\n"
            )}),
        };
        self.lines.push(mark.to_owned());
        edited(EDITS, &arguments, Some(self.lines.join("\n") + "\n"))
    }
}

fn edited(path: &str, how: &Value, after: Option<String>) -> Step {
    let mut arguments = how.clone();
    arguments["file_path"] = path.into();
    Step { reply: call("edit_file", &arguments), effect: Effect::File(path.to_owned(), after) }
}

/// The files that a sequence of effects leaves.
pub fn files<'a>(effects: impl Iterator<Item = &'a Effect>) -> BTreeMap<&'a str, Option<&'a str>> {
    effects
        .filter_map(|effect| match effect {
            Effect::File(path, text) => Some((path.as_str(), text.as_deref())),
            _ => None,
        })
        .collect()
}
