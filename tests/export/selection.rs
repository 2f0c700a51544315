//! What is asked for is what comes: filters, verdicts, and how much of a group or of a row there may be.

use std::path::PathBuf;

use codex_agent::domain::{Timestamp, VerdictOutcome};
use serde_json::{Value, json};

use crate::check::{export, node, python};
use crate::common::Home;
use crate::directory::Exported;
use crate::stories::ordinary;
use crate::world::{End, FIRST, Story, tell};

/// Flags, the tasks that they choose, and why some others are left out.
type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [(&'a str, &'a str)]);

/// Each has something that the others have not, as its name says.
fn stories() -> Vec<Story> {
    let named = |id: &str| {
        let story = Story::new(id, &format!("Do what {id} is for."));
        story.turn("read_file", r#"{"file_path":"a"}"#, r#"{"status":"success","content":"x"}"#)
    };
    let same = |id: &str| Story { id: id.to_owned(), ..named("twin").ends(End::Finish(Some("done".into()))) };
    vec![
        named("plain"),
        named("labelled").with("labels", json!({ "kind": "bug", "group": "g" })),
        named("labelled-otherwise").with("labels", json!({ "kind": "idea", "group": "g" })),
        named("elsewhere").with("workspace", json!("there")),
        named("accepted").judged(VerdictOutcome::Accepted),
        named("rejected").judged(VerdictOutcome::Rejected),
        named("failed").ends(End::Unreachable),
        same("twin-1"),
        same("twin-2"),
        named("scripted").with("script", json!([])),
    ]
}

/// The tasks that come with these flags, and why each other one does not.
async fn chosen(home: &Home, flags: &[&str]) -> (Vec<String>, Exported) {
    let exported = Exported::read(&export(home, &flags.concat(), flags).await);
    (exported.index.iter().map(|entry| entry.task_id.clone()).collect(), exported)
}

#[tokio::test]
async fn each_filter_takes_what_it_says_and_tells_of_the_others() {
    let home = Home::new();
    tell(&home, &stories(), FIRST).await;
    let second = |number: i64| Timestamp::from_millis(FIRST.millis() + number * 1000).to_string();
    let (third, fifth) = (second(2), second(4));
    let usual = ["plain", "labelled", "labelled-otherwise", "elsewhere", "accepted", "twin-1", "twin-2"];
    let cases: &[Case<'_>] = &[
        (&["--format", "hf"], &usual, &[("rejected", "outcome"), ("failed", "status"), ("scripted", "script_brain")]),
        (&["--label", "kind"], &["labelled", "labelled-otherwise"], &[("plain", "label")]),
        (&["--label", "kind=bug", "--label", "group"], &["labelled"], &[("labelled-otherwise", "label")]),
        (
            &["--since", &third, "--until", &fifth],
            &["labelled-otherwise", "elsewhere"],
            &[("plain", "since"), ("accepted", "until")],
        ),
        (&["--since", "2026-09-22"], &[], &[("plain", "since"), ("twin-2", "since")]),
        (&["--workspace", "there"], &["elsewhere"], &[("plain", "workspace")]),
        (&["--outcome", "accepted"], &["accepted"], &[("plain", "outcome"), ("rejected", "outcome")]),
        (&["--outcome", "rejected"], &["rejected"], &[("accepted", "outcome")]),
        (&["--status", "failed,cancelled"], &["failed"], &[("plain", "status")]),
        (&["--dedupe"], &usual[..6], &[("twin-2", "duplicate")]),
        (
            &["--max-per-group", "1"],
            &["plain", "labelled", "elsewhere", "accepted", "twin-1"],
            &[("labelled-otherwise", "max_per_group")],
        ),
        (&["--include-scripted", "--label", "kind", "--label", "none"], &[], &[("scripted", "label")]),
    ];
    for (flags, expected, left_out) in cases {
        let (tasks, exported) = chosen(&home, flags).await;
        assert_eq!(tasks, *expected, "{flags:?}");
        assert_eq!(exported.told().len(), stories().len(), "{flags:?}");
        for (task, reason) in *left_out {
            assert_eq!(exported.reason(task), *reason, "{flags:?}: {task}");
        }
    }
    let (tasks, _) = chosen(&home, &["--include-scripted"]).await;
    assert!(tasks.contains(&"scripted".to_owned()), "{tasks:?}");
}

#[tokio::test]
async fn a_row_that_is_too_long_is_left_out_or_has_shorter_results() {
    let home = Home::new();
    let long =
        format!(r#"{{"status":"success","stdout":"{}"}}"#, "a line that says nothing new, ünïcode\\n".repeat(300));
    let mut stories: Vec<Story> = (0..8).map(ordinary).collect();
    stories.extend((8..12).map(|number| ordinary(number).turn("run_command", r#"{"command":"cat log"}"#, &long)));
    tell(&home, &stories, FIRST).await;
    let (_, whole) = chosen(&home, &["--format", "openai"]).await;
    let most = 2000;
    let fitting: Vec<_> =
        whole.index.iter().filter(|entry| entry.tokens <= most).map(|entry| entry.task_id.clone()).collect();
    assert!((4..whole.index.len()).contains(&fitting.len()), "{fitting:?}");

    let limit = most.to_string();
    let (tasks, dropped) = chosen(&home, &["--max-tokens", &limit]).await;
    assert_eq!(tasks, fitting);
    assert!(dropped.rejected.iter().all(|rejected| rejected.reason == "max_tokens"));

    let flags = ["--max-tokens", &limit, "--too-long", "truncate-observations"];
    let (tasks, cut) = chosen(&home, &flags).await;
    assert_eq!(tasks.len(), stories.len());
    for entry in &cut.index {
        assert!(entry.tokens <= most, "{entry:?}");
        let (row, was) = (cut.rows_of(entry)[0], whole.rows_of(whole.entry(&entry.task_id))[0]);
        assert_eq!(row == was, fitting.contains(&entry.task_id), "{}: cut without need, or not", entry.task_id);
        // What the model did stays whole.
        assert_eq!(calls(row), calls(was), "{}", entry.task_id);
    }
    let directory: PathBuf = home.path().join(flags.concat());
    let Some(counts) = python("openai_types.py", &["openai", "pydantic"], &[&directory]).await else { return };
    assert_eq!(counts["conversations"], stories.len());
    let Some(counts) = node("tokens.js", "gpt-tokenizer/encoding/o200k_base", &[&directory]).await else { return };
    assert_eq!(counts["rows"], stories.len());
}

/// What the assistant says and calls in a row.
fn calls(row: &str) -> Vec<Value> {
    let row: Value = serde_json::from_str(row).unwrap();
    let messages = row["messages"].as_array().unwrap().clone();
    messages.into_iter().filter(|message| message["role"] != "tool").collect()
}
