//! One task after the other, in the order of their arrival.

use std::sync::mpsc::sync_channel;

use super::prepare::{Made, Workshop};
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
    let last = export.wait(export.archive.last_place())??;
    let selection = Selection::new(&export.options);
    let reader = Reader { export, selection: &selection, known };
    std::thread::scope(|scope| {
        let (pages, read) = sync_channel(AHEAD);
        scope.spawn(move || reader.send(&pages));
        for page in read {
            let page = page?;
            for (item, made) in workshop.make_all(page.items) {
                one(&item, made, state, sink)?;
            }
            progress(done(page.place.0), done(last.0));
        }
        Ok(())
    })
}

fn one(item: &Item, made: Result<Made, Reason>, state: &mut State, sink: &mut dyn Sink) -> Result<(), ExportError> {
    let (made, task) = match (made, &item.task) {
        (Ok(made), Some(task)) => (made, task),
        (Err(reason), _) => return state.rejected(sink, &item.id, &reason),
        (Ok(_), None) => return state.rejected(sink, &item.id, &Reason::Gone),
    };
    let group = group(&task.posted);
    let source = Source { id: &task.id, created_at: task.created_at, group, fingerprint: made.fingerprint };
    if let Some(reason) = state.admit(&source)? {
        return state.rejected(sink, &item.id, &reason);
    }
    let mut written = Written::default();
    for row in &made.rows {
        state.row(sink, state.split(group), row, &mut written)?;
    }
    state.redacted(&made.redacted);
    state.rows_too_long(made.too_long);
    state.exported(sink, &source, written)
}

/// A place as a part of the way.
pub(super) fn done(place: i64) -> u64 {
    u64::try_from(place).unwrap_or_default()
}
