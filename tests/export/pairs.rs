//! What is preferred to what: nobody has labelled it, the attempts say it.

use serde_json::Value;

use crate::check::export;
use crate::common::Home;
use crate::directory::Exported;
use crate::stories::{self, REPAIRED, TRIED_TWICE};
use crate::world::{FIRST, tell};

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
