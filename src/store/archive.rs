//! What ended tasks have left, for whoever goes through all of it.
//!
//! Reading it changes nothing and holds nothing up: a page is a question of its own, so that neither a lock nor a snapshot
//! stays open however long an export takes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::postgres::PostgresArchive;
use super::row::TaskRow;
use super::sqlite::SqliteArchive;
use super::{Cursor, PostgresSettings, StoreError, StoredLine};
use crate::domain::{Outcome, Task, TaskError};

/// Reads ended tasks and their records.
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Ended tasks behind `after`, in the order of their arrival, at most `limit` of them; fewer if they are long, none if
    /// there are no more.
    async fn ended(&self, after: Cursor, limit: u32) -> Result<Vec<Ended>, StoreError>;
    /// The one at this place; `None` if it is gone.
    async fn ended_at(&self, place: Cursor) -> Result<Option<Ended>, StoreError>;
    /// The records of the tasks at these places, each as its lines in order; of tasks that are gone there is none. Whoever asks
    /// knows how long they are, and asks for as many as fit in memory.
    async fn records(&self, places: Vec<Cursor>) -> Result<Records, StoreError>;
    /// The last place that a task has: how far there is to go.
    async fn last_place(&self) -> Result<Cursor, StoreError>;
}

/// An ended task, and where it stands in the order of arrival.
#[derive(Debug)]
pub struct Ended {
    /// Its place.
    pub place: Cursor,
    /// The task, or what is wrong with its row: one bad row is no reason to keep all others back.
    pub task: Result<Task, StoreError>,
}

/// The lines of tasks, or what is wrong with them.
pub type Records = HashMap<Cursor, Result<Vec<String>, StoreError>>;

impl Ended {
    pub(super) fn of(row: &TaskRow) -> Self {
        Self { place: Cursor(row.seq), task: row.task() }
    }

    /// How much memory it takes, in bytes: a task and its summary may be megabytes.
    pub(super) fn length(&self) -> usize {
        let Ok(task) = &self.task else { return 0 };
        let said = match task.state.outcome() {
            Some(Outcome::Succeeded { summary: Some(text) } | Outcome::Failed(TaskError { message: text, .. })) => {
                text.len()
            }
            _ => 0,
        };
        task.posted.as_str().len() + said
    }
}

/// Opens an SQLite file to read it, beside the service that writes it.
pub async fn open_sqlite(file: &Path) -> Result<Arc<dyn Archive>, StoreError> {
    Ok(Arc::new(SqliteArchive::open(file).await?))
}

/// Opens a PostgreSQL database to read it.
pub async fn open_postgres(settings: &PostgresSettings) -> Result<Arc<dyn Archive>, StoreError> {
    Ok(Arc::new(PostgresArchive::open(settings).await?))
}

/// Adds a line that was read; one that is bad takes the place of all.
pub(super) fn add(
    lines: &mut Result<Vec<String>, StoreError>,
    line: Result<StoredLine, StoreError>,
) -> Result<(), StoreError> {
    match (lines.as_mut(), line) {
        (Ok(lines), Ok(line)) => lines.push(line.line),
        (Ok(_), Err(bad @ StoreError::BadRow { .. })) => *lines = Err(bad),
        (Ok(_), Err(other)) => return Err(other),
        (Err(_), _) => {}
    }
    Ok(())
}
