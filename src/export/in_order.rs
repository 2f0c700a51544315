//! One task after the other, in the order of their arrival.

use std::sync::mpsc::sync_channel;

use super::prepare::{Made, Rows, Workshop};
use super::read::{Item, Reader};
use super::select::{Reason, Selection, group};
use super::sink::Sink;
use super::state::{Source, State, Written};
use super::{Export, ExportError, Progress};
use crate::store::Scratch;

/// Pages that wait while one is worked on: the database and the processor are busy at the same time.
const AHEAD: usize = 1;

pub(super) fn export(
    export: &Export,
    workshop: &Workshop,
    known: Option<Scratch>,
    state: &mut State,
    sink: &mut dyn Sink,
    progress: Progress<'_>,
) -> Result<(), ExportError> {
    let last = export.ask(|| export.archive.last_place())?;
    let selection = Selection::new(&export.options);
    let reader = Reader { export, selection: &selection, known };
    std::thread::scope(|scope| {
        let (pages, read) = sync_channel(AHEAD);
        scope.spawn(move || reader.send(&pages));
        for page in read {
            let page = page?;
            for (item, made) in workshop.make_all(page.items) {
                one(export, workshop, &item, made, state, sink)?;
            }
            progress(done(page.place.0), done(last.0));
        }
        Ok(())
    })
}

fn one(
    export: &Export,
    workshop: &Workshop,
    item: &Item,
    made: Result<Made, Reason>,
    state: &mut State,
    sink: &mut dyn Sink,
) -> Result<(), ExportError> {
    export.go_on()?;
    let (made, task) = match (made, &item.task) {
        (Ok(made), Some(task)) => (made, task),
        (Err(reason), _) => return state.rejected(sink, &item.id, &reason),
        (Ok(_), None) => return state.rejected(sink, &item.id, &Reason::Gone),
    };
    let group = group(&task.posted, &made.instruction);
    let source = Source { id: &task.id, created_at: task.created_at, group, fingerprint: made.fingerprint };
    if let Some(reason) = state.admit(&source)? {
        return state.rejected(sink, &item.id, &reason);
    }
    let (split, mut written, mut too_long) = (state.split(group), Written::default(), Vec::new());
    match &made.rows {
        Rows::Made(rows) => rows.iter().try_for_each(|row| state.row(sink, split, row, &mut written))?,
        Rows::Turns(messages) => {
            for row in workshop.turns(messages) {
                export.go_on()?;
                match row {
                    Ok(row) => state.row(sink, split, &row, &mut written)?,
                    Err(reason) => too_long.push(reason),
                }
            }
        }
    }
    if let (0, Some(reason)) = (written.count.rows, too_long.last()) {
        return state.rejected(sink, &item.id, reason);
    }
    state.rows_too_long(too_long.len() as u64);
    state.redacted(&made.redacted);
    state.exported(sink, &source, written)
}

/// A place as a part of the way.
pub(super) fn done(place: i64) -> u64 {
    u64::try_from(place).unwrap_or_default()
}
