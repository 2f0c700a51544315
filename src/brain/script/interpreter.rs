//! Does directives one after the other: it is fed what the tools said, in order, and tells what is to be done next.
//!
//! Nothing but the program and those results decides, so that the same history leads to the same place in any process.

use std::collections::VecDeque;

use super::act::{Act, Done, Observation, Printed};
use super::directive::{Directive, Glob, Line, Program};
use super::{search, shortened, text};
use crate::brain::StepRequest;
use crate::domain::Json;

/// Where a program stands.
pub(super) struct Interpreter<'a> {
    program: &'a [Line],
    /// The directive being done.
    at: usize,
    /// Where the next `until` goes back to.
    block: usize,
    /// How often the block is being done, from 1.
    round: usize,
    stage: Stage,
    /// How the `until` being done failed last.
    failed: Option<Printed>,
    done: Done,
}

/// What was asked for last.
enum Stage {
    /// Nothing of the directive yet.
    Begun,
    /// The names of files.
    Searching,
    /// The first of these files.
    Reading(Files),
    /// An edit of the first of these files, with so many replacements.
    Editing(Files, usize),
    Writing,
    Running,
    Checking,
}

/// The files of a `replace`.
struct Files {
    left: VecDeque<String>,
    /// Whether one of those before had the text.
    any: bool,
}

impl Program {
    /// What comes next in a task with this history.
    pub(super) fn step(&self, request: &StepRequest) -> Result<Json, String> {
        let history = request.history.as_deref().unwrap_or_default();
        if history.len() + 1 != usize::try_from(request.iteration).unwrap_or(usize::MAX) {
            return Err(format!("the history before iteration {} has {} iterations", request.iteration, history.len()));
        }
        let mut interpreter = Interpreter::new(self);
        let mut act = interpreter.begin()?;
        // The first payload is the start, which has nothing to look at.
        let observations = history.iter().map(|past| &past.agent_input).chain([&request.payload]).skip(1);
        for (at, (past, observation)) in history.iter().zip(observations).enumerate() {
            if !act.is(past.mcp_reply.as_ref()) {
                let number = at + 1;
                return Err(format!("iteration {number} on record is not what the instruction's directives lead to"));
            }
            act = interpreter.observe(&Observation::of(observation)?)?;
        }
        Ok(act.to_json())
    }
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(program: &'a Program) -> Self {
        let Program(program) = program;
        Self { program, at: 0, block: 0, round: 1, stage: Stage::Begun, failed: None, done: Done::default() }
    }

    /// What the directive whose turn it is begins with, or the end.
    pub(super) fn begin(&mut self) -> Result<Act, String> {
        let Some(line) = self.program.get(self.at) else { return Ok(Act::Finish(self.done.summary())) };
        let (stage, act) = match &line.directive {
            Directive::Replace { from, glob, .. } => {
                let command = search::command(from, glob).map_err(|error| line.failed(&error))?;
                (Stage::Searching, Act::run(&command))
            }
            Directive::Create { path, text } => (Stage::Writing, Act::write(path, text)),
            Directive::Run { command } => (Stage::Running, Act::run(command)),
            Directive::Until { command } => (Stage::Checking, Act::run(command)),
        };
        self.stage = stage;
        Ok(act)
    }

    /// The act that follows when the one before came to this.
    pub(super) fn observe(&mut self, seen: &Observation) -> Result<Act, String> {
        let Some(line) = self.program.get(self.at) else { return Err("the directives are done already".to_owned()) };
        let stage = std::mem::replace(&mut self.stage, Stage::Begun);
        let followed = match (stage, &line.directive) {
            (Stage::Searching, Directive::Replace { glob, .. }) => self.searched(seen, glob),
            (Stage::Reading(files), Directive::Replace { from, to, .. }) => self.read(files, seen, from, to),
            (Stage::Editing(files, count), _) => self.edited(files, count, seen),
            (Stage::Writing, Directive::Create { path, .. }) => seen.check().map(|()| {
                self.done.wrote(path);
                None
            }),
            (Stage::Running, _) => seen.check().map(|()| {
                self.done.ran();
                None
            }),
            (Stage::Checking, Directive::Until { command }) => return self.checked(line, command, seen),
            _ => Err("nothing was asked for".to_owned()),
        };
        if let Some(act) = followed.map_err(|error| line.failed(&error))? {
            return Ok(act);
        }
        self.at += 1;
        self.begin()
    }

    fn searched(&mut self, seen: &Observation, glob: &Glob) -> Result<Option<Act>, String> {
        if seen.is_interrupted() {
            // It only looks: once more does no harm, and the directive has come no further.
            return self.begin().map(Some);
        }
        let left = search::found(seen, glob)?.into();
        self.next_file(Files { left, any: false })
    }

    fn read(&mut self, mut files: Files, seen: &Observation, from: &str, to: &str) -> Result<Option<Act>, String> {
        let path = files.left.front().cloned().unwrap_or_default();
        let changed = seen.whole_file().and_then(|(original, sha256)| {
            let replaced = text::replaced(original, from, to)?;
            Ok(replaced.map(|(new, count)| (Act::edit(&path, &new, sha256), count)))
        });
        if let Some((act, count)) = changed.map_err(|error| of_file(&path, &error))? {
            self.stage = Stage::Editing(files, count);
            return Ok(Some(act));
        }
        files.left.pop_front();
        self.next_file(files)
    }

    fn edited(&mut self, mut files: Files, count: usize, seen: &Observation) -> Result<Option<Act>, String> {
        let path = files.left.pop_front().unwrap_or_default();
        seen.check().map_err(|error| of_file(&path, &error))?;
        self.done.replaced(&path, count);
        files.any = true;
        self.next_file(files)
    }

    fn next_file(&mut self, files: Files) -> Result<Option<Act>, String> {
        if let Some(path) = files.left.front() {
            let act = Act::read(path);
            self.stage = Stage::Reading(files);
            return Ok(Some(act));
        }
        // In a later round of an `until` the first one may have left nothing to do.
        if files.any || self.round > 1 { Ok(None) } else { Err("no file that GLOB names has the text X".to_owned()) }
    }

    fn checked(&mut self, line: &Line, command: &str, seen: &Observation) -> Result<Act, String> {
        if seen.is_success() {
            self.done.passed(command, self.round);
            (self.at, self.block, self.round, self.failed) = (self.at + 1, self.at + 1, 1, None);
            return self.begin();
        }
        // A command that was not even begun (the policy refused it, perhaps) never will be. What an interrupted one did is
        // unknown, which is what the next round is for.
        if seen.returncode.is_none() && !seen.is_interrupted() {
            return Err(line.failed(&seen.why()));
        }
        let printed = Some(seen.printed()).filter(|_| !seen.is_interrupted());
        if printed.is_some() && printed == self.failed {
            return Err(line.failed(&format!("failed twice in a row in the same way: {}", seen.why())));
        }
        (self.at, self.round, self.failed) = (self.block, self.round + 1, printed);
        self.begin()
    }
}

impl Line {
    /// What went wrong with it.
    fn failed(&self, error: &str) -> String {
        format!("line {}, `{}`: {error}", self.number, shortened(&self.directive.to_string()))
    }
}

fn of_file(path: &str, error: &str) -> String {
    // The tools name the file themselves, mostly.
    if error.starts_with(path) { error.to_owned() } else { format!("{path}: {error}") }
}

#[cfg(test)]
mod tests;
