//! Brains that misbehave: each ends as the contract says, and the service goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::brain::{Brain, Reply, Seen, call, finish};
use crate::common::{Service, eventually};

/// Runs one task with a brain that always gives `reply`; the ended task and its record.
async fn with(reply: impl Fn() -> Reply + Send + Sync + 'static, variables: &[(&str, &str)]) -> (Value, Vec<Value>) {
    let brain = Brain::start(move |_, _| reply()).await;
    let service = Service::start(&brain.url, variables).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    assert_eq!(service.get("/healthz").await.status, 200);
    (task, record)
}

fn code(task: &Value) -> &str {
    task["error"]["code"].as_str().unwrap_or("none")
}

fn message(task: &Value) -> &str {
    task["error"]["message"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn what_is_no_json_fails_the_task_with_its_beginning_in_the_message() {
    let page = format!("<html>{}</html>", "é".repeat(300));
    let (task, record) = with(move || Reply::Json(page.clone()), &[]).await;
    assert_eq!(code(&task), "brain_protocol");
    assert!(message(&task).ends_with(&format!("<html>{}", "é".repeat(194))), "{}", message(&task));
    assert_eq!((record.len(), &record[0]["mcp_reply"]), (1, &json!(null)));

    let (task, _) = with(|| Reply::Json(String::new()), &[]).await;
    assert_eq!(code(&task), "brain_protocol");
}

#[tokio::test]
async fn a_reply_over_the_limit_is_not_read_to_its_end() {
    let (task, _) = with(|| Reply::Json("x".repeat(10 * 1024 * 1024)), &[]).await;
    assert_eq!(code(&task), "brain_protocol");
    assert!(message(&task).contains("over 8388608 bytes: xxx"), "{}", message(&task));
}

#[tokio::test]
async fn json_that_is_no_reply_fails_the_task_and_is_on_record() {
    for reply in [json!([1, 2]), json!({"name": "edit_file"}), json!({"event": 7}), json!({"event": "tool_call"})] {
        let sent = reply.clone();
        let (task, record) = with(move || Reply::json(&sent), &[]).await;
        assert_eq!(code(&task), "brain_protocol", "{reply}");
        assert!(message(&task).ends_with(&reply.to_string()), "{}", message(&task));
        assert_eq!(record[0]["mcp_reply"], reply);
    }
}

#[tokio::test]
async fn an_event_outside_the_protocol_fails_the_task() {
    let (task, record) = with(|| Reply::json(&json!({"event": "dance", "steps": 1})), &[]).await;
    assert_eq!(code(&task), "unknown_event");
    assert!(message(&task).contains("dance"));
    assert_eq!(record[0]["mcp_reply"], json!({"event": "dance", "steps": 1}));
}

#[tokio::test]
async fn an_unknown_tool_and_wrong_arguments_are_results_and_not_the_end() {
    let brain = Brain::script(vec![
        json!({"event": "tool_call", "name": "format_disk", "arguments": {"all": true}}),
        call("run_command", &json!({"command": 7})),
        call("read_file", &json!({"file_path": "x", "shell": true})),
        json!({"event": "tool_call", "name": "edit_file"}),
        json!({"event": "tool_call", "name": "edit_file", "arguments": null}),
        finish(),
    ])
    .await;
    let service = Service::start(&brain.url, &[]).await;
    assert_eq!(service.finish(&json!({"instruction": "x"})).await["status"], "succeeded");
    let told: Vec<Value> = brain.seen().iter().map(Seen::payload).collect();
    let fields: Vec<_> = told[1].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["event", "name", "result"]);
    assert!(told[1]["result"]["message"].as_str().unwrap().starts_with("unknown tool \"format_disk\""));
    for (payload, named) in told[2..].iter().zip(["command", "shell", "file_path", "JSON object"]) {
        assert_eq!(payload["result"]["status"], "failure");
        assert!(payload["result"]["message"].as_str().unwrap().contains(named), "{payload}");
    }
    assert_eq!((&told[4]["arguments"], &told[5]["arguments"]), (&json!({}), &json!(null)));
}

#[tokio::test]
async fn errors_that_may_pass_are_tried_again_with_the_same_key_and_body() {
    let brain = Brain::start(|_, before| match before {
        0 => Reply::Status(500, Vec::new(), "oh".to_owned()),
        1 => Reply::Half,
        2 => Reply::Status(408, Vec::new(), String::new()),
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[]).await;
    assert_eq!(service.finish(&json!({"instruction": "x"})).await["status"], "succeeded");
    let seen = brain.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|one| one.key() == seen[0].key() && one.body == seen[0].body));
    assert!(seen.iter().all(|one| one.headers["traceparent"] == seen[0].headers["traceparent"]));
}

#[tokio::test]
async fn a_retry_after_is_waited_for() {
    let brain = Brain::start(|_, before| match before {
        0 => Reply::Status(429, vec![("retry-after", "2".to_owned())], String::new()),
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let started = Instant::now();
    assert_eq!(service.finish(&json!({"instruction": "x"})).await["status"], "succeeded");
    assert!(started.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn errors_that_will_not_pass_are_not_tried_again() {
    for status in [400, 401, 403, 404, 422, 301] {
        let asked = std::sync::Arc::new(AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&asked);
        let reply = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Reply::Status(status, vec![("location", "/elsewhere".to_owned())], "because".to_owned())
        };
        let (task, _) = with(reply, &[]).await;
        assert_eq!(code(&task), "brain_protocol");
        assert!(message(&task).contains(&status.to_string()) && message(&task).ends_with("because"));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn a_brain_that_gives_no_answer_is_unreachable_after_the_tries() {
    let variables = [("MCP_TIMEOUT", "1"), ("MCP_RETRIES", "1")];
    let (task, record) = with(|| Reply::Silence, &variables).await;
    assert_eq!(code(&task), "brain_unreachable");
    assert!(message(&task).contains("2 tries"), "{}", message(&task));
    assert_eq!((record.len(), &record[0]["mcp_reply"]), (1, &json!(null)));

    let (task, _) = with(|| Reply::Half, &variables).await;
    assert_eq!(code(&task), "brain_unreachable");

    // A port that was free a moment ago: nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let service = Service::start(&format!("http://{free}"), &[("MCP_RETRIES", "0")]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!(code(&task), "brain_unreachable");
    assert!(message(&task).contains("refused"), "{}", message(&task));
}

#[tokio::test]
async fn a_brain_that_lost_the_task_gets_its_history_once() {
    let brain = Brain::start(|seen, _| match (seen.iteration(), seen.json()["history"].is_array()) {
        (1, _) => Reply::json(&call("run_command", &json!({"command": "echo one"}))),
        (2, true) => Reply::finish(),
        _ => Reply::json(&json!({"event": "resync"})),
    })
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(2)));
    let seen = brain.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[1].key(), seen[1].payload()), (seen[2].key(), seen[2].payload()));
    let history = seen[2].json()["history"].clone();
    assert_eq!(history.as_array().unwrap().len(), 1);
    assert_eq!(history[0]["agent_input"], json!({"event": "start", "task": {"instruction": "x"}}));
    assert_eq!(history[0]["mcp_reply"]["name"], "run_command");

    let (task, _) = with(|| Reply::json(&json!({"event": "resync"})), &[]).await;
    assert_eq!(code(&task), "brain_protocol");
}

#[tokio::test]
async fn usage_is_added_up_and_models_and_the_key_are_told() {
    let brain = Brain::start(|seen, _| {
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 2});
        match seen.iteration() {
            1 => Reply::json(&json!({"event": "tool_call", "name": "read_file", "usage": usage})),
            _ => Reply::json(&json!({"event": "finish", "summary": "s", "usage": usage})),
        }
    })
    .await;
    let variables = [("OPENAI_API_KEY", "sk-canary"), ("OPENAI_FINETUNED_MODEL_ID", "ft:1")];
    let service = Service::start(&brain.url, &variables).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!(task["usage"], json!({"prompt_tokens": 10, "completion_tokens": 4}));
    let seen = brain.seen();
    assert_eq!(seen[0].headers["authorization"], "Bearer sk-canary");
    assert_eq!(seen[0].payload()["models"], json!({"finetuned": "ft:1"}));
    assert!(!service.log().contains("sk-canary"));
}

#[tokio::test]
async fn the_script_brain_works_inside_the_process_and_as_one_of_its_own() {
    let task = json!({"instruction": "x", "script": [call("run_command", &json!({"command": "echo hi"})), finish()]});
    let inside = Service::start("script:", &[]).await;
    assert_eq!(inside.finish(&task).await["status"], "succeeded");
    let lost = inside.finish(&json!({"instruction": "x"})).await;
    assert_eq!(code(&lost), "brain_protocol");
    assert!(message(&lost).contains("MCP_SERVER_URL"));

    let home = crate::common::Home::new();
    let (mut brain, url) = served_brain(&home, "127.0.0.1:0").await;
    let outside = Service::start(&url, &[]).await;
    let done = outside.finish(&task).await;
    assert_eq!(done["status"], "succeeded");
    let id = done["task_id"].as_str().unwrap();
    let record = outside.record(id).await;
    assert_eq!(record[1]["agent_input"]["result"]["stdout"], "hi\n");

    // Restarted, it knows nothing, and asks for the history of a task that is under way.
    let slow = json!({"instruction": "x", "script": [call("run_command", &json!({"command": "sleep 1"})), finish()]});
    let id = outside.submit(&slow).await;
    eventually("the first step is on record", async || {
        outside.get(&format!("/tasks/{id}")).await.json()["iteration"] == 1
    })
    .await;
    brain.kill().await.unwrap();
    let address = url.trim_start_matches("http://");
    let (_brain, _) = served_brain(&home, address).await;
    assert_eq!(outside.ended(&id).await["status"], "succeeded");
}

/// `codex-agent brain` and where it answers.
async fn served_brain(home: &crate::common::Home, listen: &str) -> (tokio::process::Child, String) {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut child = home.command(&["brain", "--listen", listen]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(at) = line.find("http://") {
            let url = line[at..].trim_end_matches("/step").to_owned();
            return (child, url);
        }
    }
    panic!("the brain did not start");
}
