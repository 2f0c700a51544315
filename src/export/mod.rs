//! Records become training data.
//!
//! ```text
//!  cli, http, schedule ─► Options ─► Export
//!                                     │ read: ended tasks page by page, select: which of them (Archive)
//!                                     ▼
//!                   trajectory ─► redact ─► chat ─► fit ─► render ┐  prepare: one task, several at a time
//!                                 └─► atif ───────────────────────┤
//!                   in_groups: attempts against each other ─► pairs ┘
//!                                     │ rows
//!                                     ▼
//!            Sink: Directory (shards, index, manifest, card; appears whole or not at all) │ Rows (a stream)
//! ```
//!
//! One way for all: what differs is who asks and where the rows go. Memory does not grow with the number of tasks: a few pages of
//! them are in hand at a time, and what has to be remembered of all is in a [`Scratch`](crate::store::Scratch). Nothing is left out
//! without a word: every ended task is an entry of the index, or rejected with a [`Reason`].
//!
//! Deliberately absent: the service's state. An export reads the store and changes nothing in it.

mod atif;
mod card;
mod chat;
mod fit;
mod in_groups;
mod in_order;
mod manifest;
mod options;
mod pairs;
mod parent;
mod prepare;
mod read;
pub mod redact;
mod render;
mod schedule;
mod select;
mod sink;
mod state;
mod tokens;
mod totals;
mod trajectory;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use options::{BadOption, Examples, Format, Options, Purpose, Redact, TooLong};
pub use schedule::Schedule;
pub use select::Reason;
pub use sink::{Directory, Mode, Rows, Sink, Split};
pub use totals::{Count, Totals};

use self::parent::Parent;
use self::prepare::Workshop;
use self::redact::Redactor;
use self::state::State;
use crate::domain::Json;
use crate::store::{Archive, StoreError};

/// An export that is asked for.
pub struct Export {
    /// What is asked.
    pub options: Options,
    /// Where the tasks are.
    pub archive: Arc<dyn Archive>,
    /// The tools' descriptions with their JSON Schemas.
    pub tools: Json,
    /// Values that must not get out, whatever they look like: this process's own.
    pub secrets: Vec<String>,
    /// Whose threads wait for the store.
    pub runtime: Handle,
    /// Cancelled, it ends the export.
    pub stop: CancellationToken,
}

/// How often a question is asked again while the database is not available, and how long after the first time; each pause is
/// twice as long as the one before. Half a minute altogether: a failover is over by then.
const TRIES: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// How far an export is: of so many places so many are done.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The tasks cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where it is written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Who reads it has gone, or a stream cannot be written.
    #[error("the rows cannot be written")]
    Stream(#[source] io::Error),
    /// There is something in the place already.
    #[error("{path}: {detail}")]
    Place {
        /// Where.
        path: PathBuf,
        /// What is in the way.
        detail: String,
    },
    /// The vocabulary.
    #[error("the vocabulary of o200k_base cannot be loaded: {0}")]
    Tokens(String),
    /// It was told to stop.
    #[error("the export was stopped")]
    Stopped,
    /// A fault of ours.
    #[error("the export panicked: {0}")]
    Panicked(String),
    /// What is asked for cannot be.
    #[error(transparent)]
    Option(#[from] BadOption),
}

impl Export {
    /// Does it, on this thread, which may wait: not one of the async runtime's. What has been written is there when it
    /// returns; where it fails, nothing is.
    pub fn run(&self, sink: &mut dyn Sink, progress: Progress<'_>) -> Result<Totals, ExportError> {
        let redactor = match self.options.redact {
            Redact::Secrets => Some(Redactor::new(self.secrets.iter().cloned())),
            Redact::None => None,
        };
        if let (Some(redactor), Some(system)) = (&redactor, &self.options.system)
            && redactor.text(system, &mut redact::Found::default()) != *system
        {
            let detail = "holds what looks like a secret, and would be in each row";
            return Err(BadOption { option: "system".to_owned(), detail: detail.to_owned() }.into());
        }
        let parent = sink.parent(&self.options)?;
        let counted = sink.tells_tokens() || self.options.max_tokens.is_some();
        let workshop = Workshop::new(&self.options, redactor, &self.tools, counted)?;
        let mut state = State::new(&self.options, parent.as_ref())?;
        let known = parent.as_ref().map(Parent::known).transpose()?;
        match self.options.format.purpose() {
            Purpose::Chat | Purpose::Archive => in_order::export(self, &workshop, known, &mut state, sink, progress)?,
            Purpose::Preference => in_groups::export(self, &workshop, known, &mut state, sink, progress)?,
        }
        let totals = state.totals()?;
        sink.finish(&self.options, &totals)?;
        Ok(totals)
    }

    /// Asks the store. An export takes long, and a moment without a database should not end it.
    fn ask<T, F>(&self, question: impl Fn() -> F) -> Result<T, ExportError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let asked = async {
            let mut pause = PAUSE;
            for _ in 0..TRIES {
                match question().await {
                    Err(error) if error.is_temporary() => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "an export waits for the database");
                    }
                    answer => return Ok(answer?),
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Ok(question().await?)
        };
        self.runtime.block_on(async {
            tokio::select! {
                answer = asked => answer,
                () = self.stop.cancelled() => Err(ExportError::Stopped),
            }
        })
    }

    /// Says so if it is to end.
    fn go_on(&self) -> Result<(), ExportError> {
        if self.stop.is_cancelled() { Err(ExportError::Stopped) } else { Ok(()) }
    }
}
