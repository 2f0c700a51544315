//! What the critic is shown of a proposed action; an edit as a diff.

use std::collections::HashMap;
use std::time::Duration;

use similar::TextDiff;

use super::record::Assistant;
use crate::brain::fields::{Fields, string};
use crate::domain::{Exchange, Json};

/// After this the search for the shortest diff stops at a longer one, which is as true.
const EFFORT: Duration = Duration::from_millis(100);

/// The tools that matter to what is known of a file.
const READ: &str = "read_file";
const EDIT: &str = "edit_file";
const COMMAND: &str = "run_command";

/// Lines around a change.
const CONTEXT: usize = 3;

/// Stands above a diff against a text that may no longer be the file's.
const STALE: &str = "(against the file as it was last read; commands have run since and may have changed it)\n";

/// What the history tells of the files: the text of those that were read or written as a whole, as last seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Files(HashMap<String, Seen>);

/// A file as it was last seen.
#[derive(Clone, Debug)]
struct Seen {
    text: String,
    /// A command has run since.
    is_stale: bool,
}

impl Files {
    /// How many bytes of text they have.
    pub(super) fn bytes(&self) -> usize {
        self.0.values().map(|seen| seen.text.len()).sum()
    }

    /// From what the tools were asked, and what they answered.
    pub(super) fn seen(history: &[Exchange], payload: &Json) -> Self {
        let mut files = Self::default();
        for told in history.iter().map(|exchange| &exchange.agent_input).chain([payload]) {
            let fields = Fields::of(told.as_str()).unwrap_or_default();
            let result = fields.object("result").unwrap_or_default();
            let name = fields.string("name").unwrap_or_default();
            // A command that failed may have changed files, too.
            let counts = name == COMMAND || result.string("status").as_deref() == Some("success");
            if let Some(arguments) = fields.object("arguments").filter(|_| counts) {
                files.note(&name, &arguments, &result);
            }
        }
        files
    }

    fn note(&mut self, tool: &str, arguments: &Fields<'_>, result: &Fields<'_>) {
        if tool == COMMAND {
            self.0.values_mut().for_each(|seen| seen.is_stale = true);
        }
        let Some(path) = path(arguments) else { return };
        let seen = match tool {
            READ => {
                let whole = arguments.count("start").unwrap_or(0) == 0 && result.get("next_start").is_none();
                // A part of a file says nothing against what is known of it.
                if !whole {
                    return;
                }
                result.string("content").map(|text| Seen { text, is_stale: false })
            }
            EDIT => self.edited(&path, arguments),
            _ => return,
        };
        match seen {
            Some(seen) => self.0.insert(path, seen),
            None => self.0.remove(&path),
        };
    }

    /// The text of a file after an edit, where it can be known.
    fn edited(&self, path: &str, arguments: &Fields<'_>) -> Option<Seen> {
        let new = arguments.string("new_content")?;
        let insert = arguments.number("insert_after_line").filter(|line| *line >= 0.0);
        let replace = arguments.list("replace_lines");
        if insert.is_none() && replace.is_empty() {
            return Some(Seen { text: new, is_stale: false });
        }
        let Seen { text, is_stale } = self.0.get(path)?;
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let line = |number: Option<usize>| number.map(|number| number.min(lines.len()));
        let (from, to) = if let [first, last] = &replace[..] {
            (line(first.parse().ok())?, line(last.parse::<usize>().ok().map(|last| last.saturating_add(1)))?)
        } else {
            let after = arguments.count("insert_after_line").and_then(|after| usize::try_from(after).ok());
            let behind = line(after.map(|after| after.saturating_add(1)))?;
            (behind, behind)
        };
        let end = if new.is_empty() || new.ends_with('\n') { "" } else { "\n" };
        let new = new + end;
        lines.splice(from..to.max(from), [new.as_str()]);
        Some(Seen { text: lines.concat(), is_stale: *is_stale })
    }
}

/// The calls that are to be done, in words.
pub(super) fn calls(proposal: &Assistant, files: &Files) -> Vec<String> {
    let calls = proposal.tool_calls.iter().filter(|call| call.not_done.is_none());
    // The calls are done one after the other: each finds what those before it leave.
    let mut files = files.clone();
    let calls = calls.map(|call| {
        let text = action(&call.name, &call.arguments, &files);
        if call.name != READ {
            files.note(&call.name, &Fields::of(call.arguments.as_str()).unwrap_or_default(), &Fields::default());
        }
        text
    });
    calls.collect()
}

fn action(name: &str, arguments: &Json, files: &Files) -> String {
    let fields = Fields::of(arguments.as_str()).unwrap_or_default();
    match (name, path(&fields)) {
        (EDIT, Some(path)) => format!("Call edit_file on {path}:\n{}", edit(&path, &fields, files)),
        _ if !arguments.is_object() => format!("Call {name}, which fails, for this is no object: {arguments}"),
        _ => format!("Call {name} with {arguments}"),
    }
}

fn edit(path: &str, arguments: &Fields<'_>, files: &Files) -> String {
    let Some(new) = arguments.string("new_content") else {
        return arguments.string("diff_patch").unwrap_or_else(|| "(neither new_content nor diff_patch)".to_owned());
    };
    if let (Some(old), Some(after)) = (files.0.get(path), files.edited(path, arguments)) {
        let diff = TextDiff::configure().timeout(EFFORT).diff_lines(old.text.as_str(), after.text.as_str());
        let (before, behind) = (format!("a/{path}"), format!("b/{path}"));
        let text = diff.unified_diff().context_radius(CONTEXT).header(&before, &behind).to_string();
        let text = if text.is_empty() { "(it would change nothing)".to_owned() } else { text };
        return format!("{}{text}", if old.is_stale { STALE } else { "" });
    }
    let place = match (arguments.get("insert_after_line").filter(|line| *line != "-1"), arguments.get("replace_lines"))
    {
        (Some(line), _) => format!("after line {line} (counted from 0)"),
        (None, Some(lines)) => format!("in place of lines {lines} (counted from 0, both included)"),
        (None, None) => "as the whole file, whose text before is not known here".to_owned(),
    };
    let added: Vec<String> = new.lines().map(|line| format!("+{line}")).collect();
    format!("{place}:\n{}", added.join("\n"))
}

/// The file that a call is about, in one spelling.
fn path(arguments: &Fields<'_>) -> Option<String> {
    let path = arguments.get("file_path").and_then(string)?;
    Some(path.trim_start_matches("./").to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::record::Call;
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text).unwrap()
    }

    fn seen(told: &[&str]) -> Files {
        let exchange = |text: &&str| Exchange { agent_input: json(text), mcp_reply: None };
        Files::seen(&told.iter().map(exchange).collect::<Vec<_>>(), &json("{}"))
    }

    fn shown(arguments: &str, files: &Files) -> String {
        action("edit_file", &json(arguments), files)
    }

    const HAS_READ: &str = r#"{"event":"tool_result","name":"read_file","arguments":{"file_path":"./a"},"result":{"status":"success","content":"one\ntwo\n","next_start":null}}"#;

    #[test]
    fn an_edit_is_shown_as_a_diff_against_what_was_read() {
        let files = seen(&[HAS_READ]);
        let whole = shown(r#"{"file_path":"a","new_content":"one\n2\n"}"#, &files);
        assert_eq!(whole, "Call edit_file on a:\n--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n");
        let inserted = shown(r#"{"file_path":"a","new_content":"x","insert_after_line":0}"#, &files);
        assert!(inserted.ends_with("@@ -1,2 +1,3 @@\n one\n+x\n two\n"), "{inserted}");
        let replaced = shown(r#"{"file_path":"a","new_content":"x\n","replace_lines":[0,1]}"#, &files);
        assert!(replaced.ends_with("@@ -1,2 +1 @@\n-one\n-two\n+x\n"), "{replaced}");
        let same = shown(r#"{"file_path":"a","new_content":"one\ntwo\n"}"#, &files);
        assert!(same.contains("change nothing"));
        assert_eq!(shown(r#"{"file_path":"a","diff_patch":"@@ x"}"#, &files), "Call edit_file on a:\n@@ x");
    }

    #[test]
    fn edits_that_were_made_count_and_what_is_not_known_is_shown_as_added_lines() {
        let edit = |arguments: &str| {
            format!(
                r#"{{"event":"tool_result","name":"edit_file","arguments":{arguments},"result":{{"status":"success"}}}}"#
            )
        };
        let files = seen(&[HAS_READ, &edit(r#"{"file_path":"a","new_content":"1\n","replace_lines":[0,0]}"#)]);
        let diff = shown(r#"{"file_path":"a","new_content":"1\n"}"#, &files);
        assert!(diff.ends_with(" 1\n-two\n"), "{diff}");
        // A patch leaves a text that is not worked out here.
        let files = seen(&[HAS_READ, &edit(r#"{"file_path":"a","diff_patch":"@@ -1 +1 @@"}"#)]);
        let unknown = shown(r#"{"file_path":"a","new_content":"x\ny"}"#, &files);
        assert!(unknown.ends_with("is not known here:\n+x\n+y"), "{unknown}");
        let inserted = shown(r#"{"file_path":"b","new_content":"x","insert_after_line":3}"#, &files);
        assert!(inserted.contains("after line 3"), "{inserted}");
    }

    #[test]
    fn after_a_command_a_diff_says_that_the_file_may_differ_until_it_is_read_again() {
        let command = r#"{"event":"tool_result","name":"run_command","arguments":{"command":"make"},"result":{"status":"failure"}}"#;
        let insert = r#"{"file_path":"a","new_content":"x","insert_after_line":0}"#;
        let edit = shown(insert, &seen(&[HAS_READ, command]));
        assert!(edit.starts_with("Call edit_file on a:\n(against the file as it was last read; commands"), "{edit}");
        assert!(edit.ends_with(" one\n+x\n two\n"), "{edit}");
        let written = r#"{"event":"tool_result","name":"edit_file","arguments":{"file_path":"a","new_content":"one\n"},"result":{"status":"success"}}"#;
        for anew in [HAS_READ, written] {
            let edit = shown(insert, &seen(&[HAS_READ, command, anew]));
            assert!(!edit.contains("last read"), "{edit}");
        }
    }

    #[test]
    fn each_call_of_an_answer_is_shown_against_what_those_before_it_leave() {
        let call = |name: &str, arguments: &str| Call {
            id: "1".into(),
            name: name.into(),
            arguments: json(arguments),
            not_done: None,
        };
        let calls = vec![
            call("edit_file", r#"{"file_path":"a","new_content":"1\n","replace_lines":[0,0]}"#),
            call("read_file", r#"{"file_path":"a"}"#),
            call("edit_file", r#"{"file_path":"a","new_content":"2\n","replace_lines":[1,1]}"#),
            call("run_command", r#"{"command":"make"}"#),
            call("edit_file", r#"{"file_path":"a","new_content":"3\n","insert_after_line":1}"#),
        ];
        let proposal = Assistant { content: String::new(), tool_calls: calls };
        let text = super::calls(&proposal, &seen(&[HAS_READ])).concat();
        assert!(text.contains(" 1\n-two\n+2\n"), "{text}");
        assert!(text.contains("commands have run since"), "{text}");
        assert!(text.ends_with(" 1\n 2\n+3\n"), "{text}");
    }

    #[test]
    fn other_actions_are_shown_as_they_are() {
        let call =
            Call { id: "1".into(), name: "run_command".into(), arguments: json(r#"{"command":"ls"}"#), not_done: None };
        let proposal = Assistant { content: "I look.".into(), tool_calls: vec![call] };
        assert_eq!(calls(&proposal, &Files::default()), ["Call run_command with {\"command\":\"ls\"}"]);
        assert!(action("x", &json("\"oops\""), &Files::default()).ends_with("fails, for this is no object: \"oops\""));
    }
}
