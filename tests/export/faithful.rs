//! What is exported is what is on record: where nothing is taken out, to the last character.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::check::export;
use crate::common::Home;
use crate::directory::Exported;
use crate::stories::{self, ORDINARY};
use crate::world::{End, FIRST, Story, tell};

/// Nothing is taken out, so that all can be compared.
const WHOLE: &[&str] = &["--redact", "none", "--allow-secrets", "--validation-percent", "25"];

async fn exported(format: &str, arguments: &[&str]) -> (Vec<Story>, Exported) {
    let (home, stories) = (Home::new(), stories::all());
    tell(&home, &stories, FIRST).await;
    let directory = export(&home, "exported", &[&["--format", format], WHOLE, arguments].concat()).await;
    (stories, Exported::read(&directory))
}

/// The messages that a story comes to. Arguments are text: those of the row in JSON, or the string that is there.
fn expected(story: &Story) -> Vec<Value> {
    let mut messages = vec![json!({ "role": "user", "content": story.instruction })];
    for turn in &story.turns {
        messages.push(json!({ "role": "assistant", "said": turn.said.as_deref().unwrap_or_default(), "call": turn.name, "arguments": turn.arguments }));
        messages.push(json!({ "role": "tool", "content": compact(&turn.result) }));
    }
    match &story.end {
        End::Finish(Some(summary)) if !summary.is_empty() => {
            messages.push(json!({ "role": "assistant", "content": summary }));
        }
        // Nobody learns from a result.
        _ => drop(messages.pop()),
    }
    messages
}

/// The same of a row, whose calls have to answer each other's ids.
fn told(row: &Value) -> Vec<Value> {
    let mut open = None;
    let message = |message: &Value| match message["role"].as_str().unwrap() {
        "assistant" if message.get("tool_calls").is_some() => {
            let call = &message["tool_calls"][0];
            assert!(message["tool_calls"].as_array().unwrap().len() == 1 && call["type"] == "function", "{message}");
            open = call["id"].as_str().map(str::to_owned);
            let arguments = &call["function"]["arguments"];
            let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
            let said = message["content"].as_str().unwrap_or_default();
            json!({ "role": "assistant", "said": said, "call": call["function"]["name"], "arguments": arguments })
        }
        "tool" => {
            assert_eq!(message["tool_call_id"].as_str(), open.take().as_deref(), "{message}");
            json!({ "role": "tool", "content": message["content"] })
        }
        role => json!({ "role": role, "content": message["content"] }),
    };
    row["messages"].as_array().unwrap().iter().map(message).collect()
}

fn compact(text: &str) -> String {
    codex_agent::domain::Json::parse(text).unwrap().to_string()
}

#[tokio::test]
async fn an_openai_row_has_each_character_of_the_record() {
    let (stories, exported) = exported("openai", &[]).await;
    let mut compared = 0;
    for entry in &exported.index {
        let story = stories.iter().find(|story| story.id == entry.task_id).unwrap();
        let rows = exported.rows_of(entry);
        assert_eq!((rows.len(), entry.rows), (1, 1), "{entry:?}");
        let row: Value = serde_json::from_str(rows[0]).unwrap();
        assert_eq!(told(&row), expected(story), "{}", story.id);
        compared += 1;
    }
    assert!(compared > ORDINARY, "{compared}");
    // A number that few can hold is text here, and stays what it was.
    let huge = exported.rows_of(exported.entry("big-number"));
    assert!(huge[0].contains("1180591620717411303424"), "{huge:?}");
}

#[tokio::test]
async fn an_hf_row_has_the_arguments_as_the_object_that_was_asked_for() {
    let (stories, exported) = exported("hf", &[]).await;
    let mut compared = 0;
    for entry in &exported.index {
        let story = stories.iter().find(|story| story.id == entry.task_id).unwrap();
        let row = exported.rows_of(entry)[0];
        for turn in &story.turns {
            // As text, so that a number is not rounded on the way to the comparison.
            let call = format!(r#""function":{{"name":"{}","arguments":{}}}"#, turn.name, compact(&turn.arguments));
            assert!(row.contains(&call), "{call} is not in {row}");
            compared += 1;
        }
        let row: Value = serde_json::from_str(row).unwrap();
        let without_arguments = |messages: Vec<Value>| {
            let each = messages.into_iter().map(|mut message| {
                message.as_object_mut().unwrap().remove("arguments");
                message
            });
            each.collect::<Vec<_>>()
        };
        assert_eq!(without_arguments(told(&row)), without_arguments(expected(story)), "{}", story.id);
    }
    assert!(compared > 3 * ORDINARY, "{compared}");
}

#[tokio::test]
async fn records_are_the_lines_of_the_record() {
    let (stories, exported) = exported("records", &[]).await;
    let begun = |story: &&Story| story.has_ended() && story.end != End::CancelledUnbegun;
    let begun: BTreeSet<&str> = stories.iter().filter(begun).map(|story| story.id.as_str()).collect();
    let mut told = BTreeSet::new();
    for line in exported.rows("") {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["iteration"] == 1 {
            told.insert(line["agent_input"]["task"]["task_id"].as_str().unwrap().to_owned());
        }
    }
    let scripted = "scripted".to_owned();
    assert!(!told.contains(&scripted));
    told.insert(scripted);
    assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), begun);
}

#[tokio::test]
async fn an_example_for_each_turn_ends_on_what_is_to_be_learnt() {
    let (stories, exported) = exported("openai", &["--examples", "turn"]).await;
    let mut examples = 0;
    for entry in &exported.index {
        let story = stories.iter().find(|story| story.id == entry.task_id).unwrap();
        let whole = expected(story);
        let ends = (0..whole.len()).filter(|at| whole[*at]["role"] == "assistant");
        let rows = exported.rows_of(entry);
        assert_eq!(rows.len(), ends.clone().count(), "{}", story.id);
        for (row, end) in rows.into_iter().zip(ends) {
            let row: Value = serde_json::from_str(row).unwrap();
            assert_eq!(told(&row), whole[..=end], "{}", story.id);
            let (last, before) = row["messages"].as_array().unwrap().split_last().unwrap();
            assert!(last.get("weight").is_none(), "{last}");
            let context = before.iter().filter(|message| message["role"] == "assistant");
            assert!(context.clone().all(|message| message["weight"] == 0), "{row}");
            examples += 1;
        }
    }
    assert!(examples > 3 * ORDINARY, "{examples}");
}
