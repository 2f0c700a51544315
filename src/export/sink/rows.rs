//! Rows as a stream, and nothing beside them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::place::is_free;
use super::{Entry, Mode, Place, Rejected, Sink, Split};
use crate::export::parent::Parent;
use crate::export::{ExportError, Options, Totals};

/// Writes rows one after the other, those of one split alone if that is asked for.
pub struct Rows<W> {
    out: W,
    only: Option<Split>,
    counted: bool,
    lines: u64,
    /// An export that rows are told apart from: those that it has are not made again.
    parent: Option<PathBuf>,
}

impl<W: Write> Rows<W> {
    /// Writes to `out`.
    pub fn new(out: W, only: Option<Split>) -> Self {
        Self { out, only, counted: true, lines: 0, parent: None }
    }

    /// Nobody is told how many tokens they have.
    #[must_use]
    pub fn uncounted(self) -> Self {
        Self { counted: false, ..self }
    }
}

impl Rows<io::Sink> {
    /// Writes nothing anywhere, but comes to the totals, or to the refusal, that a directory in this place would come to.
    pub fn beside(target: &Path, mode: Mode) -> Result<Self, ExportError> {
        is_free(target, mode)?;
        let parent = (mode == Mode::Incremental).then(|| target.to_owned());
        Ok(Self { parent, ..Self::new(io::sink(), None) })
    }
}

impl<W: Write> Sink for Rows<W> {
    fn parent(&mut self, options: &Options) -> Result<Option<Parent>, ExportError> {
        let parent = self.parent.as_deref().map(Parent::open).transpose()?.flatten();
        if let Some(parent) = &parent {
            parent.agrees(options)?;
        }
        Ok(parent)
    }

    fn tells_tokens(&self) -> bool {
        self.counted
    }

    fn row(&mut self, split: Split, text: &str) -> Result<Place, ExportError> {
        if self.only.is_none_or(|only| only == split) {
            self.out.write_all(text.as_bytes()).map_err(ExportError::Stream)?;
            self.lines += 1;
        }
        Ok(Place { shard: 0, line: self.lines })
    }

    fn exported(&mut self, _: &Entry) -> Result<(), ExportError> {
        Ok(())
    }

    fn rejected(&mut self, _: &Rejected<'_>) -> Result<(), ExportError> {
        Ok(())
    }

    fn finish(&mut self, _: &Options, _: &Totals) -> Result<(), ExportError> {
        self.out.flush().map_err(ExportError::Stream)
    }
}
