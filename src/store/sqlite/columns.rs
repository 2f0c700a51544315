//! How a row of SQLite is read.

use rusqlite::Row;

use crate::store::row::{Columns, TaskRow, columns};

/// For a statement that returns rows of the table it changes.
pub(super) const RETURNING_TASK: &str =
    concat!("RETURNING ", columns!(""), ", (SELECT body FROM posted WHERE posted.seq = tasks.seq)");

/// One task as it lies in the tables.
pub(super) fn task_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    TaskRow::read(row)
}

impl Columns for Row<'_> {
    type Error = rusqlite::Error;

    fn number(&self, column: usize) -> rusqlite::Result<i64> {
        self.get(column)
    }

    fn maybe_number(&self, column: usize) -> rusqlite::Result<Option<i64>> {
        self.get(column)
    }

    fn maybe_real(&self, column: usize) -> rusqlite::Result<Option<f64>> {
        self.get(column)
    }

    fn text(&self, column: usize) -> rusqlite::Result<String> {
        self.get(column)
    }

    fn maybe_text(&self, column: usize) -> rusqlite::Result<Option<String>> {
        self.get(column)
    }

    fn free_text(&self, column: usize) -> rusqlite::Result<Option<String>> {
        self.get(column)
    }
}
