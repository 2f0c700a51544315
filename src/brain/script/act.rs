//! What directives ask for, what they are told, and what has been done so far.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::{Json, Reply};

/// The largest file that is changed, before and after, in bytes: `read_file` gives so much, and its hash, in one call.
pub(super) const MAX_FILE: u64 = 1024 * 1024;

/// Files that a summary names; it is to be read by people.
const NAMED: usize = 10;

/// How an interrupted call begins to tell of itself: the worker died, and what the call did is unknown.
const INTERRUPTED: &str = "interrupted: ";

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A tool with its arguments.
    Call(&'static str, Value),
    /// The end.
    Finish(String),
}

impl Act {
    pub(super) fn run(command: &str) -> Self {
        Self::Call("run_command", json!({"command": command}))
    }

    /// All of a file that is not too large.
    pub(super) fn read(path: &str) -> Self {
        Self::Call("read_file", json!({"file_path": path, "end": MAX_FILE}))
    }

    /// The whole text of a file, new or in the place of any other.
    pub(super) fn write(path: &str, text: &str) -> Self {
        Self::Call("edit_file", json!({"file_path": path, "new_content": text}))
    }

    /// The whole text of a file that has not changed since it was read.
    pub(super) fn edit(path: &str, text: &str, sha256: &str) -> Self {
        Self::Call("edit_file", json!({"file_path": path, "new_content": text, "expected_sha256": sha256}))
    }

    pub(super) fn to_json(&self) -> Json {
        #[derive(serde::Serialize)]
        #[serde(tag = "event", rename_all = "snake_case")]
        enum Wire<'a> {
            ToolCall { name: &'a str, arguments: &'a Value },
            Finish { summary: &'a str },
        }
        Json::of(&match self {
            Self::Call(name, arguments) => Wire::ToolCall { name, arguments },
            Self::Finish(summary) => Wire::Finish { summary },
        })
    }

    /// Whether a reply on record is this act.
    pub(super) fn is(&self, reply: Option<&Json>) -> bool {
        match (self, reply.map(Reply::parse)) {
            (Self::Call(name, arguments), Some(Ok(Reply::ToolCall(call)))) => {
                call.name == *name
                    && serde_json::from_str::<Value>(call.arguments.as_str()).ok().as_ref() == Some(arguments)
            }
            _ => false,
        }
    }
}

/// What a tool answered, as far as directives look at it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Observation {
    #[serde(default)]
    pub(super) status: String,
    pub(super) message: Option<String>,
    pub(super) returncode: Option<i64>,
    #[serde(default)]
    pub(super) stdout: String,
    #[serde(default)]
    pub(super) stderr: String,
    #[serde(default)]
    pub(super) truncated: bool,
    pub(super) content: Option<String>,
    pub(super) size_bytes: Option<u64>,
    pub(super) sha256: Option<String>,
}

impl Observation {
    /// The result in a payload.
    pub(super) fn of(payload: &Json) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Payload {
            event: String,
            result: Observation,
        }
        let payload: Payload = serde_json::from_str(payload.as_str())
            .map_err(|error| format!("a payload is not the result of a tool: {error}"))?;
        match payload.event.as_str() {
            "tool_result" => Ok(payload.result),
            event => Err(format!("the event {event:?} came where the result of a tool had to")),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.status == "success"
    }

    /// Whether the worker died during the call.
    pub(super) fn is_interrupted(&self) -> bool {
        self.returncode.is_none() && self.message.as_ref().is_some_and(|message| message.starts_with(INTERRUPTED))
    }

    /// An error if the tool did not do what it was to do.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.is_success() { Ok(()) } else { Err(self.why()) }
    }

    /// The file's text and hash, if it is here as a whole.
    pub(super) fn whole_file(&self) -> Result<(&str, &str), String> {
        self.check()?;
        if let Some(size) = self.size_bytes.filter(|size| *size > MAX_FILE) {
            return Err(format!("the file has {size} bytes, and those over {MAX_FILE} are not changed"));
        }
        self.content.as_deref().zip(self.sha256.as_deref()).ok_or_else(|| "read_file gave no content".to_owned())
    }

    /// What a command printed and returned; nothing of how long it took.
    pub(super) fn printed(&self) -> Printed {
        (self.returncode, self.stdout.clone(), self.stderr.clone())
    }

    /// Why there was no success.
    pub(super) fn why(&self) -> String {
        let mut why = self.returncode.map_or_else(String::new, |code| format!("return code {code}"));
        for text in self.message.iter().map(String::as_str).chain([tail(&self.stderr), tail(&self.stdout)]) {
            if !text.is_empty() {
                why.push_str(if why.is_empty() { "" } else { ": " });
                why.push_str(text);
            }
        }
        why
    }
}

/// The return code and both streams.
pub(super) type Printed = (Option<i64>, String, String);

/// The end of what was printed, where errors stand.
fn tail(text: &str) -> &str {
    const MOST: usize = 300;
    let text = text.trim();
    let start = text.char_indices().rev().nth(MOST - 1).map_or(0, |(at, _)| at);
    &text[start..]
}

/// What has been done.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    changed: Vec<String>,
    replacements: usize,
    written: Vec<String>,
    commands: usize,
    passed: Vec<String>,
}

impl Done {
    pub(super) fn replaced(&mut self, path: &str, count: usize) {
        self.replacements += count;
        add(&mut self.changed, path);
    }

    pub(super) fn wrote(&mut self, path: &str) {
        add(&mut self.written, path);
    }

    pub(super) fn ran(&mut self) {
        self.commands += 1;
    }

    /// A command that had to pass did, in this round.
    pub(super) fn passed(&mut self, command: &str, round: usize) {
        let again = if round > 1 { format!(" in round {round}") } else { String::new() };
        self.passed.push(format!("`{command}` passes{again}"));
    }

    pub(super) fn summary(&self) -> String {
        let mut parts = Vec::new();
        if self.replacements > 0 {
            let (count, files) = (counted(self.replacements, "replacement"), counted(self.changed.len(), "file"));
            parts.push(format!("made {count} in {files}: {}", listed(&self.changed)));
        }
        if !self.written.is_empty() {
            parts.push(format!("wrote {}: {}", counted(self.written.len(), "file"), listed(&self.written)));
        }
        if self.commands > 0 {
            parts.push(format!("ran {}", counted(self.commands, "command")));
        }
        parts.extend(self.passed.iter().cloned());
        parts.join("; ")
    }
}

fn add(names: &mut Vec<String>, name: &str) {
    if names.iter().all(|known| known != name) {
        names.push(name.to_owned());
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        let _ = write!(text, " and {} more", names.len() - NAMED);
    }
    text
}
