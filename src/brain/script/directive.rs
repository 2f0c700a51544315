//! The lines of an instruction, read strictly: one that is no directive refuses the whole before anything is done.

use std::fmt;
use std::iter::{Enumerate, Peekable};
use std::str::Lines;

use globset::{GlobBuilder, GlobMatcher};

use super::shortened;

/// All that is understood, in one line.
const UNDERSTOOD: &str = "the script brain understands, each on a line of its own: replace \"X\" with \"Y\" in GLOB · \
create PATH with \"TEXT\" · run: CMD · until CMD passes";

/// What an instruction says to do, in order; at least one directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program(pub(super) Vec<Line>);

/// A directive and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    pub(super) directive: Directive,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    /// Every `from` in the files that `glob` names becomes `to`.
    Replace { from: String, to: String, glob: Glob },
    /// The file gets this text, whatever it had.
    Create { path: String, text: String },
    /// The command has to succeed.
    Run { command: String },
    /// What came since the last one of these is done again until the command succeeds.
    Until { command: String },
}

/// Files by a pattern, relative to the workspace; `*` stops at a `/`, `**` does not.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    text: String,
    matcher: GlobMatcher,
}

/// The longest GLOB, in bytes: as long as a path may be. What it compiles to is many times as large.
const LONGEST_GLOB: usize = 4096;

/// Directives of one task: each takes at least an iteration, and all are read at each.
const MOST: usize = 1000;

impl Program {
    /// Reads an instruction; the error says what is understood.
    pub(super) fn parse(instruction: &str) -> Result<Self, String> {
        let mut lines = instruction.lines().enumerate().peekable();
        let mut program = Vec::new();
        while let Some((at, line)) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let directive = Directive::parse(line, &mut lines)
                .map_err(|error| format!("line {}, `{}`, {error}; {UNDERSTOOD}", at + 1, shortened(line)))?;
            if program.len() == MOST {
                return Err(format!("the instruction has more than {MOST} directives"));
            }
            program.push(Line { number: at + 1, directive });
        }
        if program.is_empty() {
            Err(format!("the instruction has no directive; {UNDERSTOOD}"))
        } else {
            Ok(Self(program))
        }
    }
}

impl Directive {
    /// Reads one that begins with `line`; a block of text is taken from the lines `below`.
    fn parse(line: &str, below: &mut Peekable<Enumerate<Lines<'_>>>) -> Result<Self, String> {
        if let Some(rest) = word(line, "replace") {
            return Self::replace(rest);
        }
        if let Some(rest) = word(line, "create") {
            return Self::create(rest, below);
        }
        if let Some(command) = line.strip_prefix("run:") {
            return Ok(Self::Run { command: command_of(command)? });
        }
        if let Some(rest) = word(line, "until") {
            let command = rest.strip_suffix("passes").filter(|command| command.ends_with(char::is_whitespace));
            let command = command.ok_or("does not end with `passes`")?;
            return Ok(Self::Until { command: command_of(command)? });
        }
        Err("is no directive".to_owned())
    }

    fn replace(rest: &str) -> Result<Self, String> {
        let (from, rest) = quoted(rest)?;
        let (to, rest) = quoted(following(rest, "with")?)?;
        let (glob, rest) = match following(rest, "in")? {
            text if text.starts_with('"') => quoted(text)?,
            text => (text.to_owned(), ""),
        };
        ends(rest)?;
        if from.is_empty() || from.contains('\0') {
            return Err("looks for nothing, or for a NUL character, which no text has".to_owned());
        }
        if from == to {
            return Err("replaces a text with itself".to_owned());
        }
        Ok(Self::Replace { from, to, glob: Glob::parse(&glob)? })
    }

    fn create(rest: &str, below: &mut Peekable<Enumerate<Lines<'_>>>) -> Result<Self, String> {
        let (path, rest) = if rest.starts_with('"') {
            quoted(rest)?
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        if path.is_empty() {
            return Err("has no PATH".to_owned());
        }
        let rest = following(rest, "with")?;
        if rest.is_empty() {
            return Ok(Self::Create { path, text: fenced(below)? });
        }
        let (text, rest) = quoted(rest)?;
        ends(rest)?;
        Ok(Self::Create { path, text })
    }
}

/// What comes behind `word` at the beginning of `text`.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim_start())
}

/// What comes behind `expected`, which a space parts from what stands before.
fn following<'a>(text: &'a str, expected: &str) -> Result<&'a str, String> {
    let rest = text.trim_start();
    let found = (rest.len() < text.len()).then(|| word(rest, expected)).flatten();
    found.ok_or_else(|| format!("has no `{expected}` where it has to be"))
}

/// A text in quotes as JSON has it, and what comes behind.
fn quoted(text: &str) -> Result<(String, &str), String> {
    if !text.starts_with('"') {
        return Err("has no text in double quotes where it has to be".to_owned());
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    match values.next() {
        Some(Ok(value)) => Ok((value, &text[values.byte_offset()..])),
        Some(Err(error)) => Err(format!("has a text in quotes that is not as in JSON: {error}")),
        None => Err("has no text".to_owned()),
    }
}

fn ends(rest: &str) -> Result<(), String> {
    if rest.trim().is_empty() {
        Ok(())
    } else {
        Err(format!("has something behind its end: {}", shortened(rest.trim())))
    }
}

fn command_of(text: &str) -> Result<String, String> {
    let command = text.trim();
    if command.is_empty() { Err("has no CMD".to_owned()) } else { Ok(command.to_owned()) }
}

/// The lines between two lines of at least three backticks, the second not shorter than the first.
fn fenced(below: &mut Peekable<Enumerate<Lines<'_>>>) -> Result<String, String> {
    let backticks = |line: &str| line.trim_start().bytes().take_while(|byte| *byte == b'`').count();
    let opening = below.next_if(|(_, line)| backticks(line) >= 3);
    let Some((_, opening)) = opening else {
        return Err("has neither a text in double quotes nor a line of ``` below it".to_owned());
    };
    let (mut text, fence) = (String::new(), backticks(opening));
    for (_, line) in below {
        if backticks(line) >= fence && line.trim().bytes().all(|byte| byte == b'`') {
            return Ok(text);
        }
        text.push_str(line);
        text.push('\n');
    }
    Err("has a block that is not closed".to_owned())
}

impl Glob {
    fn parse(text: &str) -> Result<Self, String> {
        let mut text = text;
        while let Some(rest) = text.strip_prefix("./") {
            text = rest;
        }
        if text.is_empty() {
            return Err("has no GLOB".to_owned());
        }
        if text.len() > LONGEST_GLOB {
            return Err(format!("has a GLOB of over {LONGEST_GLOB} bytes"));
        }
        if text.starts_with('/') || text.contains('\0') || text.split('/').any(|part| part == "..") {
            return Err(format!("has a GLOB that leads out of the workspace: {}", shortened(text)));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob.map_err(|error| format!("has a GLOB that is none: {}", error.kind()))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.matcher.is_match(path)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace { from, to, glob } => {
                let glob = bare_or_quoted(&glob.text, char::is_control);
                write!(f, "replace {} with {} in {glob}", json(from), json(to))
            }
            Self::Create { path, text } => {
                write!(f, "create {} with {}", bare_or_quoted(path, char::is_whitespace), json(text))
            }
            Self::Run { command } => write!(f, "run: {command}"),
            Self::Until { command } => write!(f, "until {command} passes"),
        }
    }
}

/// The text itself where it reads back as that, else in quotes.
fn bare_or_quoted(text: &str, special: impl Fn(char) -> bool) -> String {
    if text.starts_with('"') || text.trim() != text || text.contains(special) { json(text) } else { text.to_owned() }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
