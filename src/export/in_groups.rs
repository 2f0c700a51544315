//! Attempts at the same thing against each other, group by group.
//!
//! Two passes: the first looks at all tasks and notes which group each is in; the second goes through the groups and reads
//! the records. Of a group, a few attempts that went well are in hand at a time, and each of the others is compared with them.

use sha2::{Digest, Sha256};

use super::chat::Message;
use super::in_order::done;
use super::pairs::{Pair, parting, repairs};
use super::prepare::{Workshop, half};
use super::read::{Found, Item, Reader, life};
use super::redact;
use super::select::{Reason, Selection, group, instruction};
use super::sink::{Sink, Split};
use super::state::{Source, State, Written};
use super::trajectory::Trajectory;
use super::{Export, ExportError, Progress};
use crate::domain::{ErrorCode, Outcome, Task, TaskError, VerdictOutcome};
use crate::store::{Cursor, Member, Scratch};

/// How many attempts of a group that went well others are compared with, the first ones: more of them rarely part elsewhere.
const MODELS: usize = 16;

/// How many bytes their records have together at most.
const MODEL_BYTES: u64 = 16 * 1024 * 1024;

/// Members of a group asked for at a time.
const SOME: u32 = 64;

/// Marks a group in which somebody is new.
const NEW: &[u8] = b"new";

pub(super) fn export(
    export: &Export,
    workshop: &Workshop,
    known: Option<Scratch>,
    state: &mut State,
    sink: &mut dyn Sink,
    progress: Progress<'_>,
) -> Result<(), ExportError> {
    let last = done(export.ask(|| export.archive.last_place())?.0);
    let selection = Selection::new(&export.options);
    let reader = Reader { export, selection: &selection, known: None };
    let mut pass = Pass { workshop, reader: &reader, known, families: Scratch::new()?, state, sink };

    let mut failed = None;
    reader.all(|items, place| {
        failed = items.into_iter().try_for_each(|item| pass.sort(&item)).err();
        progress(done(place.0) / 2, last);
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)?;

    let (mut family, mut compared) = (None, 0);
    while let Some(next) = pass.families.group_after(family.as_deref())? {
        if pass.families.noted(&[NEW, &next].concat())?.is_some() {
            compared += pass.compare(&next)?;
        }
        progress(last / 2 + (compared / 2).min(last / 2), last);
        family = Some(next);
    }
    progress(last, last);
    Ok(())
}

struct Pass<'a> {
    workshop: &'a Workshop,
    reader: &'a Reader<'a>,
    /// What was exported before.
    known: Option<Scratch>,
    families: Scratch,
    state: &'a mut State,
    sink: &'a mut dyn Sink,
}

/// An attempt whose record has been read.
struct Attempt {
    place: Cursor,
    task: Task,
    good: Option<bool>,
    known: bool,
    group: [u8; 16],
    trajectory: Trajectory,
    messages: Vec<Message>,
    redacted: redact::Found,
    written: Written,
    /// Whether it is in any pair.
    used: bool,
    /// Why pairs of it were left out, the last reason.
    but: Option<Reason>,
}

impl Pass<'_> {
    /// First pass: puts a task in its group.
    fn sort(&mut self, item: &Item) -> Result<(), ExportError> {
        let known = item.task.as_ref().map(|task| self.is_known(task)).transpose()?.unwrap_or(false);
        match (&item.found, &item.task) {
            // What is in the data stays there, whatever is thought of it by now.
            (Found::Rejected(_), _) if known => Ok(()),
            (Found::Rejected(reason), _) => {
                let reason = self.workshop.told(reason.clone());
                self.state.rejected(self.sink, &item.id, &reason)
            }
            (Found::Record(_), None) => self.state.rejected(self.sink, &item.id, &Reason::Gone),
            (Found::Record(_), Some(task)) => {
                let group = self.group(task);
                if !known {
                    self.families.note(&[NEW, &group].concat(), "")?;
                }
                Ok(self.families.join(&group, Member { place: item.place, good: quality(task) })?)
            }
        }
    }

    /// Second pass: compares the attempts of a group; how many there are.
    fn compare(&mut self, family: &[u8]) -> Result<u64, ExportError> {
        let mut models = self.models(family)?;
        for model in &mut models {
            self.repaired(model)?;
        }
        let (mut after, mut compared) = (Cursor::default(), 0);
        loop {
            let members = self.families.members(family, after, SOME)?;
            let Some(last) = members.last() else { break };
            after = last.place;
            compared += members.len() as u64;
            for member in members {
                if models.iter().any(|model| model.place == member.place) {
                    continue;
                }
                let Some(mut attempt) = self.attempt(member)? else { continue };
                self.repaired(&mut attempt)?;
                if attempt.good == Some(false) {
                    self.against(&mut attempt, &mut models)?;
                }
                self.concluded(attempt)?;
            }
        }
        for model in models {
            self.concluded(model)?;
        }
        Ok(compared)
    }

    /// The first attempts that went well.
    fn models(&mut self, family: &[u8]) -> Result<Vec<Attempt>, ExportError> {
        let (mut models, mut after, mut bytes) = (Vec::new(), Cursor::default(), 0);
        loop {
            let members = self.families.members(family, after, SOME)?;
            let Some(last) = members.last() else { return Ok(models) };
            after = last.place;
            for member in members.into_iter().filter(|member| member.good == Some(true)) {
                let Some(model) = self.attempt(member)? else { continue };
                bytes += model.task.log_bytes;
                if models.len() == MODELS || (bytes > MODEL_BYTES && !models.is_empty()) {
                    return Ok(models);
                }
                models.push(model);
            }
        }
    }

    /// Reads the record of a member; nothing if it cannot be an attempt, which is noted the first time that this is asked.
    fn attempt(&mut self, member: Member) -> Result<Option<Attempt>, ExportError> {
        let item = self.reader.one(member.place)?;
        let Some(Item { id, task: Some(task), found, .. }) = item else { return Ok(None) };
        let known = self.is_known(&task)?;
        let read = match found {
            Found::Rejected(reason) => Err(self.workshop.told(reason)),
            Found::Record(lines) => self.workshop.read(&lines),
        };
        let read = read.and_then(|read| Ok((self.workshop.messages(&read.trajectory)?, read)));
        match read {
            Ok((messages, read)) => Ok(Some(Attempt {
                place: member.place,
                good: member.good,
                known,
                group: self.group(&task),
                task,
                trajectory: read.trajectory,
                messages,
                redacted: read.redacted,
                written: Written::default(),
                used: false,
                but: None,
            })),
            Err(reason) => {
                let told = self.families.note(format!("told {}", member.place.0).as_bytes(), "")?.is_some();
                if !known && !told {
                    self.state.rejected(self.sink, &id, &reason)?;
                }
                Ok(None)
            }
        }
    }

    /// Writes the pairs inside an attempt.
    fn repaired(&mut self, attempt: &mut Attempt) -> Result<(), ExportError> {
        if attempt.known {
            return Ok(());
        }
        for pair in repairs(&attempt.trajectory, &attempt.messages) {
            self.write(attempt, &pair)?;
        }
        Ok(())
    }

    /// Writes what an attempt that went badly should have done: as the one did that it has most in common with.
    fn against(&mut self, attempt: &mut Attempt, models: &mut [Attempt]) -> Result<(), ExportError> {
        let closest = models
            .iter_mut()
            .filter_map(|model| Some((parting(&model.messages, &attempt.messages)?, model)))
            // Of several the first.
            .max_by_key(|(pair, model)| (pair.said.len(), std::cmp::Reverse(model.place)));
        let Some((pair, model)) = closest else { return Ok(()) };
        if attempt.known && model.known {
            return Ok(());
        }
        // The row is the new one's.
        if attempt.known {
            self.write(model, &pair)?;
        } else if self.write(attempt, &pair)? {
            model.used = true;
        }
        Ok(())
    }

    /// Writes a pair as the attempt's; whether it was taken.
    fn write(&mut self, attempt: &mut Attempt, pair: &Pair) -> Result<bool, ExportError> {
        let row = match self.workshop.preference(&pair.said, &pair.better, &pair.worse) {
            Ok(row) => row,
            Err(reason) => {
                attempt.but = Some(reason);
                return Ok(false);
            }
        };
        let fingerprint = fingerprint(&row.text);
        if let Some(reason) = self.state.admit(&Source { fingerprint, ..attempt.source() })? {
            attempt.but = Some(reason);
            return Ok(false);
        }
        let split = self.split(attempt);
        self.state.row(self.sink, split, &row, &mut attempt.written)?;
        attempt.used = true;
        Ok(true)
    }

    /// Notes what has become of an attempt.
    fn concluded(&mut self, attempt: Attempt) -> Result<(), ExportError> {
        if attempt.known {
            return Ok(());
        }
        if !attempt.used {
            let reason = attempt.but.unwrap_or(Reason::NoPair);
            return self.state.rejected(self.sink, &attempt.task.id, &reason);
        }
        self.state.redacted(&attempt.redacted);
        self.state.exported(self.sink, &attempt.source(), attempt.written)
    }

    fn split(&self, attempt: &Attempt) -> Split {
        self.state.split(attempt.group)
    }

    fn group(&self, task: &Task) -> [u8; 16] {
        group(&task.posted, &self.workshop.clean(&instruction(&task.posted)))
    }

    fn is_known(&self, task: &Task) -> Result<bool, ExportError> {
        let Some(known) = &self.known else { return Ok(false) };
        Ok(known.noted(life(&task.id, task.created_at).as_bytes())?.is_some())
    }
}

impl Attempt {
    fn source(&self) -> Source<'_> {
        let fingerprint = super::prepare::fingerprint(&self.trajectory);
        Source { id: &self.task.id, created_at: self.task.created_at, group: self.group, fingerprint }
    }
}

/// How an attempt went: as somebody has said, or else as it ended. What ended for a reason that is none of the model's went
/// neither well nor badly, and is compared with nothing; calls in it may have been repaired all the same.
fn quality(task: &Task) -> Option<bool> {
    if let Some(outcome) = task.verdict.as_ref().and_then(|verdict| verdict.outcome) {
        return Some(outcome == VerdictOutcome::Accepted);
    }
    match task.state.outcome()? {
        Outcome::Succeeded { .. } => Some(true),
        Outcome::Failed(TaskError { code, .. }) => match code {
            ErrorCode::MaxIterations | ErrorCode::UnknownEvent | ErrorCode::BrainProtocol => Some(false),
            ErrorCode::BrainUnreachable
            | ErrorCode::DeadlineExceeded
            | ErrorCode::LostTooOften
            | ErrorCode::Internal => None,
        },
        Outcome::Cancelled => None,
    }
}

/// The same for two rows that are the same.
pub(super) fn fingerprint(row: &str) -> [u8; 16] {
    half(Sha256::new().chain_update(row))
}
