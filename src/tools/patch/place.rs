//! Where each hunk goes: the rules that decide, and the two tools that may object.
//!
//! ```text
//!   byte for byte ─► line endings aside ─► trailing whitespace aside ─► words ─► fuzz 1 ─► fuzz 2 ─► refused, quoted
//!        each: the stated line plus the last offset │ the end, for a hunk that ends there │ the only other place
//!        words and fuzz: the only place
//! ```
//!
//! A choice stands only if neither git nor patch would have chosen another place: git searches outwards from the new
//! side's line and ties hunks to the start or the end of the file; patch searches from the old side's line plus the last
//! offset and ties a hunk with the shorter margin outside. With fuzz nothing but the only place in the file will do.

use std::ops::Range;

use super::{
    PatchError, Placement, Space,
    file::{Effort, File, Level, OutOfEffort},
    hunk::{Hunk, Kind, Line, Stated},
    near,
};

/// How many outer context lines may be left out on a side, as `patch` does unless told otherwise.
const MAX_FUZZ: usize = 2;

/// Finds the place of every hunk, or refuses the first that has none or several.
pub(super) fn place(file: &File<'_>, hunks: &[Hunk<'_>]) -> Result<Vec<Placed>, PatchError> {
    let mut placer = Placer { file, placed: Vec::with_capacity(hunks.len()), churn: 0, effort: Effort::new() };
    for hunk in hunks {
        let found = placer.place(hunk)?;
        placer.churn += found.grown.unsigned_abs();
        placer.placed.push(found);
    }
    Ok(placer.placed)
}

/// A hunk with its place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    number: usize,
    /// The index of the file's line at which the part of the hunk that was used begins.
    at: usize,
    /// The index after its last line.
    end: usize,
    /// The lines of the file from the first change to the last.
    pub(super) changed: Range<usize>,
    /// How many context lines were left out before.
    left_out: usize,
    /// How alike the lines are.
    pub(super) level: Level,
    offset: isize,
    /// How many lines the hunk adds, less those it removes.
    grown: isize,
    /// The same for this hunk and all before it.
    grown_so_far: isize,
    fuzz: usize,
}

impl Placed {
    /// The report of it.
    pub(super) fn placement(&self) -> Placement {
        Placement {
            hunk: self.number,
            line: self.at.saturating_sub(self.left_out) + 1,
            offset: self.offset,
            fuzz: self.fuzz,
            space: match self.level {
                Level::Exact | Level::Endings => Space::Same,
                Level::Trailing => Space::Trailing,
                Level::Words => Space::Anywhere,
            },
        }
    }
}

struct Placer<'f, 't> {
    file: &'f File<'t>,
    placed: Vec<Placed>,
    churn: usize,
    effort: Effort,
}

impl Placer<'_, '_> {
    fn place(&self, hunk: &Hunk<'_>) -> Result<Placed, PatchError> {
        let row = Row::new(hunk, (0, 0));
        if row.texts.is_empty() {
            return self.append(hunk);
        }
        for level in [Level::Exact, Level::Endings, Level::Trailing] {
            if let Some(at) = self.choose(hunk, &row, level)? {
                return Ok(self.placed(hunk, &row, at, level, 0));
            }
            // What fits above is out of order; to fit it below with more lenience would be to put it elsewhere.
            let mut above = self.file.search(&row.texts, level, 0..self.cursor(), &self.effort);
            if above.next().transpose().map_err(|_| too_repetitive(hunk))?.is_some() {
                return Err(self.nowhere(hunk, &row));
            }
        }
        if let Some(at) = self.by_words(hunk, &row)? {
            return Ok(self.placed(hunk, &row, at, Level::Words, 0));
        }
        // Without its last line it might fit in the middle, where git and patch glue two lines together, or at an end with
        // a newline, which git takes away.
        if hunk.reaches_end()
            && self.file.search(&row.texts, Level::Trailing, 0..self.file.len(), &self.effort).next().is_some()
        {
            return Err(self.nowhere(hunk, &row));
        }
        let (lead, trail) = hunk.margins();
        let longest = lead.max(trail);
        for fuzz in 1..=MAX_FUZZ.min(longest) {
            let row = Row::new(hunk, ((lead + fuzz).saturating_sub(longest), (trail + fuzz).saturating_sub(longest)));
            if !row.has_context {
                break;
            }
            if let Some(at) = self.only_place(hunk, &row, Level::Endings, self.cursor())? {
                return Ok(self.placed(hunk, &row, at, Level::Endings, fuzz));
            }
        }
        Err(self.nowhere(hunk, &row))
    }

    /// The only place in the whole file where a hunk's lines stand but for white space, which must not differ in those it
    /// removes. Where the lines stand so, fuzz has nothing to look for elsewhere.
    fn by_words(&self, hunk: &Hunk<'_>, row: &Row<'_>) -> Result<Option<usize>, PatchError> {
        let Some(at) = self.only_place(hunk, row, Level::Words, 0)? else { return Ok(None) };
        let here = self.file.lines.iter().skip(at);
        let as_it_is =
            |(here, line): (&&str, &Line<'_>)| line.kind == Kind::Context || Level::Trailing.alike(here, line.text);
        let fits = at >= self.cursor() && here.zip(hunk.old()).all(as_it_is);
        if fits { Ok(Some(at)) } else { Err(self.nowhere(hunk, row)) }
    }

    fn nowhere(&self, hunk: &Hunk<'_>, row: &Row<'_>) -> PatchError {
        near::not_found(self.file, hunk, self.expected(hunk, row), self.cursor(), &self.effort)
    }

    /// A hunk without lines to find can only go to the end, and only where its header says so too: `git apply` puts it
    /// there whatever the header says, `patch` goes by the header alone.
    fn append(&self, hunk: &Hunk<'_>) -> Result<Placed, PatchError> {
        let row = Row::new(hunk, (0, 0));
        let end = self.file.len();
        let said = self.expected(hunk, &row).is_some_and(|at| at == end) && self.file.ends;
        if said || end == 0 {
            Ok(self.placed(hunk, &row, end, Level::Exact, 0))
        } else {
            Err(PatchError::NoContext { hunk: hunk.number })
        }
    }

    fn choose(&self, hunk: &Hunk<'_>, row: &Row<'_>, level: Level) -> Result<Option<usize>, PatchError> {
        let expected = self.expected(hunk, row);
        let fits = |at: &usize| *at >= self.cursor() && self.fits(row, *at, level);
        let (lead, trail) = hunk.margins();
        let end = self.file.len().checked_sub(row.texts.len());
        let tied = end.filter(|_| hunk.stated.is_some() && trail == 0 && lead > 0);
        let chosen = match expected.filter(fits).or_else(|| tied.filter(fits)) {
            Some(at) => Some(at),
            None => self.only_place(hunk, row, level, self.cursor())?,
        };
        let (Some(at), Some(stated)) = (chosen, hunk.stated) else { return Ok(chosen) };
        let rival = match self.rival(hunk, row, level, at, stated).map_err(|_| too_repetitive(hunk))? {
            Some(rival) => Some(rival),
            None => expected.filter(|expected| *expected != at && self.fits_loosely(row, *expected, level)),
        };
        rival.map_or(Ok(Some(at)), |rival| Err(ambiguous(hunk, at, rival)))
    }

    /// The only place from line `from` on; an error where there are two.
    fn only_place(
        &self,
        hunk: &Hunk<'_>,
        row: &Row<'_>,
        level: Level,
        from: usize,
    ) -> Result<Option<usize>, PatchError> {
        let (file, range) = (self.file, from..self.file.len());
        let mut places = file
            .search(&row.texts, level, range, &self.effort)
            .filter(|at| at.as_ref().map_or(true, |at| row.may_end(file, *at, level)));
        let mut next = || places.next().transpose().map_err(|_| too_repetitive(hunk));
        match (next()?, next()?) {
            (Some(first), Some(second)) => Err(ambiguous(hunk, first, second)),
            (only, _) => Ok(only),
        }
    }

    /// Another place which git or patch would have preferred to `chosen`.
    fn rival(
        &self,
        hunk: &Hunk<'_>,
        row: &Row<'_>,
        level: Level,
        chosen: usize,
        stated: Stated,
    ) -> Result<Option<usize>, OutOfEffort> {
        let (lead, trail) = hunk.margins();
        let is_stated = level == Level::Exact && (!row.ends || self.expected(hunk, row) == Some(chosen));
        if row.reaches_end && !is_stated {
            // Patch does not mind that a side without a last newline would end in the middle of the file.
            let range = self.cursor()..self.file.len();
            let mut places = self.file.search(&row.texts, Level::Exact, range, &self.effort);
            if let Some(place) = places.find(|at| at.as_ref().map_or(true, |at| *at != chosen)) {
                return place.map(Some);
            }
        }
        let fits = |at: &usize| *at != chosen && self.fits(row, *at, level);
        let at_start = || Some(0).filter(|at| self.is_free(row, *at) && fits(at));
        let end = self.file.len().checked_sub(row.texts.len());
        let at_end = || end.filter(|at| *at >= self.cursor() && fits(at));
        if stated.old_start <= 1 {
            return Ok(at_start().or_else(|| if trail == 0 || trail < lead { at_end() } else { None }));
        }
        if trail == 0 {
            return Ok(at_end());
        }
        if let Some(end) = at_end().filter(|_| trail < lead) {
            return Ok(Some(end));
        }
        self.nearer_to_git(row, level, chosen, stated)
    }

    /// A place nearer than `chosen` to where git begins to search: the new side's line, in the file as patched so far.
    fn nearer_to_git(
        &self,
        row: &Row<'_>,
        level: Level,
        chosen: usize,
        stated: Stated,
    ) -> Result<Option<usize>, OutOfEffort> {
        let length = self.file.len().saturating_add_signed(self.placed.last().map_or(0, |last| last.grown_so_far));
        let goal = stated.new_start.saturating_sub(1).min(length);
        // Git does not share context between hunks: where we do, whatever else fits would be its choice.
        let far = if self.is_free(row, chosen) { self.in_patched(chosen).abs_diff(goal) } else { usize::MAX };
        if far == 0 {
            return Ok(None);
        }
        let reach = far.saturating_add(self.churn);
        let range = goal.saturating_sub(reach)..goal.saturating_add(reach).saturating_add(1);
        let found = self.file.search(&row.texts, level, range, &self.effort).find(|at| {
            at.as_ref().map_or(true, |&at| {
                let distance = self.in_patched(at).abs_diff(goal);
                let preferred = distance < far || (distance == far && at > chosen);
                preferred && row.may_end(self.file, at, level) && self.is_free(row, at)
            })
        });
        found.transpose()
    }

    fn fits(&self, row: &Row<'_>, at: usize, level: Level) -> bool {
        self.file.stands_at(at, &row.texts, level) && row.may_end(self.file, at, level)
    }

    fn fits_loosely(&self, row: &Row<'_>, at: usize, level: Level) -> bool {
        at >= self.cursor() && level != Level::Trailing && self.fits(row, at, Level::Trailing)
    }

    /// The index the header names, moved as far as the hunk before was.
    fn expected(&self, hunk: &Hunk<'_>, row: &Row<'_>) -> Option<usize> {
        let offset = self.placed.last().map_or(0, |last| last.offset);
        Some(row.named(hunk.stated?).saturating_add_signed(offset))
    }

    /// The index below the last change so far. The context below it may be the context above the next one, too:
    /// patch takes such hunks, and models write them.
    fn cursor(&self) -> usize {
        self.placed.last().map_or(0, |last| last.changed.end)
    }

    /// Whether a row of lines would overlap no hunk placed before.
    fn is_free(&self, row: &Row<'_>, at: usize) -> bool {
        let before = self.placed.partition_point(|placed| placed.end <= at);
        self.placed.get(before).is_none_or(|next| at.saturating_add(row.texts.len()) <= next.at)
    }

    /// Where a line of the file stands once the hunks before have been applied.
    fn in_patched(&self, at: usize) -> usize {
        let before = self.placed.partition_point(|placed| placed.end <= at);
        at.saturating_add_signed(before.checked_sub(1).map_or(0, |last| self.placed[last].grown_so_far))
    }

    fn placed(&self, hunk: &Hunk<'_>, row: &Row<'_>, at: usize, level: Level, fuzz: usize) -> Placed {
        let last = self.placed.last();
        let named = hunk.stated.map(|stated| row.named(stated));
        let (lead, trail) = hunk.margins();
        let end = at + row.texts.len();
        let count = |kind| hunk.lines.iter().filter(|line| line.kind == kind).count();
        let grown = count(Kind::Add).wrapping_sub(count(Kind::Remove)).cast_signed();
        Placed {
            number: hunk.number,
            at,
            end,
            changed: at + lead - row.left_out.0..end - (trail - row.left_out.1),
            left_out: row.left_out.0,
            level,
            offset: match named {
                Some(named) => at.wrapping_sub(row.left_out.0).wrapping_sub(named).cast_signed(),
                None => last.map_or(0, |last| last.offset),
            },
            grown,
            grown_so_far: last.map_or(0, |last| last.grown_so_far).saturating_add(grown),
            fuzz,
        }
    }
}

/// The lines of a hunk that must stand in the file, without the context lines that fuzz leaves out.
struct Row<'h> {
    texts: Vec<&'h str>,
    left_out: (usize, usize),
    /// Whether a newline ends the last of them.
    ends: bool,
    /// Whether the part that is used can only stand at the end of the file.
    reaches_end: bool,
    /// Whether an unchanged line with something on it is left.
    has_context: bool,
}

impl<'h> Row<'h> {
    fn new(hunk: &'h Hunk<'_>, left_out: (usize, usize)) -> Self {
        let used = &hunk.lines[left_out.0..hunk.lines.len() - left_out.1];
        let old = || used.iter().filter(|line| line.kind != Kind::Add);
        let is_real = |line: &Line<'_>| line.kind == Kind::Context && !line.text.trim().is_empty();
        Self {
            texts: old().map(|line| line.text).collect(),
            left_out,
            ends: old().next_back().is_none_or(|line| line.ends),
            reaches_end: used.iter().any(|line| !line.ends),
            has_context: used.iter().any(is_real),
        }
    }

    /// The index the header names. A header counts from 1, or names the line before where no line is old.
    fn named(&self, stated: Stated) -> usize {
        if self.texts.is_empty() { stated.old_start } else { stated.old_start.saturating_sub(1) }
    }

    /// Whether what the hunk says of the last newline agrees with the place.
    fn may_end(&self, file: &File<'_>, at: usize, level: Level) -> bool {
        let at_end = at + self.texts.len() == file.len();
        let silent = self.ends && level != Level::Exact;
        if at_end { silent || self.ends == file.ends } else { !self.reaches_end }
    }
}

fn ambiguous(hunk: &Hunk<'_>, one: usize, other: usize) -> PatchError {
    PatchError::Ambiguous { hunk: hunk.number, lines: (one.min(other) + 1, one.max(other) + 1) }
}

fn too_repetitive(hunk: &Hunk<'_>) -> PatchError {
    PatchError::TooRepetitive { hunk: hunk.number }
}
