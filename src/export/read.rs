//! Tasks as they come out of the archive: page by page, those that are wanted with their records.

use std::sync::mpsc::SyncSender;

use super::select::{Reason, Selection};
use super::{Export, ExportError};
use crate::domain::{Task, TaskId, Timestamp};
use crate::store::{Cursor, Ended, Scratch, StoreError};

/// Tasks asked for at a time: enough that questions to a database are few, not so many that they are much memory.
const PAGE: u32 = 256;

/// Bytes of records in hand at a time, but for one that is longer by itself. A page is there some eight times: one more of them
/// waits, and each is lines, what is read of them, messages and rows. More of it made nothing faster.
const BATCH: u64 = 1024 * 1024;

/// The longest record that is exported: some four million tokens, more than any model learns from at once. Two hundred iterations
/// with all the output that a command may have by default are half of it.
const LONGEST: u64 = 16 * 1024 * 1024;

/// A task, and what there is to be done with it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Cursor,
    pub(super) id: TaskId,
    /// None where its row cannot be read.
    pub(super) task: Option<Task>,
    pub(super) found: Found,
}

/// What came of looking at a task.
#[derive(Debug)]
pub(super) enum Found {
    /// It is wanted: its record, as lines.
    Record(Vec<String>),
    /// It is not.
    Rejected(Reason),
}

/// Some tasks in the order of their arrival.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// The last place that was looked at.
    pub(super) place: Cursor,
}

/// Goes through all ended tasks but those that are known.
pub(super) struct Reader<'a> {
    pub(super) export: &'a Export,
    pub(super) selection: &'a Selection,
    pub(super) known: Option<Scratch>,
}

impl Reader<'_> {
    /// Sends all pages, with records, until there are no more or nobody wants any.
    pub(super) fn send(&self, pages: &SyncSender<Result<Page, ExportError>>) {
        if let Err(error) = self.all(|items, place| {
            let page = self.fetched(items).map(|items| Page { items, place });
            // Who does not listen any more has its reason.
            pages.send(page).is_ok()
        }) {
            drop(pages.send(Err(error)));
        }
    }

    /// Looks at all, a few at a time, without their records; `take` says whether to go on.
    pub(super) fn all(&self, mut take: impl FnMut(Vec<Item>, Cursor) -> bool) -> Result<(), ExportError> {
        let mut after = Cursor::default();
        loop {
            let ended = self.export.ask(|| self.export.archive.ended(after, PAGE))?;
            let Some(last) = ended.last() else { return Ok(()) };
            let last = last.place;
            let (mut items, mut bytes) = (Vec::new(), 0);
            for ended in ended {
                after = ended.place;
                let Some(item) = self.look(ended)? else { continue };
                let wanted = matches!(item.found, Found::Record(_));
                bytes += item.task.as_ref().filter(|_| wanted).map_or(0, |task| task.log_bytes);
                items.push(item);
                if bytes > BATCH && after < last {
                    bytes = 0;
                    if !take(std::mem::take(&mut items), after) {
                        return Ok(());
                    }
                }
            }
            if !take(items, after) {
                return Ok(());
            }
        }
    }

    /// The task at a place, with its record; `None` if it is gone.
    pub(super) fn one(&self, place: Cursor) -> Result<Option<Item>, ExportError> {
        let ended = self.export.ask(|| self.export.archive.ended_at(place))?;
        let item = ended.map(|ended| self.selected(ended)).transpose()?;
        Ok(self.fetched(item.into_iter().collect())?.pop())
    }

    /// What the selection says of a task; nothing of one that is known.
    fn look(&self, ended: Ended) -> Result<Option<Item>, ExportError> {
        if let (Some(known), Ok(task)) = (&self.known, &ended.task)
            && known.noted(life(&task.id, task.created_at).as_bytes())?.is_some()
        {
            return Ok(None);
        }
        Ok(Some(self.selected(ended)?))
    }

    fn selected(&self, ended: Ended) -> Result<Item, StoreError> {
        let Ended { place, task } = ended;
        Ok(match task {
            Ok(task) => {
                let too_long = (task.log_bytes > LONGEST).then_some(Reason::TooLong(task.log_bytes));
                let reason = self.selection.reason(&task).or(too_long);
                let found = reason.map_or_else(|| Found::Record(Vec::new()), Found::Rejected);
                Item { place, id: task.id.clone(), task: Some(task), found }
            }
            Err(StoreError::BadRow { table, column, id, detail }) => {
                let reason = Reason::Unreadable(format!("{table}.{column}: {detail}"));
                // A name that is none cannot be told as one.
                let id =
                    id.parse().or_else(|_| format!("place-{}", place.0).parse()).map_err(|_| StoreError::Closed)?;
                Item { place, id, task: None, found: Found::Rejected(reason) }
            }
            Err(other) => return Err(other),
        })
    }

    /// With the records of those that are wanted.
    fn fetched(&self, mut items: Vec<Item>) -> Result<Vec<Item>, ExportError> {
        let wanted = items.iter().filter(|item| matches!(item.found, Found::Record(_))).map(|item| item.place);
        let wanted: Vec<Cursor> = wanted.collect();
        if wanted.is_empty() {
            return Ok(items);
        }
        let mut records = self.export.ask(|| self.export.archive.records(wanted.clone()))?;
        for item in &mut items {
            if !matches!(item.found, Found::Record(_)) {
                continue;
            }
            let bytes = item.task.as_ref().map_or(0, |task| task.log_bytes);
            item.found = match records.remove(&item.place) {
                Some(Ok(lines)) if lines.is_empty() && bytes > 0 => Found::Rejected(Reason::Gone),
                Some(Ok(lines)) => Found::Record(lines),
                Some(Err(bad)) => Found::Rejected(Reason::Unreadable(bad.to_string())),
                None => Found::Rejected(Reason::Gone),
            };
        }
        Ok(items)
    }
}

/// Names one life of a task, as [`Entry::life`](super::sink::Entry) does: an id may be deleted and used again.
pub(super) fn life(id: &TaskId, created_at: Timestamp) -> String {
    format!("{id} {created_at}")
}
