//! `edit_file`: changes, makes or removes one text file.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::workspace::{PathError, Workspace};
use super::{diff, lines, patch, read_file};
use crate::domain::{Intent, Json};

pub(super) const NAME: &str = "edit_file";

pub(super) const DESCRIPTION: &str = "Change, create or delete a text file in the workspace. Give file_path and one of: \
new_content (the whole file); diff_patch (a unified diff of this file); new_content with insert_after_line; \
new_content with replace_lines. Line numbers count from 0. The file's line endings, byte order mark, mode and missing \
last line feed are kept. The result has the diff that was really made and the new sha256.";

/// The largest file that is edited, in bytes: an edit holds the file, its new text and their diff in memory.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What the brain gives.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// The file, relative to the workspace. Missing directories are made.
    file_path: String,
    /// The new text: of the whole file, or of the lines that `insert_after_line` or `replace_lines` name.
    new_content: Option<String>,
    /// A unified diff of this one file. With `new_content`, the content stands.
    diff_patch: Option<String>,
    /// Insert `new_content` after this line, counted from 0; past the end it is appended. -1 means not given.
    #[schema(minimum = -1)]
    insert_after_line: Option<i64>,
    /// Replace the lines from the first to the second number, counted from 0, both included.
    #[schema(min_items = 2, max_items = 2)]
    replace_lines: Option<[u64; 2]>,
    /// Fail if the file's SHA-256 (hexadecimal) is another: it has changed since it was read.
    expected_sha256: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Output {
    status: &'static str,
    message: String,
    /// Null for a file that had other names.
    diff: Option<String>,
    /// Null when the file was deleted.
    sha256: Option<String>,
}

/// The content that such a file had may be somebody else's, outside: it is left alone, and not shown.
const OTHER_NAMES: &str = "; the file had other names (hard links), which keep the former content, so no diff is shown";

/// The one thing that the arguments ask for.
enum Mode<'a> {
    Whole(&'a str),
    Patch(&'a str),
    Insert(&'a str, u64),
    Replace(&'a str, u64, u64),
}

/// An edit that is worked out and not made yet.
#[derive(Debug)]
pub(super) struct Edit {
    path: String,
    original: Option<String>,
    new: Option<String>,
    output: Output,
}

/// What became of an edit.
#[derive(Debug)]
pub(super) enum Made {
    /// It is done.
    Done(Output),
    /// Somebody has changed the file since it was worked out; it is not made.
    Stale,
}

/// What the file tells of an edit that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// The file is as it was to become.
    Done,
    /// The file is as it was.
    ToDo,
    /// Somebody else has been at it.
    Unknown,
}

/// Works an edit out; nothing is changed.
pub(super) fn plan(workspace: &Workspace, arguments: &Arguments) -> Result<Edit, String> {
    let mode = mode(arguments)?;
    let path = &arguments.file_path;
    let shown = workspace.shown(path).map_err(|error| error.to_string())?;
    workspace.may_change(path).map_err(|error| error.to_string())?;
    let (original, names) = read(workspace, path)?;
    if let Some(expected) = &arguments.expected_sha256 {
        check_unchanged(original.as_deref(), expected)?;
    }

    let old = original.as_deref().unwrap_or_default();
    let mut message = "file edited".to_owned();
    let new = match mode {
        Mode::Whole(content) => Some(lines::like_original(old, content)),
        Mode::Insert(content, after) => {
            let at = lines::split(old).len().min(usize::try_from(after).unwrap_or(usize::MAX).saturating_add(1));
            Some(lines::splice(old, at, at, content))
        }
        Mode::Replace(content, first, last) => {
            let count = lines::split(old).len();
            let (first, last) = (usize::try_from(first).ok(), usize::try_from(last).ok());
            let (Some(first), Some(last)) = (first, last) else { return Err(outside(count)) };
            if first > last || last >= count {
                return Err(outside(count));
            }
            Some(lines::splice(old, first, last + 1, content))
        }
        Mode::Patch(text) => {
            let patched = patch::apply(original.as_deref(), text, &shown).map_err(|error| error.to_string())?;
            message.push_str(&placements(&patched.hunks));
            patched.text
        }
    };
    let diff = if names > 1 {
        message.push_str(OTHER_NAMES);
        None
    } else {
        Some(diff::unified(&shown, original.as_deref(), new.as_deref()))
    };
    let sha256 = new.as_deref().map(|text| read_file::sha256(text.as_bytes()));
    Ok(Edit { path: path.clone(), original, new, output: Output { status: "success", message, diff, sha256 } })
}

impl Edit {
    /// What goes on record before it is made.
    pub(super) fn intent(&self) -> Intent {
        Intent {
            before: self.original.as_deref().map(|text| read_file::sha256(text.as_bytes())),
            after: self.output.sha256.clone(),
            result: Json::of(&self.output),
        }
    }

    /// Makes it, if the file still is what it was.
    pub(super) fn make(self, workspace: &Workspace, edits: &Mutex<()>) -> Result<Made, String> {
        let editing = edits.lock().unwrap_or_else(PoisonError::into_inner);
        if read(workspace, &self.path)?.0 != self.original {
            return Ok(Made::Stale);
        }
        match &self.new {
            Some(text) => workspace.replace(&self.path, text.as_bytes()),
            None => workspace.remove(&self.path),
        }
        .map_err(|error| error.to_string())?;
        drop(editing);
        Ok(Made::Done(self.output))
    }
}

/// How far an edit came of which `intent` is on record.
pub(super) fn trace(workspace: &Workspace, arguments: &Arguments, intent: &Intent) -> Trace {
    let Ok((text, _)) = read(workspace, &arguments.file_path) else { return Trace::Unknown };
    match text.map(|text| read_file::sha256(text.as_bytes())) {
        now if now == intent.after => Trace::Done,
        now if now == intent.before => Trace::ToDo,
        _ => Trace::Unknown,
    }
}

fn mode(arguments: &Arguments) -> Result<Mode<'_>, String> {
    let after = match arguments.insert_after_line {
        None | Some(-1) => None,
        Some(line) => Some(u64::try_from(line).map_err(|_| "insert_after_line must not be negative".to_owned())?),
    };
    match (&arguments.new_content, &arguments.diff_patch, after, arguments.replace_lines) {
        (Some(content), _, None, None) => Ok(Mode::Whole(content)),
        (None, Some(patch), None, None) => Ok(Mode::Patch(patch)),
        (Some(content), None, Some(after), None) => Ok(Mode::Insert(content, after)),
        (Some(content), None, None, Some([first, last])) => Ok(Mode::Replace(content, first, last)),
        (None, None, None, None) => Err("new_content or diff_patch is missing".to_owned()),
        (None, None, Some(_), None) => Err("insert_after_line needs new_content".to_owned()),
        (None, None, None, Some(_)) => Err("replace_lines needs new_content".to_owned()),
        _ => Err("give only one of diff_patch, insert_after_line and replace_lines".to_owned()),
    }
}

/// The file's text; `None` if there is no such file.
/// The text, if there is a file, and how many names it has.
fn read(workspace: &Workspace, path: &str) -> Result<(Option<String>, u64), String> {
    let file = match workspace.open_file(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok((None, 1)),
        Err(error) => return Err(error.to_string()),
    };
    let names = file.metadata().map_or(1, |metadata| metadata.nlink());
    let bytes = bounded(file, path)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{path}: is not UTF-8 text"))?;
    Ok((Some(text), names))
}

/// A file that grows while it is read ends here too.
fn bounded(file: File, path: &str) -> Result<Vec<u8>, String> {
    let io = |source: io::Error| PathError::Io { path: path.to_owned(), source }.to_string();
    let too_large = || format!("{path}: is larger than {MAX_BYTES} bytes, the most that can be edited");
    if file.metadata().map_err(io)?.len() > MAX_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES { Err(too_large()) } else { Ok(bytes) }
}

fn check_unchanged(original: Option<&str>, expected: &str) -> Result<(), String> {
    let Some(text) = original else { return Err("expected_sha256: the file does not exist".to_owned()) };
    let actual = read_file::sha256(text.as_bytes());
    if actual.eq_ignore_ascii_case(expected.trim()) {
        Ok(())
    } else {
        Err(format!("expected_sha256: the file has changed since it was read; it is {actual} now"))
    }
}

fn outside(count: usize) -> String {
    match count.checked_sub(1) {
        Some(last) => {
            format!("replace_lines: the file's lines are 0 to {last}, and the first must not be after the last")
        }
        None => "replace_lines: the file has no lines".to_owned(),
    }
}

/// Where hunks went that did not fit where they said.
fn placements(hunks: &[patch::Placement]) -> String {
    let mut text = String::new();
    for hunk in hunks.iter().filter(|hunk| hunk.offset != 0 || hunk.fuzz != 0 || hunk.space != patch::Space::Same) {
        let _ = write!(text, "; hunk {} went to line {} (offset {:+}", hunk.hunk, hunk.line, hunk.offset);
        if hunk.fuzz != 0 {
            let _ = write!(text, ", fuzz {}", hunk.fuzz);
        }
        text.push_str(match hunk.space {
            patch::Space::Same => ")",
            patch::Space::Trailing => ", trailing white space overlooked)",
            patch::Space::Anywhere => {
                ", white space in unchanged lines overlooked: the file keeps its own, and added lines are as the patch has \
                 them, so check their indentation)"
            }
        });
    }
    text
}

#[cfg(test)]
mod tests;
