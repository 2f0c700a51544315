//! The text as lines, and where in it a row of lines stands.
//!
//! A place that is named is compared directly. Only a search builds an index, and it starts from the rarest line of the
//! row, so that a search costs what that line's frequency costs. `Effort` bounds the sum for files that repeat every
//! line thousands of times.

use std::{
    cell::{Cell, OnceCell},
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

/// A text as lines.
pub(super) struct File<'t> {
    /// The lines without their newlines; a carriage return belongs to its line.
    pub(super) lines: Vec<&'t str>,
    /// Whether a newline ends the last line.
    pub(super) ends: bool,
    index: OnceCell<Index>,
}

impl<'t> File<'t> {
    /// Splits a text at its newlines.
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            lines: text.split_terminator('\n').collect(),
            ends: text.is_empty() || text.ends_with('\n'),
            index: OnceCell::new(),
        }
    }

    /// How many lines the file has.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether a row of lines stands at an index.
    pub(super) fn stands_at(&self, at: usize, row: &[&str], level: Level) -> bool {
        let end = at.checked_add(row.len());
        let here = end.and_then(|end| self.lines.get(at..end));
        here.is_some_and(|here| here.iter().zip(row).all(|(here, wanted)| level.alike(here, wanted)))
    }

    /// The places within `range` where a row of lines begins, in order.
    pub(super) fn search<'f>(
        &'f self,
        row: &'f [&str],
        level: Level,
        range: Range<usize>,
        effort: &'f Effort,
    ) -> impl Iterator<Item = Result<usize, OutOfEffort>> {
        let rarest = row.iter().map(|line| self.places_of(line)).enumerate().min_by_key(|(_, places)| places.len());
        let (shift, places) = rarest.unwrap_or_default();
        let from = places.partition_point(|&place| place < range.start.saturating_add(shift));
        let to = places.partition_point(|&place| place < range.end.saturating_add(shift));
        places.get(from..to).unwrap_or_default().iter().filter_map(move |place| {
            let start = place - shift;
            let here = self.lines.get(start..start + row.len())?;
            let same = here.iter().zip(row).take_while(|(here, wanted)| level.alike(here, wanted)).count();
            if let Err(out) = effort.spend(same + 1) {
                return Some(Err(out));
            }
            (same == row.len()).then_some(Ok(start))
        })
    }

    /// The places of a line, white space aside, in order.
    pub(super) fn places_of(&self, line: &str) -> &[usize] {
        self.index.get_or_init(|| Index::new(&self.lines)).places_of(line)
    }
}

/// How alike two lines must be, from strict to lenient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Byte for byte.
    Exact,
    /// Without regard to CRLF or LF.
    Endings,
    /// Without regard to whitespace at the end of the line.
    Trailing,
    /// Word by word, whatever white space stands before, between and after them.
    Words,
}

impl Level {
    /// Whether two lines are the same at this level.
    pub(super) fn alike(self, one: &str, other: &str) -> bool {
        match self {
            Self::Exact => one == other,
            Self::Endings => bare(one) == bare(other),
            Self::Trailing => one.trim_end() == other.trim_end(),
            Self::Words => one.split_whitespace().eq(other.split_whitespace()),
        }
    }
}

/// A line without the carriage return of its ending.
pub(super) fn bare(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

/// What searches may still cost, in comparisons of lines.
pub(super) struct Effort(Cell<usize>);

impl Effort {
    /// A file of 10 MB has about 300,000 lines, and 10,000 hunks whose rarest line stands in it 5,000 times need this
    /// much; it takes under a second.
    pub(super) const fn new() -> Self {
        Self(Cell::new(50_000_000))
    }

    fn spend(&self, comparisons: usize) -> Result<(), OutOfEffort> {
        self.0.set(self.0.get().checked_sub(comparisons).ok_or(OutOfEffort)?);
        Ok(())
    }
}

/// The searches of one patch have cost all they may.
#[derive(Debug)]
pub(super) struct OutOfEffort;

/// Where each distinct line stands, white space aside: one index serves every level, and what it gives is compared again
/// at the level asked for. A line is known by the hash of its words, so that none of them is copied.
struct Index {
    ids: HashMap<u64, usize>,
    /// The places of line `id` are `places[starts[id]..starts[id + 1]]`.
    starts: Vec<usize>,
    places: Vec<usize>,
}

impl Index {
    fn new(lines: &[&str]) -> Self {
        let mut ids = HashMap::new();
        let mut number = |line: &str| {
            let next = ids.len();
            *ids.entry(hash(line)).or_insert(next)
        };
        let numbers: Vec<usize> = lines.iter().map(|line| number(line)).collect();
        let mut starts = vec![0; ids.len() + 1];
        for id in &numbers {
            starts[id + 1] += 1;
        }
        for id in 0..ids.len() {
            starts[id + 1] += starts[id];
        }
        let mut next = starts.clone();
        let mut places = vec![0; lines.len()];
        for (place, id) in numbers.into_iter().enumerate() {
            places[next[id]] = place;
            next[id] += 1;
        }
        Self { ids, starts, places }
    }

    fn places_of(&self, line: &str) -> &[usize] {
        let Some(&id) = self.ids.get(&hash(line)) else { return &[] };
        &self.places[self.starts[id]..self.starts[id + 1]]
    }
}

fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.split_whitespace().for_each(|word| word.hash(&mut hasher));
    hasher.finish()
}
