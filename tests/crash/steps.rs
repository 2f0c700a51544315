//! The tool calls of a plan, made so that doing one twice shows, and what they leave.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::common::brain::call;

/// Where edits go that leave something to be counted: a line each.
pub const EDITS: &str = "edits.txt";

/// Where commands leave a line each. Nobody else writes there.
pub const RAN: &str = "ran.txt";

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

/// The files as they are after the steps so far.
pub struct Drawing {
    /// Commands in a thousand calls.
    commands: u32,
    lines: Vec<String>,
    aside: Option<(String, String)>,
}

impl Step {
    /// A command that leaves its line and then goes on beyond every deadline here.
    pub fn endless(mark: &str) -> Self {
        Self::command(mark, "", "; sleep 60")
    }

    fn command(mark: &str, before: &str, behind: &str) -> Self {
        let command = format!("sh -c '{before}echo {mark} >> {RAN}{behind}'");
        Self { reply: call("run_command", &json!({"command": command})), effect: Effect::Ran(mark.to_owned()) }
    }
}

impl Drawing {
    pub fn new(commands: u32) -> Self {
        Self { commands, lines: Vec::new(), aside: None }
    }

    pub fn step(&mut self, dice: &mut Rng, mark: &str, at: usize) -> Step {
        if dice.u32(0..1000) < self.commands {
            // Before the mark, behind it, or hardly any time at all.
            let before = ["", "sleep 0.03; ", "", "sleep 0.06; "][dice.usize(0..4)];
            let behind = ["", "; sleep 0.03", "; sleep 0.06"][dice.usize(0..3)];
            return Step::command(mark, before, behind);
        }
        match dice.u32(0..13) {
            0 | 1 => Step { reply: call("read_file", &json!({"file_path": EDITS})), effect: Effect::None },
            2 => Step { reply: call("dance", &json!({"mark": mark})), effect: Effect::Refused },
            _ => self.edit(dice, mark, at),
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
