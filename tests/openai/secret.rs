//! The key is sent to the model's server, and is nowhere else.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::common::Service;
use crate::model::{KEY, Model, answer, calls, message, says};

#[tokio::test]
async fn the_key_is_in_no_record_file_answer_or_argument() {
    let command = |command: &str| calls(&[("run_command", &json!({"command": command}).to_string())]);
    let answers = json!([
        command("env"),
        command("cat /proc/self/environ"),
        command("sh -c 'cat /proc/$PPID/environ; cat /proc/$PPID/cmdline'"),
        command("sh -c 'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline'"),
        command("sh -c 'grep -rs OPENAI_API_KEY /proc/[0-9]*/environ'"),
        says("done"),
    ]);
    let Some(model) = Model::start(answers).await else { return };
    let service = model.service(&[("RUST_LOG", "trace")]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(6)), "{task:#}");
    let id = task["task_id"].as_str().unwrap();
    service.filed(id).await;
    // It was used.
    assert!(model.asked().iter().all(|one| one["authorization"] == format!("Bearer {KEY}")));
    // The commands have seen something, though not the key.
    let record = service.record(id).await;
    assert!(record[1]["agent_input"]["result"]["stdout"].as_str().unwrap().contains("PATH="));
    is_nowhere(&service, id).await;
}

#[tokio::test]
async fn a_key_that_a_server_sends_back_is_not_passed_on() {
    let echo = json!({"status": 401, "body": {"error": {"message": format!("wrong key: {KEY}")}}});
    let page = json!({"raw": format!("you sent Bearer {KEY}")});
    // Where a message is cut, within the key.
    let cut = json!({"status": 401, "body": {"error": {"message": format!("{}{KEY} is wrong", "x".repeat(490))}}});
    let cut_page = json!({"raw": format!("{}{KEY} is wrong", "x".repeat(190))});
    let refusal = answer(&json!({"content": null, "refusal": format!("I do not serve {KEY}")}), "stop");
    for answer in [echo, page, cut, cut_page, refusal] {
        let Some(model) = Model::start(json!([answer])).await else { return };
        let service = model.service(&[("RUST_LOG", "trace")]).await;
        let task = service.finish(&json!({"instruction": "x"})).await;
        assert!(message(&task).contains("[OPENAI_A"), "{}", message(&task));
        assert!(!message(&task).contains(&KEY[..5]), "{}", message(&task));
        let id = task["task_id"].as_str().unwrap();
        service.filed(id).await;
        is_nowhere(&service, id).await;
    }
}

async fn is_nowhere(service: &Service, id: &str) {
    let mut looked_at = 0;
    for path in files(service.home.path()) {
        // Sockets and the like have no content.
        let Ok(content) = std::fs::read(&path) else { continue };
        assert!(!contains(&content), "{}", path.display());
        looked_at += 1;
    }
    assert!(looked_at >= 4, "the database, the log, the record and its meta file: {looked_at}");
    for path in
        [format!("/tasks/{id}"), format!("/tasks/{id}/log"), "/tasks".into(), "/readyz".into(), "/metrics".into()]
    {
        assert!(!contains(&service.get(&path).await.body), "{path}");
    }
    assert!(!contains(service.log().as_bytes()), "the log on standard output");
    let arguments = std::fs::read(format!("/proc/{}/cmdline", service.pid())).unwrap();
    assert!(!arguments.is_empty() && !contains(&arguments));
}

fn contains(content: &[u8]) -> bool {
    content.windows(KEY.len()).any(|window| window == KEY.as_bytes())
}

fn files(below: &Path) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![below.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().filter_map(Result::ok) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}
