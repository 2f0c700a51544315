//! The quotation in an error: what a hunk looks for, and the lines of the file that are nearest to it.

use std::{cmp::Reverse, collections::HashMap};

use similar::get_close_matches;

use super::{
    PatchError,
    error::Hint,
    file::{Effort, File, Level},
    hunk::{Hunk, Kind},
};

/// How many lines are quoted of each: enough for a usual hunk, short enough for a model's context.
const QUOTED: usize = 16;

/// How much is quoted of a line, in characters.
const QUOTED_WIDTH: usize = 160;

/// A line that stands in the file more often than this says nothing about the place.
const TELLING: usize = 200;

/// How much the lines in common must hold, in characters, before they outweigh a similar line elsewhere.
const WEIGHTY: usize = 8;

/// How many lines are compared character by character, so that an error costs milliseconds in a file of any size.
const COMPARED: usize = 1000;

/// How alike a line must be to be worth quoting; the value Python's `difflib` uses for the same purpose.
const ALIKE: f32 = 0.6;

/// Says why a hunk fits nowhere. `expected` is the index its header leads to, `cursor` the one below the hunk before.
pub(super) fn not_found(
    file: &File<'_>,
    hunk: &Hunk<'_>,
    expected: Option<usize>,
    cursor: usize,
    effort: &Effort,
) -> PatchError {
    let old: Vec<&str> = hunk.old().map(|line| line.text).collect();
    let nearest = shared(file, &old, expected).or_else(|| similar_line(file, &old, expected));
    let wanted = quote(old.iter().map(|line| format!("    {}", clip(line))));
    let hint = hint(file, hunk, &old, nearest, cursor, effort);
    PatchError::NotFound { hunk: hunk.number, wanted, found: found(file, &old, nearest, expected), hint }
}

/// A line as it is quoted: no longer than a reader needs.
pub(super) fn clip(line: &str) -> String {
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.char_indices().nth(QUOTED_WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The start at which the most of the hunk's telling lines stand, indentation aside.
fn shared(file: &File<'_>, old: &[&str], expected: Option<usize>) -> Option<usize> {
    let mut weights: HashMap<usize, usize> = HashMap::new();
    for (at, line) in old.iter().enumerate().take(COMPARED) {
        let places = file.places_of(line);
        for place in places.iter().filter(|_| places.len() <= TELLING) {
            *weights.entry(place.saturating_sub(at)).or_default() += line.trim().len();
        }
    }
    let distance = |start: usize| expected.map_or(start, |expected| start.abs_diff(expected));
    let best = weights.into_iter().max_by_key(|&(start, weight)| (weight, Reverse(distance(start)), Reverse(start)));
    best.filter(|&(_, weight)| weight >= WEIGHTY).map(|(start, _)| start)
}

/// The start at which a line stands that is like the hunk's longest.
fn similar_line(file: &File<'_>, old: &[&str], expected: Option<usize>) -> Option<usize> {
    let (at, longest) = old.iter().enumerate().max_by_key(|(at, line)| (line.trim().len(), Reverse(*at)))?;
    let from = expected.map_or(0, |expected| expected.min(file.len()).saturating_sub(COMPARED / 2));
    let clipped: Vec<String> = file.lines.iter().skip(from).take(COMPARED).map(|line| clip(line.trim())).collect();
    let lines: Vec<&str> = clipped.iter().map(String::as_str).collect();
    let close = get_close_matches(clip(longest.trim()).as_str(), &lines, 1, ALIKE);
    let place = lines.iter().position(|line| close.first() == Some(line))?;
    Some((from + place).saturating_sub(at))
}

fn found(file: &File<'_>, old: &[&str], nearest: Option<usize>, expected: Option<usize>) -> String {
    if file.len() == 0 {
        return "The file is empty.".to_owned();
    }
    let (start, title) = match (nearest, expected) {
        (Some(start), _) => (start, "The nearest lines of the file are"),
        (None, Some(expected)) => (expected, "No line of the file is like them. Where the header points, the file has"),
        (None, None) => return "No line of the file is like them.".to_owned(),
    };
    let start = start.min(file.len().saturating_sub(old.len()));
    let lines = file.lines.iter().enumerate().skip(start).take(old.len());
    let quoted = quote(lines.map(|(at, line)| format!("{:>6}|{}", at + 1, clip(line))));
    let differs = |at: &usize| file.lines.get(start + at).map(|line| line.trim_end()) != Some(old[*at].trim_end());
    match (0..old.len()).find(differs) {
        Some(at) if nearest.is_some() && at + start < file.len() => {
            let line = start + at + 1;
            // Where the quotations end before it, the two lines are given by themselves.
            let lines = match file.lines.get(line - 1) {
                Some(here) if at >= QUOTED => {
                    format!(": the file has\n{line:>6}|{}\nand the patch\n    {}", clip(here), clip(old[at]))
                }
                _ => ".".to_owned(),
            };
            format!("{title}\n{quoted}\nThe first difference is at line {line}{lines}")
        }
        _ => format!("{title}\n{quoted}"),
    }
}

fn hint(
    file: &File<'_>,
    hunk: &Hunk<'_>,
    old: &[&str],
    nearest: Option<usize>,
    cursor: usize,
    effort: &Effort,
) -> Hint {
    let search = |row: &[&str], level, range| file.search(row, level, range, effort).next()?.ok();
    let first = |row: &[&str], range| search(row, Level::Endings, range);
    if let Some(at) = search(old, Level::Trailing, cursor..file.len()).filter(|_| hunk.reaches_end()) {
        let at_end = at + old.len() == file.len();
        return if at_end { Hint::HasNewline(at + 1) } else { Hint::NotAtEnd(at + 1) };
    }
    if let Some(at) = first(old, 0..cursor) {
        return Hint::OutOfOrder(at + 1);
    }
    let adds = hunk.lines.iter().any(|line| line.kind == Kind::Add && !line.text.trim().is_empty());
    let new: Vec<&str> = hunk.new_side().map(|line| line.text).collect();
    if let Some(at) = first(&new, 0..file.len()).filter(|_| adds) {
        return Hint::Applied(at + 1);
    }
    let indented = nearest.is_some_and(|at| file.stands_at(at, old, Level::Words));
    if indented { Hint::Indentation } else { Hint::Differs }
}

fn quote(lines: impl ExactSizeIterator<Item = String>) -> String {
    let more = lines.len().saturating_sub(QUOTED);
    let mut quoted: Vec<String> = lines.take(QUOTED).collect();
    if more > 0 {
        quoted.push(format!("    … {more} more lines"));
    }
    quoted.join("\n")
}
