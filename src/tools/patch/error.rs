//! Why a diff was not applied, in words that a language model can act on in its next turn.

use thiserror::Error;

/// A diff that was refused. Nothing has been changed when it arises; trying the same diff again does not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatchError {
    /// Nothing in the text is a hunk.
    #[error(
        "the patch has no hunk: it must be a unified diff with at least one hunk, which begins with a line like \
         `@@ -12,4 +12,5 @@`"
    )]
    NoHunks,
    /// A line where a hunk's line should be.
    #[error(
        "line {line} of the patch, `{text}`, is no line of a hunk: each begins with a space (unchanged), `-` (removed) \
         or `+` (added)"
    )]
    BadLine {
        /// The line of the patch, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// "No newline" that does not stand after the last line of its side.
    #[error("hunk {hunk}: `\\ No newline at end of file` may only follow the last line of the old or of the new side")]
    BadMarker {
        /// The hunk, from 1.
        hunk: usize,
    },
    /// A hunk without a removed or added line.
    #[error("hunk {hunk} changes nothing: none of its lines begins with `-` or `+`")]
    NoChange {
        /// The hunk, from 1.
        hunk: usize,
    },
    /// A hunk that only inserts, with no line around it to find the place by.
    #[error(
        "hunk {hunk} only adds lines and has no unchanged line to find its place by: repeat at least one line of the \
         file next to the added ones, with a space in front"
    )]
    NoContext {
        /// The hunk, from 1.
        hunk: usize,
    },
    /// A kind of diff that is more than a change of text.
    #[error(
        "the patch holds {what}, which this tool does not apply: send a diff that only changes the text of one file"
    )]
    Unsupported {
        /// What it holds.
        what: &'static str,
    },
    /// More than one file.
    #[error("the patch changes several files (`{first}`, then `{second}`): send one diff for each file")]
    SeveralFiles {
        /// The file named first.
        first: String,
        /// The file named next.
        second: String,
    },
    /// A diff for another file.
    #[error("the patch is for `{named}`, but the file to edit is `{path}`")]
    OtherFile {
        /// The name in the diff.
        named: String,
        /// The name the caller gave.
        path: String,
    },
    /// A change to a file that is not there.
    #[error(
        "`{path}` does not exist, and the patch does not create it: a diff that creates a file has `--- /dev/null` and \
         `@@ -0,0 +1,N @@`"
    )]
    Missing {
        /// The name the caller gave.
        path: String,
    },
    /// The creation of a file that is there.
    #[error("the patch creates `{path}`, but it exists and is not empty: send a diff against its present text")]
    Exists {
        /// The name the caller gave.
        path: String,
    },
    /// The creation of a file with lines to be found in it.
    #[error("the patch creates a file, so that it must be a single hunk in which every line begins with `+`")]
    CreatesWithContext,
    /// The deletion of a file that leaves lines.
    #[error("the patch deletes `{path}`, but its hunks leave {left} lines of it: a deletion must remove every line")]
    DeletesInPart {
        /// The name the caller gave.
        path: String,
        /// How many lines would be left.
        left: usize,
    },
    /// Two places are as good as each other.
    #[error(
        "hunk {hunk} fits at line {} and also at line {}: add unchanged lines around the change until only one place \
         fits, and give the right line number after `@@ -`", lines.0, lines.1
    )]
    Ambiguous {
        /// The hunk, from 1.
        hunk: usize,
        /// The two lines of the file, from 1, in their order.
        lines: (usize, usize),
    },
    /// The search was given up: every line of the hunk stands in the file too often.
    #[error(
        "hunk {hunk} is made of lines that the file repeats so often that the search for its place was given up: give \
         the right line number after `@@ -`, or add a line that stands in the file once"
    )]
    TooRepetitive {
        /// The hunk, from 1.
        hunk: usize,
    },
    /// The file has no such lines.
    #[error("hunk {hunk} fits nowhere. It looks for\n{wanted}\n{found}{}", hint.sentence())]
    NotFound {
        /// The hunk, from 1.
        hunk: usize,
        /// The unchanged and removed lines, quoted.
        wanted: String,
        /// The nearest lines of the file, quoted with their numbers.
        found: String,
        /// A likely reason.
        hint: Hint,
    },
}

/// A likely reason why a hunk fits nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing but the difference itself.
    Differs,
    /// The same lines stand in the file with other white space.
    Indentation,
    /// Its result stands in the file already, at this line.
    Applied(usize),
    /// It fits at this line, but says that the file ends with it.
    NotAtEnd(usize),
    /// It fits at this line, at the end of the file, but says that no newline ends it.
    HasNewline(usize),
    /// It fits at this line, but above the end of the hunk before it.
    OutOfOrder(usize),
}

impl Hint {
    fn sentence(self) -> String {
        match self {
            Self::Differs => "\nRepeat the lines of the file exactly as they are, with their indentation.".to_owned(),
            Self::Indentation => "\nOnly white space differs: repeat the file's own, tabs as tabs; a removed line must stand in the file as it is.".to_owned(),
            Self::Applied(line) => {
                format!("\nThe result of this hunk already stands at line {line}: it may have been applied before.")
            }
            Self::NotAtEnd(line) => format!(
                "\nThese lines stand at line {line}, but `\\ No newline at end of file` says that the file ends with \
                 them, and it does not: leave that line out."
            ),
            Self::HasNewline(line) => format!(
                "\nThese lines stand at line {line}, at the end of the file, but `\\ No newline at end of file` says that no \
                 newline ends it, and one does: leave that line out."
            ),
            Self::OutOfOrder(line) => format!(
                "\nIt would fit at line {line}, but that is not below the hunk before it: hunks must follow the order \
                 of the file and must not overlap."
            ),
        }
    }
}
