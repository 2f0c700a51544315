//! Rows as a stream, and nothing beside them.

use std::io::Write;

use super::{Entry, Place, Rejected, Sink, Split};
use crate::export::parent::Parent;
use crate::export::{ExportError, Options, Totals};

/// Writes rows one after the other, those of one split alone if that is asked for.
pub struct Rows<W> {
    out: W,
    only: Option<Split>,
    counted: bool,
    lines: u64,
}

impl<W: Write> Rows<W> {
    /// Writes to `out`.
    pub fn new(out: W, only: Option<Split>) -> Self {
        Self { out, only, counted: true, lines: 0 }
    }

    /// Nobody is told how many tokens they have.
    #[must_use]
    pub fn uncounted(self) -> Self {
        Self { counted: false, ..self }
    }
}

impl<W: Write> Sink for Rows<W> {
    fn parent(&mut self, _: &Options) -> Result<Option<Parent>, ExportError> {
        Ok(None)
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
