//! The unified diff of an edit, in the form that `git apply` takes.

use std::fmt::Write;
use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// Lines of context, as git's default.
const CONTEXT: usize = 3;

/// After this the search for the shortest diff stops at a longer one, which is as true.
const EFFORT: Duration = Duration::from_millis(300);

/// What turns `old` into `new`; `None` is a file that is not there. Empty if nothing changes.
pub(super) fn unified(path: &str, old: Option<&str>, new: Option<&str>) -> String {
    if old == new {
        return String::new();
    }
    let (before, after) = (lines(old), lines(new));
    let diff = TextDiff::configure().timeout(EFFORT).diff_slices(&before, &after);
    // A tab tells where a name with spaces ends.
    let end = if path.contains(' ') { "\t" } else { "" };
    let side = |prefix, text: Option<&str>| text.map_or("/dev/null".to_owned(), |_| name(prefix, path) + end);
    let mut out = String::new();
    // git wants to be told in words of a file that comes or goes, above all of an empty one.
    match (old, new) {
        (None, Some(_)) => header(&mut out, path, "new file mode 100644"),
        (Some(_), None) => header(&mut out, path, "deleted file mode 100644"),
        _ => {}
    }
    if before.is_empty() && after.is_empty() {
        return out;
    }
    let _ = writeln!(out, "--- {}\n+++ {}", side('a', old), side('b', new));
    for group in diff.grouped_ops(CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old_range = range(first.old_range().start, last.old_range().end);
        let new_range = range(first.new_range().start, last.new_range().end);
        let _ = writeln!(out, "@@ -{old_range} +{new_range} @@");
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            out.push(match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            });
            out.push_str(change.value());
            if !change.value().ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    out
}

fn header(out: &mut String, path: &str, mode: &str) {
    let _ = writeln!(out, "diff --git {} {}\n{mode}", name('a', path), name('b', path));
}

fn lines(text: Option<&str>) -> Vec<&str> {
    super::lines::split(text.unwrap_or_default())
}

/// `start,count` with the start counted from 1, or from 0 where there is no line.
fn range(start: usize, end: usize) -> String {
    match end - start {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        count => format!("{},{count}", start + 1),
    }
}

/// A file's name, quoted as git quotes it where it has to be.
fn name(prefix: char, path: &str) -> String {
    let path = path.trim_start_matches("./");
    if path.chars().all(|c| !c.is_control() && c != '"' && c != '\\') {
        return format!("{prefix}/{path}");
    }
    let mut quoted = format!("\"{prefix}/");
    for byte in path.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            0x20..=0x7e => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03o}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
