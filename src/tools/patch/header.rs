//! What stands before the first hunk: whether the diff is for this file, and what it does to it as a whole.
//!
//! Text before the header is ignored, as git does. Git's extended lines count only after `diff --git`, so that a commit
//! message which speaks of a rename is no rename.

use super::{PatchError, hunk::Hunk};

/// Reads up to the first hunk: gives the header and the index of the line where hunks begin.
pub(super) fn read(lines: &[&str]) -> Result<(Header, usize), PatchError> {
    let mut header = Header::default();
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.starts_with("@@@") || line.starts_with("diff --cc ") || line.starts_with("diff --combined ") {
            return Err(PatchError::Unsupported { what: "a combined diff of a merge" });
        }
        if line.starts_with("@@") {
            return Ok((header, at));
        }
        if let Some((names, next)) = names(lines, at) {
            header.take(names);
            return Ok((header, next));
        }
        if let Some(both) = line.strip_prefix("diff --git ") {
            if let Some(first) = header.git.replace(both.to_owned()) {
                return Err(PatchError::SeveralFiles { first, second: both.to_owned() });
            }
        } else if header.git.is_some() {
            header.extended(line)?;
        }
    }
    Err(PatchError::NoHunks)
}

/// The names of a `---`, `+++` pair that begins at a line, or of one of them before a hunk, and the index after it.
pub(super) fn names(lines: &[&str], at: usize) -> Option<(Names, usize)> {
    let name = |at: usize, prefix: &str| Some(unquote(lines.get(at)?.strip_prefix(prefix)?));
    let (old, new) = (name(at, "--- "), name(at + 1, "+++ "));
    if old.is_some() && new.is_some() {
        return Some((Names { old, new }, at + 2));
    }
    let hunk_follows = lines.get(at + 1).is_some_and(|line| line.starts_with("@@"));
    let lone = Names { old, new: name(at, "+++ ") };
    (hunk_follows && (lone.old.is_some() || lone.new.is_some())).then_some((lone, at + 1))
}

/// The two names of a file in a diff.
#[derive(Debug, Default)]
pub(super) struct Names {
    old: Option<String>,
    new: Option<String>,
}

impl Names {
    /// The name of the file the diff is for: the new one, or the old one where the file is deleted.
    pub(super) fn subject(&self) -> Option<&str> {
        let real = |name: &'_ Option<String>| name.as_deref().is_some_and(|name| name != DEV_NULL);
        if real(&self.new) { self.new.as_deref() } else { self.old.as_deref().filter(|_| real(&self.old)) }
    }
}

/// What a diff does to its file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Change {
    Create,
    Delete,
    #[default]
    Modify,
}

/// The header of a diff.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) change: Change,
    names: Names,
    git: Option<String>,
}

impl Header {
    /// The change, where a header may be silent: a single hunk that adds to nothing creates a file.
    pub(super) fn change_of(&self, hunks: &[Hunk<'_>]) -> Change {
        match hunks {
            [hunk] if hunk.adds_to_nothing() && self.change == Change::Modify => Change::Create,
            _ => self.change,
        }
    }

    /// Refuses a diff that names another file. Names are the same when the shorter one is the whole end of the other.
    pub(super) fn check_name(&self, path: &str) -> Result<(), PatchError> {
        let Some(named) = self.names.subject() else { return Ok(()) };
        let stripped = named.split_once('/').filter(|(prefix, _)| prefix.len() == 1).map_or(named, |(_, rest)| rest);
        if is_end(named, path) || is_end(stripped, path) {
            return Ok(());
        }
        Err(PatchError::OtherFile { named: stripped.to_owned(), path: path.to_owned() })
    }

    /// What to call the file of this diff in a message.
    pub(super) fn subject(&self) -> &str {
        self.names.subject().or(self.git.as_deref()).unwrap_or("a file without a name")
    }

    fn take(&mut self, names: Names) {
        if names.old.as_deref() == Some(DEV_NULL) {
            self.change = Change::Create;
        } else if names.new.as_deref() == Some(DEV_NULL) {
            self.change = Change::Delete;
        }
        self.names = names;
    }

    fn extended(&mut self, line: &str) -> Result<(), PatchError> {
        let refuse = |what| Err(PatchError::Unsupported { what });
        if line.starts_with("rename ") {
            return refuse("a rename");
        }
        if line.starts_with("copy ") {
            return refuse("a copy");
        }
        if line.starts_with("old mode ") || line.starts_with("new mode ") {
            return refuse("a change of the file's mode");
        }
        if line.starts_with("GIT binary patch") || line.starts_with("Binary files ") {
            return refuse("a binary patch");
        }
        let mode = line.strip_prefix("new file mode ").or_else(|| line.strip_prefix("deleted file mode "));
        if mode.is_some_and(|mode| !mode.starts_with(REGULAR)) {
            return refuse("a symbolic link or a submodule");
        }
        if line.starts_with("new file mode ") {
            self.change = Change::Create;
        } else if line.starts_with("deleted file mode ") {
            self.change = Change::Delete;
        }
        Ok(())
    }
}

/// The name that stands for "no file" in a diff.
const DEV_NULL: &str = "/dev/null";

/// How the mode of an ordinary file begins.
const REGULAR: &str = "100";

/// Whether one of two paths is the end of the other, by whole components.
fn is_end(a: &str, b: &str) -> bool {
    let parts = |path| str::split(path, ['/', '\\']).filter(|part| !part.is_empty() && *part != ".");
    let (a, b): (Vec<_>, Vec<_>) = (parts(a).collect(), parts(b).collect());
    !a.is_empty() && !b.is_empty() && (a.ends_with(&b) || b.ends_with(&a))
}

/// The name in a header line: without a timestamp after a tab, and without git's quotes.
fn unquote(rest: &str) -> String {
    let Some(quoted) = rest.strip_prefix('"').and_then(|rest| rest.rsplit_once('"')).map(|(name, _)| name) else {
        return rest.split('\t').next().unwrap_or(rest).trim_end().to_owned();
    };
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(first @ b'0'..=b'7') => {
                let mut code = first - b'0';
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(|digit| (b'0'..=b'7').contains(digit)) else { break };
                    code = code.wrapping_mul(8).wrapping_add(digit - b'0');
                }
                bytes.push(code);
            }
            Some(b't') => bytes.push(b'\t'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'r') => bytes.push(b'\r'),
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
