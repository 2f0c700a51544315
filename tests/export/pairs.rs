//! What is preferred to what: nobody has labelled it, the attempts say it.

use serde_json::Value;

use codex_agent::domain::{StopReason, Timestamp};

use crate::check::export;
use crate::common::Home;
use crate::directory::Exported;
use crate::stories::{self, REPAIRED, TRIED_TWICE};
use crate::world::{End, FIRST, Story, tell};

async fn pairs(format: &str) -> Vec<Value> {
    let home = Home::new();
    tell(&home, &stories::all(), FIRST).await;
    let exported = Exported::read(&export(&home, format, &["--format", format]).await);
    exported.rows("").into_iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// The instruction, the calls before, and the text that each answer writes.
fn told(prompt: &Value, answers: [&Value; 2]) -> (String, usize, [String; 2]) {
    let prompt = prompt.as_array().unwrap();
    let instruction = prompt.iter().find(|message| message["role"] == "user").unwrap()["content"].as_str().unwrap();
    let calls = prompt.iter().filter(|message| message["role"] == "assistant").count();
    assert_ne!(prompt.last().unwrap()["role"], "assistant", "it is the assistant's turn");
    let written = answers.map(|answer| {
        assert_eq!(answer.as_array().unwrap().len(), 1, "{answer}");
        let arguments = &answer[0]["tool_calls"][0]["function"]["arguments"];
        let arguments: Value = match arguments.as_str() {
            Some(text) => serde_json::from_str(text).unwrap(),
            None => arguments.clone(),
        };
        arguments["new_content"].as_str().or(arguments["diff_patch"].as_str()).unwrap_or_default().to_owned()
    });
    (instruction.to_owned(), calls, written)
}

/// Two attempts at the same thing part after a call; a call that failed is made again, and better.
fn expected() -> Vec<(String, usize, [String; 2])> {
    let tried = (0..TRIED_TWICE).map(|number| {
        let answers = ["a right thing", "a wrong thing"].map(str::to_owned);
        (format!("Try what was tried{number} before."), 1, answers)
    });
    let repaired = (0..REPAIRED).map(|number| {
        let answers = ["straight", "crooked"].map(str::to_owned);
        (format!("Repair what is broken{number}."), 0, answers)
    });
    let mut all: Vec<_> = tried.chain(repaired).collect();
    all.sort();
    all
}

#[tokio::test]
async fn what_succeeded_is_preferred_to_what_did_not_in_openais_format() {
    let rows = pairs("dpo-openai").await;
    let told = |row: &Value| {
        assert_eq!(row["input"]["parallel_tool_calls"], false);
        told(&row["input"]["messages"], [&row["preferred_output"], &row["non_preferred_output"]])
    };
    let mut all: Vec<_> = rows.iter().map(told).collect();
    all.sort();
    assert_eq!(all, expected());
}

#[tokio::test]
async fn and_in_hugging_faces() {
    let rows = pairs("dpo-hf").await;
    let mut all: Vec<_> = rows.iter().map(|row| told(&row["prompt"], [&row["chosen"], &row["rejected"]])).collect();
    all.sort();
    assert_eq!(all, expected());
}

/// An attempt whose first edit fails and whose second one, of the same file, does not.
fn stumbled(id: &str, wrong: &str) -> Story {
    let edit = |text: &str| format!(r#"{{"file_path":"a","new_content":"{text}"}}"#);
    Story::new(id, "Mend it.").turn("edit_file", &edit(wrong), r#"{"status":"failure","message":"no"}"#).turn(
        "edit_file",
        &edit("right"),
        r#"{"status":"success","message":"file edited"}"#,
    )
}

#[tokio::test]
async fn an_increment_knows_the_rows_that_are_there_and_how_many_a_group_has() {
    let home = Home::new();
    tell(&home, &[stumbled("first", "crooked")], FIRST).await;
    let flags = ["--format", "dpo-hf", "--dedupe", "--max-per-group", "2", "--incremental"];
    assert_eq!(Exported::read(&export(&home, "data", &flags).await).rows("").len(), 1);

    let later = Timestamp::from_millis(FIRST.millis() + 60_000);
    tell(&home, &[stumbled("same", "crooked"), stumbled("other", "bent"), stumbled("third", "broken")], later).await;
    let exported = Exported::read(&export(&home, "data", &flags).await);
    let reason = |id: &str| exported.rejected.iter().find(|task| task.task_id == id).map(|task| task.reason.as_str());
    assert_eq!((reason("same"), reason("other"), reason("third")), (Some("duplicate"), None, Some("max_per_group")));
    assert_eq!(exported.rows("").len(), 2);
}

#[tokio::test]
async fn a_step_that_failed_is_preferred_to_nothing_nor_is_what_no_model_is_to_blame_for_worse() {
    let home = Home::new();
    let read = |id: &str, path: &str, ok: bool| {
        let status = if ok { "success" } else { "failure" };
        let arguments = format!(r#"{{"file_path":"{path}"}}"#);
        Story::new(id, "Look it up.").turn("read_file", &arguments, &format!(r#"{{"status":"{status}"}}"#))
    };
    let (stumbled, good) = (read("stumbled", "nowhere", false), read("good", "here", true));
    let unlucky = read("unlucky", "elsewhere", true).ends(End::Unreachable);
    let bad = read("bad", "there", true).ends(End::Stopped(StopReason::MaxIterations));
    tell(&home, &[stumbled, good, unlucky, bad], FIRST).await;
    let exported = Exported::read(&export(&home, "data", &["--format", "dpo-hf"]).await);
    let rows: Vec<Value> = exported.rows("").into_iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    let path = |row: &Value, side: &str| row[side][0]["tool_calls"][0]["function"]["arguments"]["file_path"].clone();
    let pairs: Vec<_> = rows.iter().map(|row| (path(row, "chosen"), path(row, "rejected"))).collect();
    assert_eq!(pairs, [("here".into(), "there".into())]);
}
