//! The writing connection, and what its owner knows without asking the file.

use std::cell::Cell;
use std::ops::Deref;
use std::path::Path;

use rusqlite::Connection;

/// The one connection that changes the tables.
pub(super) struct Db {
    connection: Connection,
    /// How many tasks wait. To count them costs nearly a millisecond for each ten thousand, and every submission asks;
    /// nobody else changes it, so it is counted once. `None`: not known.
    queued: Cell<Option<u32>>,
}

impl Db {
    pub(super) fn open(file: &Path) -> rusqlite::Result<Self> {
        Ok(Self { connection: super::connect(file)?, queued: Cell::new(None) })
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// How many tasks wait now.
    pub(super) fn queued(&self) -> rusqlite::Result<u32> {
        if let Some(queued) = self.queued.get() {
            return Ok(queued);
        }
        let sql = "SELECT COUNT(*) FROM tasks WHERE status = 'queued'";
        let queued = self.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        self.queued.set(Some(queued));
        Ok(queued)
    }

    /// So many have come into the queue.
    pub(super) fn queued_more(&self, count: usize) {
        self.queued_now(|queued| queued.checked_add(u32::try_from(count).ok()?));
    }

    /// So many have left it.
    pub(super) fn queued_less(&self, count: usize) {
        self.queued_now(|queued| queued.checked_sub(u32::try_from(count).ok()?));
    }

    /// What was done is undone: who knows what of it was counted.
    pub(super) fn rolled_back(&self) {
        self.queued.set(None);
    }

    fn queued_now(&self, from: impl FnOnce(u32) -> Option<u32>) {
        self.queued.set(self.queued.get().and_then(from));
    }
}

impl Deref for Db {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}
