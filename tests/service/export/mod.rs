//! `GET /export`, `codex-agent export` and `EXPORT_SCHEDULE`: the same training data, whoever asks.

mod broken_off;
mod filters;
mod rows;
mod schedule;
mod stores;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::common::brain::{Brain, Reply, call, finish};
use crate::common::{Answer, Home, Service};

/// All that a row may be.
const FORMATS: [&str; 6] = ["openai", "hf", "dpo-openai", "dpo-hf", "atif", "records"];

/// A brain that decides as the member `plan` of a task has it: to the service that is a model's doing, and not a script's. Where
/// a plan ends without an end, it is silent.
async fn planned() -> Brain {
    let plans: Mutex<HashMap<String, Vec<Value>>> = Mutex::default();
    Brain::start(move |seen, _| {
        let (payload, mut plans) = (seen.payload(), plans.lock().unwrap());
        match seen.event().as_str() {
            "agent_abort" => return Reply::finish(),
            "start" => {
                let plan = payload["task"]["plan"].as_array().cloned().unwrap_or_else(|| vec![finish()]);
                plans.insert(seen.task_id(), plan);
            }
            _ => {}
        }
        plans[&seen.task_id()].get(seen.iteration() - 1).map_or(Reply::Silence, Reply::json)
    })
    .await
}

fn read(file: &str) -> Value {
    call("read_file", &json!({"file_path": file}))
}

fn write(file: &str, content: &str) -> Value {
    call("edit_file", &json!({"file_path": file, "new_content": content}))
}

/// The end of a task that fails.
fn dance() -> Value {
    json!({"event": "dance"})
}

fn task(id: &str, instruction: &str, plan: &[Value]) -> Value {
    json!({"task_id": id, "instruction": instruction, "plan": plan})
}

/// Tasks of all kinds, one after the other: every format has rows of them.
async fn stories(service: &Service) {
    std::fs::write(service.home.code().join("notes"), "größer\n").unwrap();
    let broken = call("edit_file", &json!({"file_path": "made", "diff_patch": "no patch"}));
    for task in [
        task("good", "Look it up.", &[read("notes"), write("answer", "größer\n"), finish()]),
        task("bad", "Look it up.", &[read("notes"), write("answer", "kleiner\n"), dance()]),
        task("mended", "Make it.", &[broken, write("made", "1\n"), finish()]),
        task("other", "Make another.", &[write("another", "2\n"), finish()]),
    ] {
        service.finish(&task).await;
    }
    service.finish(&json!({"task_id": "scripted", "instruction": "x", "script": [], "plan": [finish()]})).await;
}

/// What `codex-agent export` prints beside a service, which it is expected to do without a complaint.
async fn printed(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(home, arguments, variables).await;
    let (told, complaint) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{arguments:?}: {complaint}");
    String::from_utf8(told).unwrap()
}

async fn run(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> std::process::Output {
    let mut command = home.command(&["export"]);
    command.args(arguments).envs(variables.iter().copied()).output().await.unwrap()
}

async fn label(service: &Service, id: &str, verdict: &Value) {
    let request = service.request("PUT", &format!("/tasks/{id}/label"));
    let request = request.header("content-type", "application/json").body(verdict.to_string());
    assert_eq!(crate::common::send(request).await.status, 200);
}

/// The rows of an answer that is whole.
fn rows(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/jsonl"), "{}", answer.text());
    answer.lines()
}

/// The lines of a file of an export, or none as long as there is no such file.
fn lines(dir: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Members of objects.
fn each<'a>(objects: &'a [Value], name: &str) -> Vec<&'a str> {
    objects.iter().map(|object| object[name].as_str().unwrap()).collect()
}
