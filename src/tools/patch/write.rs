//! The patched text. Every line the diff does not add is copied from the file; an added line is taken as the diff has it
//! where the hunk fits byte for byte, and otherwise takes the line ending of its neighbour in the file.

use super::{
    file::{File, Level, bare},
    hunk::{Hunk, Kind, Line},
    place::Placed,
};

/// The text of a new file.
pub(super) fn fresh(hunk: &Hunk<'_>) -> String {
    hunk.lines.iter().flat_map(|line| [line.text, if line.ends { "\n" } else { "" }]).collect()
}

/// The text of the file with its hunks applied.
pub(super) fn write(file: &File<'_>, hunks: &[Hunk<'_>], placed: &[Placed]) -> String {
    let mut out = Out { file, text: String::new() };
    let mut at = 0;
    for (hunk, placed) in hunks.iter().zip(placed) {
        out.copy(at, placed.changed.start);
        at = out.change(hunk, placed);
    }
    out.copy(at, file.len());
    out.text
}

struct Out<'f, 't> {
    file: &'f File<'t>,
    text: String,
}

impl Out<'_, '_> {
    fn copy(&mut self, from: usize, to: usize) {
        for at in from..to {
            self.text.push_str(self.file.lines[at]);
            if self.is_terminated(at) {
                self.text.push('\n');
            }
        }
    }

    /// Writes what a hunk changes and gives the index of the file's line after it.
    fn change(&mut self, hunk: &Hunk<'_>, placed: &Placed) -> usize {
        let mut at = placed.changed.start;
        let mut replaced = at..at;
        for line in hunk.changes() {
            match line.kind {
                Kind::Context => {
                    self.copy(at, at + 1);
                    at += 1;
                    replaced = at..at;
                }
                Kind::Remove => {
                    at += 1;
                    replaced.end = at;
                }
                Kind::Add if placed.level == Level::Exact => {
                    self.text.push_str(line.text);
                    self.text.push_str(if line.ends { "\n" } else { "" });
                }
                Kind::Add => {
                    // The first added line answers to the first removed one, and so on; the last serves the rest.
                    let model = replaced.next().unwrap_or_else(|| at.saturating_sub(1));
                    self.add(line, model);
                }
            }
        }
        let added_last = hunk.changes().last().is_some_and(|line| line.kind == Kind::Add);
        let unsaid = placed.level != Level::Exact && !hunk.reaches_end();
        if added_last && unsaid && at == self.file.len() && !self.file.ends {
            // The file has no newline at its end and the diff does not speak of it.
            if let Some(bare) = self.text.strip_suffix('\n') {
                let kept = bare.strip_suffix('\r').unwrap_or(bare).len();
                self.text.truncate(kept);
            }
        }
        at
    }

    /// Adds a line with the line ending of the file's line `model`.
    fn add(&mut self, line: &Line<'_>, model: usize) {
        let ending = self.ending_near(model);
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push_str(ending.unwrap_or("\n"));
        }
        let own = if line.text.ends_with('\r') { "\r\n" } else { "\n" };
        self.text.push_str(bare(line.text));
        if line.ends {
            self.text.push_str(ending.unwrap_or(own));
        }
    }

    /// The ending of a line, or where it has none, of the one before it or after.
    fn ending_near(&self, at: usize) -> Option<&'static str> {
        let near = [Some(at), at.checked_sub(1), at.checked_add(1)];
        let found = near.into_iter().flatten().find(|&at| at < self.file.len() && self.is_terminated(at))?;
        Some(if self.file.lines[found].ends_with('\r') { "\r\n" } else { "\n" })
    }

    fn is_terminated(&self, at: usize) -> bool {
        self.file.ends || at + 1 < self.file.len()
    }
}
