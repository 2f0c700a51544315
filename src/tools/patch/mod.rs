//! A unified diff, put on one text file: whole or not at all.
//!
//! ```text
//!   patch text ── header ──► names, create / delete / change     (what it is for)
//!        └─────── hunk ────► lines, stated place, counts mended  (what it says)
//!                   │
//!   original ── file ──► place: exact → shifted → white space aside → fuzz   (where each hunk goes)
//!                   │        └─ near: the quotation when it goes nowhere
//!                   └──► write: the file's own bytes and line endings wherever the diff is silent
//! ```
//!
//! * A hunk is never put where `git apply` or `patch --fuzz=0` would not put it when they take it: where the two
//!   disagree, or the choice is not forced, the patch is refused with both line numbers.
//! * White space is overlooked in unchanged lines, never in a line that is removed: whoever has its indentation wrong has
//!   that of the added lines wrong too, which in Python or a Makefile is another program.
//! * Deliberately absent: several files in one diff (an edit has one file, one hash and one place in the record, by which
//!   a crash in the middle is told from an edit that was made), renames, copies, modes, binary patches; each is refused by name.
//!   Nothing here touches a disk.
//! * Why no crate: diffy 0.5 and flickzeug 0.6 take a bare `@@` for "no hunks" and report success, refuse counts that
//!   are too large, and put an ambiguous hunk at the first place they meet, where git and patch choose another. mpatch
//!   1.8 needs a file header and brings a command line (clap, `env_logger`) into a library.

mod error;
mod file;
mod header;
mod hunk;
mod near;
mod place;
mod write;

pub use error::{Hint, PatchError};

use file::File;
use header::Change;
use hunk::Hunk;

/// The byte order mark: it is part of the file, and of a diff only where the diff shows it.
const BOM: char = '\u{feff}';

/// Applies a unified diff of one file. `original` is `None` where the file does not exist; `path` is the file's name
/// as the caller gave it, for messages and for the check that the diff is meant for this file.
pub fn apply(original: Option<&str>, diff: &str, path: &str) -> Result<Patched, PatchError> {
    let (header, hunks) = hunk::parse(diff.strip_prefix(BOM).unwrap_or(diff))?;
    header.check_name(path)?;
    match (original, header.change_of(&hunks)) {
        (None | Some(""), Change::Create) => create(&hunks),
        (None, _) => Err(PatchError::Missing { path: path.to_owned() }),
        (Some(text), _) => edit(text, header.change, &hunks, path),
    }
}

/// What a diff made of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patched {
    /// The new text; `None` where the diff deletes the file.
    pub text: Option<String>,
    /// Where each hunk went, in the order of the diff.
    pub hunks: Vec<Placement>,
}

/// Where one hunk went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The number of the hunk in the diff, from 1.
    pub hunk: usize,
    /// The line of the original where it went, from 1.
    pub line: usize,
    /// How far that is from the line its header names; 0 where the header names none.
    pub offset: isize,
    /// How many outer context lines on a side were left out to make it fit.
    pub fuzz: usize,
    /// What differences in white space were overlooked to make it fit.
    pub space: Space,
}

/// Differences in white space between a hunk and its place. The file keeps its own in every line that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// None, or only CRLF and LF.
    Same,
    /// At the end of lines.
    Trailing,
    /// Anywhere in unchanged lines, indentation too: it fits nowhere else in the whole file.
    Anywhere,
}

fn create(hunks: &[Hunk<'_>]) -> Result<Patched, PatchError> {
    let [hunk] = hunks else {
        return Err(PatchError::CreatesWithContext);
    };
    if hunk.old().next().is_some() {
        return Err(PatchError::CreatesWithContext);
    }
    let placement = Placement { hunk: 1, line: 1, offset: 0, fuzz: 0, space: Space::Same };
    Ok(Patched { text: Some(write::fresh(hunk)), hunks: vec![placement] })
}

fn edit(text: &str, change: Change, hunks: &[Hunk<'_>], path: &str) -> Result<Patched, PatchError> {
    if change == Change::Create {
        return Err(PatchError::Exists { path: path.to_owned() });
    }
    // A diff that shows the mark is matched with it; one that does not is matched, and keeps it, without.
    let shown = hunks.iter().flat_map(Hunk::old).any(|line| line.text.starts_with(BOM));
    let (mark, body) = match text.strip_prefix(BOM) {
        Some(body) if !shown => (&text[..BOM.len_utf8()], body),
        _ => ("", text),
    };
    let file = File::new(body);
    let placed = place::place(&file, hunks)?;
    let written = write::write(&file, hunks, &placed);
    let text = match change {
        Change::Delete if written.is_empty() => None,
        Change::Delete => {
            return Err(PatchError::DeletesInPart {
                path: path.to_owned(),
                left: written.split_inclusive('\n').count(),
            });
        }
        Change::Create | Change::Modify => Some(format!("{mark}{written}")),
    };
    Ok(Patched { text, hunks: placed.iter().map(place::Placed::placement).collect() })
}

#[cfg(test)]
mod tests;
