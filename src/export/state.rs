//! What an export knows of the tasks that it has been through: which groups are full, what is a duplicate, how much it is.

use sha2::{Digest, Sha256};

use super::options::{Options, Purpose};
use super::parent::Parent;
use super::prepare::Row;
use super::read::life;
use super::redact;
use super::select::Reason;
use super::sink::{Entry, Place, Rejected, Sink, Split};
use super::totals::{Count, Totals};
use super::{ExportError, in_groups};
use crate::domain::{TaskId, Timestamp, hex};
use crate::store::Scratch;

/// It grows with the number of tasks on disk alone.
pub(super) struct State {
    dedupe: bool,
    max_per_group: Option<u64>,
    validation_percent: u8,
    seen: Scratch,
    totals: Totals,
    tasks: Sha256,
}

/// Who gives a row.
pub(super) struct Source<'a> {
    pub(super) id: &'a TaskId,
    pub(super) created_at: Timestamp,
    pub(super) group: [u8; 16],
    pub(super) fingerprint: [u8; 16],
}

/// The rows of one task, as they lie in the data.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) first: Option<Place>,
    pub(super) count: Count,
}

impl State {
    /// With what the parent has, if there is one.
    pub(super) fn new(options: &Options, parent: Option<&Parent>) -> Result<Self, ExportError> {
        let mut state = Self {
            dedupe: options.dedupe,
            max_per_group: options.max_per_group.map(u64::from),
            validation_percent: options.validation_percent,
            seen: Scratch::new()?,
            totals: Totals::default(),
            tasks: Sha256::new(),
        };
        let pairs = options.format.purpose() == Purpose::Preference;
        if let Some(parent) = parent {
            let totals = &mut state.totals;
            (totals.whole, totals.splits, totals.redacted) = (parent.whole(), parent.splits(), parent.redacted());
            totals.rows_too_long = parent.rows_too_long();
            for entry in parent.entries()? {
                let entry = entry?;
                state.tasks.update(entry.life() + "\n");
                // Of preferences it is rows that are counted, and told apart.
                let more = if pairs { entry.rows } else { 1 };
                state.seen.count(&key(b'g', entry.group.as_bytes()), more)?;
                if !pairs {
                    state.seen.note(&key(b'f', entry.fingerprint.as_bytes()), &entry.task_id)?;
                }
            }
            if pairs && options.dedupe {
                parent.each_row(|row| {
                    let fingerprint = hex(&in_groups::fingerprint(row));
                    Ok(state.seen.note(&key(b'f', fingerprint.as_bytes()), "an earlier export").map(drop)?)
                })?;
            }
        }
        Ok(state)
    }

    /// Whether another row, or task, of this group and this content is taken; why not. It counts if it is.
    pub(super) fn admit(&self, source: &Source<'_>) -> Result<Option<Reason>, ExportError> {
        let fingerprint = key(b'f', hex(&source.fingerprint).as_bytes());
        if self.dedupe
            && let Some(first) = self.seen.noted(&fingerprint)?
        {
            return Ok(Some(Reason::Duplicate(first)));
        }
        if let Some(most) = self.max_per_group
            && self.seen.count(&key(b'g', hex(&source.group).as_bytes()), 1)? > most
        {
            return Ok(Some(Reason::Group));
        }
        if self.dedupe {
            self.seen.note(&fingerprint, source.id.as_str())?;
        }
        Ok(None)
    }

    /// Which part of the data a group is in, for good.
    pub(super) fn split(&self, group: [u8; 16]) -> Split {
        Split::of(group, self.validation_percent)
    }

    /// Writes a row.
    pub(super) fn row(
        &mut self,
        sink: &mut dyn Sink,
        split: Split,
        row: &Row,
        written: &mut Written,
    ) -> Result<(), ExportError> {
        let place = sink.row(split, &row.text)?;
        written.first = written.first.or(Some(place));
        written.count.add(Count { tasks: 0, rows: 1, tokens: row.tokens, bytes: row.text.len() as u64 });
        Ok(self.seen.number(row.tokens)?)
    }

    /// Notes that a task is in the data.
    pub(super) fn exported(
        &mut self,
        sink: &mut dyn Sink,
        source: &Source<'_>,
        written: Written,
    ) -> Result<(), ExportError> {
        let split = self.split(source.group);
        let count = Count { tasks: 1, ..written.count };
        let totals = &mut self.totals;
        for sum in [&mut totals.whole, &mut totals.new, totals.splits.entry(split).or_default()] {
            sum.add(count);
        }
        self.tasks.update(life(source.id, source.created_at));
        self.tasks.update("\n");
        sink.exported(&Entry {
            task_id: source.id.to_string(),
            created_at: source.created_at.to_string(),
            split,
            file: written.first.map(|place| place.file(split)),
            line: written.first.map(|place| place.line),
            rows: count.rows,
            tokens: count.tokens,
            group: hex(&source.group),
            fingerprint: hex(&source.fingerprint),
        })
    }

    /// Notes that a task is left out.
    pub(super) fn rejected(&mut self, sink: &mut dyn Sink, id: &TaskId, reason: &Reason) -> Result<(), ExportError> {
        *self.totals.rejected.entry(reason.word()).or_default() += 1;
        sink.rejected(&Rejected { task_id: id.as_str(), reason: reason.word(), detail: reason.detail() })
    }

    pub(super) fn redacted(&mut self, found: &redact::Found) {
        for (rule, count) in found.iter() {
            *self.totals.redacted.entry(rule.to_owned()).or_default() += count;
        }
    }

    pub(super) fn rows_too_long(&mut self, count: u64) {
        self.totals.rows_too_long += count;
    }

    pub(super) fn totals(mut self) -> Result<Totals, ExportError> {
        self.totals.quantiles = self.seen.quantiles(&Totals::PERCENTS)?;
        self.totals.task_set = hex(&self.tasks.finalize());
        Ok(self.totals)
    }
}

fn key(kind: u8, name: &[u8]) -> Vec<u8> {
    [&[kind], name].concat()
}
