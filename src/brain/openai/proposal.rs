//! What the critic is shown of a proposed action; an edit as a diff.

use std::collections::HashMap;
use std::time::Duration;

use similar::TextDiff;

use super::record::Assistant;
use crate::brain::fields::{Fields, string};
use crate::domain::{Exchange, Json};

/// After this the search for the shortest diff stops at a longer one, which is as true.
const EFFORT: Duration = Duration::from_millis(100);

/// Lines around a change.
const CONTEXT: usize = 3;

/// What the history tells of the files: the text of those that were read or written as a whole, as last seen.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<String, String>);

impl Files {
    /// From what the tools were asked, and what they answered.
    pub(super) fn seen(history: &[Exchange], payload: &Json) -> Self {
        let mut files = Self::default();
        for told in history.iter().map(|exchange| &exchange.agent_input).chain([payload]) {
            let fields = Fields::of(told.as_str()).unwrap_or_default();
            let result = fields.object("result").unwrap_or_default();
            if let (Some("success"), Some(arguments)) = (result.string("status").as_deref(), fields.object("arguments"))
            {
                files.note(&fields.string("name").unwrap_or_default(), &arguments, &result);
            }
        }
        files
    }

    fn note(&mut self, tool: &str, arguments: &Fields<'_>, result: &Fields<'_>) {
        let Some(path) = path(arguments) else { return };
        let text = match tool {
            "read_file" => {
                let whole = arguments.count("start").unwrap_or(0) == 0 && result.get("next_start").is_none();
                // A part of a file says nothing against what is known of it.
                if !whole {
                    return;
                }
                result.string("content")
            }
            "edit_file" => self.edited(&path, arguments),
            _ => return,
        };
        match text {
            Some(text) => self.0.insert(path, text),
            None => self.0.remove(&path),
        };
    }

    /// The text of a file after an edit, where it can be known.
    fn edited(&self, path: &str, arguments: &Fields<'_>) -> Option<String> {
        let new = arguments.string("new_content")?;
        let insert = arguments.number("insert_after_line").filter(|line| *line >= 0.0);
        let replace = arguments.list("replace_lines");
        if insert.is_none() && replace.is_empty() {
            return Some(new);
        }
        let mut lines: Vec<&str> = self.0.get(path)?.split_inclusive('\n').collect();
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
        Some(lines.concat())
    }
}

/// The proposal in words.
pub(super) fn told(proposal: &Assistant, files: &Files) -> String {
    if proposal.tool_calls.is_empty() {
        return format!("End the task, with this summary:\n{}", proposal.content);
    }
    let calls = proposal.tool_calls.iter().filter(|call| call.not_done.is_none());
    let calls: Vec<String> = calls.map(|call| action(&call.name, &call.arguments, files)).collect();
    let words = if proposal.content.is_empty() { String::new() } else { format!("{}\n\n", proposal.content) };
    format!("{words}{}", calls.join("\n\n"))
}

fn action(name: &str, arguments: &Json, files: &Files) -> String {
    let fields = Fields::of(arguments.as_str()).unwrap_or_default();
    match (name, path(&fields)) {
        ("edit_file", Some(path)) => format!("Call edit_file on {path}:\n{}", edit(&path, &fields, files)),
        _ => format!("Call {name} with {arguments}"),
    }
}

fn edit(path: &str, arguments: &Fields<'_>, files: &Files) -> String {
    let Some(new) = arguments.string("new_content") else {
        return arguments.string("diff_patch").unwrap_or_else(|| "(neither new_content nor diff_patch)".to_owned());
    };
    if let (Some(old), Some(after)) = (files.0.get(path), files.edited(path, arguments)) {
        let diff = TextDiff::configure().timeout(EFFORT).diff_lines(old.as_str(), after.as_str());
        let (before, behind) = (format!("a/{path}"), format!("b/{path}"));
        let text = diff.unified_diff().context_radius(CONTEXT).header(&before, &behind).to_string();
        return if text.is_empty() { "(it would change nothing)".to_owned() } else { text };
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

    const READ: &str = r#"{"event":"tool_result","name":"read_file","arguments":{"file_path":"./a"},"result":{"status":"success","content":"one\ntwo\n","next_start":null}}"#;

    #[test]
    fn an_edit_is_shown_as_a_diff_against_what_was_read() {
        let files = seen(&[READ]);
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
        let files = seen(&[READ, &edit(r#"{"file_path":"a","new_content":"1\n","replace_lines":[0,0]}"#)]);
        let diff = shown(r#"{"file_path":"a","new_content":"1\n"}"#, &files);
        assert!(diff.ends_with(" 1\n-two\n"), "{diff}");
        // A patch leaves a text that is not worked out here.
        let files = seen(&[READ, &edit(r#"{"file_path":"a","diff_patch":"@@ -1 +1 @@"}"#)]);
        let unknown = shown(r#"{"file_path":"a","new_content":"x\ny"}"#, &files);
        assert!(unknown.ends_with("is not known here:\n+x\n+y"), "{unknown}");
        let inserted = shown(r#"{"file_path":"b","new_content":"x","insert_after_line":3}"#, &files);
        assert!(inserted.contains("after line 3"), "{inserted}");
    }

    #[test]
    fn other_actions_are_shown_as_they_are() {
        let call =
            Call { id: "1".into(), name: "run_command".into(), arguments: json(r#"{"command":"ls"}"#), not_done: None };
        let proposal = Assistant { content: "I look.".into(), tool_calls: vec![call] };
        let text = told(&proposal, &Files::default());
        assert_eq!(text, "I look.\n\nCall run_command with {\"command\":\"ls\"}");
        let finish = Assistant { content: "Done.".into(), tool_calls: Vec::new() };
        assert!(told(&finish, &Files::default()).ends_with("summary:\nDone."));
    }
}
