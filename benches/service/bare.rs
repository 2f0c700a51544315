//! The floor of an iteration: what a loop without a database, records, walls or limits does.
//!
//! Loops at a time on tokio's threads, one `reqwest` client, and in each iteration: the payload as JSON text, a POST over a
//! kept connection, the reply parsed, the file read and a line with both written to the loop's JSONL, with plain system calls
//! on the thread it is on. Nothing is synced.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::brain::{self, FILE};
use super::{common, measure};

/// Runs `loops` of so many iterations against the brain; processor time of an iteration, in microseconds.
pub fn microseconds(brain: &str, dir: &Path, loops: usize, iterations: u32) -> f64 {
    let (loops, iterations) = (loops.to_string(), iterations.to_string());
    let (mut child, first) = brain::again(&["bare", brain, dir.to_str().unwrap(), &loops, &iterations]);
    let _ = child.0.wait();
    first.parse().unwrap()
}

#[derive(Serialize)]
struct Body<'a> {
    task_id: &'a str,
    payload: &'a RawValue,
}

#[derive(Serialize)]
struct Line<'a> {
    iteration: u32,
    agent_input: &'a RawValue,
    mcp_reply: &'a Value,
}

/// What the process does.
pub fn main(arguments: &[&str]) {
    let [brain, dir, loops, iterations] = arguments else { panic!("bare BRAIN DIR LOOPS ITERATIONS") };
    let (loops, iterations): (usize, u32) = (loops.parse().unwrap(), iterations.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let me = std::process::id();
    let before = measure::processor_time(me);
    runtime.block_on(async {
        let (client, mut running) = (common::client(), tokio::task::JoinSet::new());
        for number in 0..loops {
            running.spawn(run(client.clone(), format!("{brain}/step"), (*dir).to_owned(), number, iterations));
        }
        running.join_all().await;
    });
    let spent = measure::processor_time(me).saturating_sub(before);
    println!("{}", spent.as_secs_f64() * 1e6 / (loops as f64 * f64::from(iterations)));
}

async fn run(client: reqwest::Client, url: String, dir: String, number: usize, iterations: u32) {
    let task_id = format!("loop-{number}");
    let mut record = File::create(format!("{dir}/{task_id}.jsonl")).unwrap();
    let mut payload = json!({"event": "start", "task": {"task_id": task_id, "instruction": "Read."}});
    for iteration in 1..=iterations {
        let sent = serde_json::value::to_raw_value(&payload).unwrap();
        let body = serde_json::to_string(&Body { task_id: &task_id, payload: &sent }).unwrap();
        let request = client.post(&url).header("content-type", "application/json").body(body);
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        let reply: Value = serde_json::from_slice(&answer).unwrap();
        let mut line = serde_json::to_vec(&Line { iteration, agent_input: &sent, mcp_reply: &reply }).unwrap();
        line.push(b'\n');
        record.write_all(&line).unwrap();
        if reply["event"] == "finish" {
            return;
        }
        let content = std::fs::read_to_string(format!("{dir}/{FILE}")).unwrap();
        let result = json!({"status": "success", "content": content});
        payload =
            json!({"event": "tool_result", "name": reply["name"], "arguments": reply["arguments"], "result": result});
    }
}
