//! What can go wrong in a store, and whether trying again helps.

use crate::domain::{IllegalTransition, TaskId};

/// What a driver says of it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A step that was not taken; nothing of it is on disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not do it: full, locked, gone. Trying again may help.
    #[error("the database is not available")]
    Unavailable(#[source] Cause),
    /// The database holds the step for wrong: a constraint is in its way. It will be next time, too.
    #[error("the database refused the step")]
    Refused(#[source] Cause),
    /// The database cannot be opened or brought to this version's tables.
    #[error("the database cannot be opened")]
    Open(#[source] Cause),
    /// The tables are not as this version needs them.
    #[error("the database cannot be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Another claim holds the task now, or it has ended: the writer must let go of it.
    #[error("task {0} is no longer held by this claim")]
    Lost(TaskId),
    /// A row that this program cannot have written.
    #[error("{table}.{column} of {id} cannot be read: {detail}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Whose row.
        id: String,
        /// What is wrong.
        detail: String,
    },
    /// The state of the task does not allow the step.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// Another service holds the database, and moves.
    #[error("it is held by another codex-agent")]
    Held,
    /// The lock beside the database cannot be had.
    #[error("the lock beside it")]
    Lock(#[source] std::io::Error),
    /// Another service has taken the database over while this one stood still: nothing is written any more.
    #[error("another codex-agent has taken the database over while this one stood still")]
    Displaced,
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let constraint = error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation);
        if constraint { Self::Refused(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
        match &error {
            PoolClosed => Self::Closed,
            Database(told) => {
                // What is in the way of the step will be next time, too, in these classes of SQLSTATE: data, integrity, and
                // syntax or access.
                let lasting = |code: &str| ["22", "23", "42"].iter().any(|class| code.starts_with(class));
                if told.code().is_some_and(|code| lasting(&code)) {
                    Self::Refused(error.into())
                } else {
                    Self::Unavailable(error.into())
                }
            }
            Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | WorkerCrashed => Self::Unavailable(error.into()),
            // An answer that is not understood will not be next time either.
            _ => Self::Refused(error.into()),
        }
    }
}

impl StoreError {
    /// Whether the same step may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
