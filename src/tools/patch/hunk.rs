//! The hunks of a diff, and where each one ends.
//!
//! The counts in a hunk's header are believed first: only they can tell a removed `-- a` from a file header, and a blank
//! context line from a blank line after the diff. Where the lines do not bear them out, the body is what stands up to
//! the next `@@`, header or end, without the blank lines at its end.

use super::{
    PatchError,
    header::{self, Header},
};

/// Reads a whole diff of one file.
pub(super) fn parse(patch: &str) -> Result<(Header, Vec<Hunk<'_>>), PatchError> {
    let lines: Vec<&str> = patch.split_terminator('\n').collect();
    let (header, mut at) = header::read(&lines)?;
    let mut hunks = Vec::new();
    let mut stray = None;
    while at < lines.len() {
        if lines[at].starts_with("@@@") {
            return Err(PatchError::Unsupported { what: "a combined diff of a merge" });
        }
        if lines[at].starts_with("@@") {
            if let Some(stray) = stray {
                return Err(bad_line(&lines, stray));
            }
            let (hunk, next) = Hunk::read(&lines, at, hunks.len() + 1)?;
            hunks.push(hunk);
            at = next;
            continue;
        }
        if let Some(second) = other_file(&lines, at) {
            return Err(PatchError::SeveralFiles { first: header.subject().to_owned(), second });
        }
        // Text after the last hunk is ignored, as git does; text before another hunk is a hunk gone wrong.
        stray = stray.or_else(|| (!is_blank(lines[at])).then_some(at));
        at += 1;
    }
    if hunks.is_empty() { Err(PatchError::NoHunks) } else { Ok((header, hunks)) }
}

/// One hunk.
#[derive(Debug)]
pub(super) struct Hunk<'p> {
    pub(super) number: usize,
    pub(super) stated: Option<Stated>,
    pub(super) lines: Vec<Line<'p>>,
}

/// The numbers of a hunk's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stated {
    pub(super) old_start: usize,
    old_count: usize,
    pub(super) new_start: usize,
    new_count: usize,
}

/// One line of a hunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'p> {
    pub(super) kind: Kind,
    /// The text without its newline; a carriage return belongs to it.
    pub(super) text: &'p str,
    /// Whether a newline ends it; `\ No newline at end of file` says it does not.
    pub(super) ends: bool,
}

/// What a hunk says about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Context,
    Remove,
    Add,
}

impl<'p> Hunk<'p> {
    /// The lines that must stand in the file.
    pub(super) fn old(&self) -> impl Iterator<Item = &Line<'p>> {
        self.lines.iter().filter(|line| line.kind != Kind::Add)
    }

    /// The lines that stand in the file afterwards.
    pub(super) fn new_side(&self) -> impl Iterator<Item = &Line<'p>> {
        self.lines.iter().filter(|line| line.kind != Kind::Remove)
    }

    /// How many unchanged lines stand before the first change and after the last.
    pub(super) fn margins(&self) -> (usize, usize) {
        let is_context = |line: &&Line<'_>| line.kind == Kind::Context;
        (self.lines.iter().take_while(is_context).count(), self.lines.iter().rev().take_while(is_context).count())
    }

    /// The lines from the first change to the last.
    pub(super) fn changes(&self) -> &[Line<'p>] {
        let (lead, trail) = self.margins();
        &self.lines[lead..self.lines.len() - trail]
    }

    /// Whether the header says that nothing stood there before, as that of a new file does.
    pub(super) fn adds_to_nothing(&self) -> bool {
        self.old().next().is_none() && self.stated.is_some_and(|stated| stated.old_start == 0)
    }

    /// Whether a side has no newline at its end, so that the hunk can only stand at the end of the file.
    pub(super) fn reaches_end(&self) -> bool {
        self.lines.iter().any(|line| !line.ends)
    }

    fn read(lines: &[&'p str], at: usize, number: usize) -> Result<(Self, usize), PatchError> {
        let stated = Stated::read(lines[at]);
        let (lines, next) = match stated.and_then(|stated| counted(lines, at + 1, stated)) {
            Some(found) => found,
            None => uncounted(lines, at + 1)?,
        };
        let hunk = Self { number, stated, lines };
        if hunk.lines.iter().all(|line| line.kind == Kind::Context) {
            return Err(PatchError::NoChange { hunk: number });
        }
        let inner = |side: Vec<&Line<'_>>| side.iter().rev().skip(1).any(|line| !line.ends);
        if inner(hunk.old().collect()) || inner(hunk.new_side().collect()) {
            return Err(PatchError::BadMarker { hunk: number });
        }
        Ok((hunk, next))
    }
}

impl Stated {
    /// The numbers of `@@ -a,b +c,d @@`; `None` where there are none, as models write it.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("@@")?.split_ascii_whitespace();
        let (old_start, old_count) = range(words.next()?.strip_prefix('-')?)?;
        let (new_start, new_count) = range(words.next()?.strip_prefix('+')?)?;
        Some(Self { old_start, old_count, new_start, new_count })
    }
}

fn range(word: &str) -> Option<(usize, usize)> {
    let (start, count) = word.split_once(',').unwrap_or((word, "1"));
    Some((start.parse().ok()?, count.trim_end_matches('@').parse().ok()?))
}

type Body<'p> = (Vec<Line<'p>>, usize);

/// The body by its counts; `None` where the lines do not bear them out.
fn counted<'p>(lines: &[&'p str], start: usize, stated: Stated) -> Option<Body<'p>> {
    let (mut old, mut new, mut at) = (stated.old_count, stated.new_count, start);
    let mut body = Vec::new();
    while old > 0 || new > 0 {
        at = read_line(lines, at, &mut body)?;
        // A marker adds no line and is read with the line before it, so that each turn adds exactly one.
        let kind = body.last()?.kind;
        old = old.checked_sub(usize::from(kind != Kind::Add))?;
        new = new.checked_sub(usize::from(kind != Kind::Remove))?;
    }
    let after = (at..lines.len()).find(|&next| !is_blank(lines[next]));
    let goes_on = after.is_some_and(|next| lines[next].starts_with([' ', '+', '-', '\\']) && !ends_body(lines, next));
    (!goes_on && !body.is_empty()).then_some((body, at))
}

/// The body without regard to counts: up to what cannot belong to it.
fn uncounted<'p>(lines: &[&'p str], start: usize) -> Result<Body<'p>, PatchError> {
    let mut body = Vec::new();
    let mut at = start;
    let mut kept = 0;
    while at < lines.len() && !ends_body(lines, at) {
        let blank = is_blank(lines[at]) && !lines[at].starts_with(' ');
        at = read_line(lines, at, &mut body).ok_or_else(|| bad_line(lines, at))?;
        kept = if blank { kept } else { body.len() };
    }
    body.truncate(kept);
    Ok((body, at))
}

/// Reads one line of a body with the marker that may follow it, and gives the index after them.
fn read_line<'p>(lines: &[&'p str], at: usize, body: &mut Vec<Line<'p>>) -> Option<usize> {
    let line = lines.get(at)?;
    let (kind, text) = match line.as_bytes().first() {
        Some(b' ') => (Kind::Context, &line[1..]),
        Some(b'-') => (Kind::Remove, &line[1..]),
        Some(b'+') => (Kind::Add, &line[1..]),
        // Models and editors strip the lone space of an empty context line.
        None | Some(b'\r') if is_blank(line) => (Kind::Context, *line),
        _ => return None,
    };
    let marked = lines.get(at + 1).is_some_and(|next| next.starts_with("\\ "));
    body.push(Line { kind, text, ends: !marked });
    Some(at + 1 + usize::from(marked))
}

/// Whether a line cannot belong to a hunk of unknown length: a hunk, a file header, a mail signature, a closing fence.
fn ends_body(lines: &[&str], at: usize) -> bool {
    let line = lines[at].trim_end();
    let signature =
        line == "--" && lines.get(at + 1).is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit()));
    line.starts_with("@@") || line.starts_with("```") || signature || other_file(lines, at).is_some()
}

/// The name of another file whose section begins at a line.
fn other_file(lines: &[&str], at: usize) -> Option<String> {
    if let Some(names) = lines[at].strip_prefix("diff --git ") {
        return Some(names.trim_end().to_owned());
    }
    let (names, next) = header::names(lines, at).filter(|(_, next)| *next == at + 2)?;
    let header = lines.get(next).is_none_or(|line| line.starts_with("@@"));
    header.then(|| names.subject().unwrap_or("/dev/null").to_owned())
}

fn is_blank(line: &str) -> bool {
    line.trim_end_matches('\r').is_empty()
}

fn bad_line(lines: &[&str], at: usize) -> PatchError {
    PatchError::BadLine { line: at + 1, text: super::near::clip(lines[at]) }
}
