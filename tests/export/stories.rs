//! The tasks that most cases export: of each kind that a trainer may trip over.

use codex_agent::domain::StopReason;
use serde_json::json;

use crate::world::{End, Story};

/// How many tasks there are of the kind that is exported in every format.
pub const ORDINARY: usize = 24;

/// How many instructions were tried twice, once with success.
pub const TRIED_TWICE: usize = 6;

/// How many tasks repair a call of their own.
pub const REPAIRED: usize = 4;

/// The calls of an ordinary task, one shape each: nothing that one has may turn up in another. `#` stands for a number that
/// makes each task's words its own.
const CALLS: &[(&str, &str, &str)] = &[
    (
        "edit_file",
        r#"{"file_path":"src/module#.py","new_content":"def function#():\n\treturn \"h\u00e9 😀 </s> <|im_end|>\"\r\n"}"#,
        r#"{"status":"success","message":"edited","diff":"--- outcome#\n+++ b\n","sha256":"5e8"}"#,
    ),
    (
        "edit_file",
        r#"{"file_path":"notes#.md","new_content":"line","replace_lines":[1,9007199254740993]}"#,
        r#"{"status":"failure","message":"nolines# there are only 3"}"#,
    ),
    (
        "read_file",
        r#"{"file_path":"data#.csv","start":0,"end":18446744073709551615}"#,
        r#"{"status":"success","content":"headline#;ключ;\u2028;\u0000","next_start":null,"size_bytes":12}"#,
    ),
    (
        "run_command",
        r#"{"command":"printf '%s' \"quoted#\" \\ \t","timeout":0.5}"#,
        r#"{"status":"success","returncode":0,"stdout":"printed# [TOOL_CALLS] {{ messages }}\n","stderr":"","truncated":false,"duration_ms":3}"#,
    ),
    (
        "run_command",
        r#"{"command":"pytest test#.py","nested":{"deep#":[1,{"none":null}],"empty":{}},"text":"5"}"#,
        "{}",
    ),
    ("read_file", "{}", r#"{"status":"failure","message":"file_path is missing, attempt#"}"#),
];

/// All of them.
pub fn all() -> Vec<Story> {
    let mut all: Vec<Story> = (0..ORDINARY).map(ordinary).collect();
    all.extend((0..TRIED_TWICE).flat_map(tried_twice));
    all.extend((0..REPAIRED).map(repaired));
    all.extend(left_out());
    all
}

/// A task with one to six calls.
pub fn ordinary(number: usize) -> Story {
    let story = Story::new(
        &format!("ordinary-{number}"),
        &format!("Make wish{number} come true: ünïcode 😀, \"quotes\", {{braces}}\nand lines."),
    );
    let calls = (0..=number % CALLS.len()).map(|at| CALLS[(number + at) % CALLS.len()]);
    calls.fold(story, |story, (name, arguments, result)| turn(story, name, arguments, result, number))
}

/// Two attempts that part after a call: one succeeded, one ran out of iterations.
pub fn tried_twice(number: usize) -> [Story; 2] {
    let attempt = |which: &str| {
        let story = Story::new(&format!("twice-{number}-{which}"), &format!("Try what was tried{number} before."));
        turn(story, CALLS[3].0, CALLS[3].1, CALLS[3].2, number)
    };
    let edit = |text: &str| format!(r#"{{"file_path":"tried{number}.py","new_content":"{text}"}}"#);
    [
        attempt("good").turn("edit_file", &edit("a right thing"), r#"{"status":"success"}"#),
        attempt("bad")
            .turn("edit_file", &edit("a wrong thing"), r#"{"status":"success"}"#)
            .ends(End::Stopped(StopReason::MaxIterations)),
    ]
}

/// A call that failed, and one of the same tool on the same file that did not.
pub fn repaired(number: usize) -> Story {
    let edit = |text: &str| format!(r#"{{"file_path":"mended{number}.py","diff_patch":"{text}"}}"#);
    Story::new(&format!("repaired-{number}"), &format!("Repair what is broken{number}."))
        .turn("edit_file", &edit("crooked"), r#"{"status":"failure","message":"hunk 1 fits nowhere"}"#)
        .turn("edit_file", &edit("straight"), r#"{"status":"success"}"#)
}

/// Those that not every format takes.
fn left_out() -> Vec<Story> {
    let named = |id: &str| Story::new(id, &format!("Do as {id} says."));
    let looked =
        |id: &str| named(id).turn("read_file", r#"{"file_path":"a"}"#, r#"{"status":"success","content":"x"}"#);
    let huge = r#"{"file_path":"a","end":1180591620717411303424}"#;
    vec![
        named("at-once"),
        looked("thinks-aloud").saying("Before anything else: looking around."),
        looked("silent").ends(End::Finish(None)),
        named("nothing-at-all").ends(End::Finish(Some(String::new()))),
        named("unknown-tool").turn("../rocket", r#"{"to":"moon"}"#, r#"{"status":"failure","message":"unknown tool"}"#),
        named("a-list-as-arguments").turn("read_file", "[1]", r#"{"status":"failure","message":"not an object"}"#),
        looked("big-number").turn("read_file", huge, r#"{"status":"success","content":"y"}"#),
        looked("unreachable").ends(End::Unreachable),
        looked("cancelled").ends(End::Stopped(StopReason::Cancelled)),
        named("cancelled-at-once").ends(End::CancelledUnbegun),
        named("scripted").with("script", json!([{ "event": "finish", "summary": "as it says" }])),
        looked("running").ends(End::Running),
        named("queued").ends(End::Queued),
    ]
}

fn turn(story: Story, name: &str, arguments: &str, result: &str, number: usize) -> Story {
    let own = |text: &str| text.replace('#', &number.to_string());
    story.turn(name, &own(arguments), &own(result))
}
