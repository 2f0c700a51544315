//! The stand-in server as a test sees it.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::common::{Service, skip};

/// The key that tests set.
pub const KEY: &str = "sk-canary-5b1f";

pub struct Model {
    /// For `OPENAI_BASE_URL`.
    pub url: String,
    dir: TempDir,
    _server: Child,
}

impl Model {
    /// A server that gives `answers` to the main model's requests, in their order.
    pub async fn start(answers: Value) -> Option<Self> {
        Self::with(json!({"answers": answers})).await
    }

    /// A server by its whole script; see server.py. `None`, said aloud, where Python has no `openai`.
    pub async fn with(script: Value) -> Option<Self> {
        let python = Command::new("python3").args(["-c", "import openai"]).stderr(Stdio::null()).status().await;
        if !python.is_ok_and(|status| status.success()) {
            skip("python3 has no openai package: its types are what requests are checked by");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut script = script;
        for name in ["answers", "critic"] {
            if script[name].is_null() {
                script[name] = json!([]);
            }
        }
        std::fs::write(dir.path().join("script.json"), script.to_string()).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openai/server.py");
        let mut server = Command::new("python3")
            .args([PathBuf::from(source), dir.path().join("script.json"), dir.path().join("log.jsonl")])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let url = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("the stand-in server did not start"));
        Some(Self { url, dir, _server: server })
    }

    /// A service whose brain is this model, with further variables.
    pub async fn service(&self, variables: &[(&str, &str)]) -> Service {
        let mut all = self.variables();
        all.extend(variables);
        Service::start("openai:", &all).await
    }

    /// What leads a service to this model.
    pub fn variables(&self) -> Vec<(&str, &str)> {
        vec![
            ("OPENAI_BASE_URL", &self.url),
            ("OPENAI_API_KEY", KEY),
            ("OPENAI_FINETUNED_MODEL_ID", "main"),
            ("MCP_RETRIES", "2"),
        ]
    }

    /// Everything that was asked so far: `request`, `authorization`, `faults`, `refused`.
    pub fn asked(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.dir.path().join("log.jsonl")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The requests, after making sure that each is right by the public schema.
    pub fn requests(&self) -> Vec<Value> {
        let asked = self.asked();
        for one in &asked {
            assert_eq!(one["faults"], json!([]), "{:#}", one["request"]);
            assert_eq!(one["path"], "/v1/chat/completions");
            assert_eq!(one["authorization"], format!("Bearer {KEY}"));
        }
        asked.into_iter().map(|one| one["request"].clone()).collect()
    }
}

/// An answer of words.
pub fn says(content: &str) -> Value {
    answer(&json!({"role": "assistant", "content": content, "refusal": null}), "stop")
}

/// An answer that calls tools: names and arguments, as text.
pub fn calls(calls: &[(&str, &str)]) -> Value {
    let call = |(at, (name, arguments)): (usize, &(&str, &str))| json!({"id": format!("call_{at}"), "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls: Vec<Value> = calls.iter().enumerate().map(call).collect();
    answer(&json!({"role": "assistant", "content": null, "tool_calls": calls}), "tool_calls")
}

/// An answer with this message.
pub fn answer(message: &Value, finish_reason: &str) -> Value {
    json!({"body": {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "main-2026",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
                  "prompt_tokens_details": {"cached_tokens": 60}},
    }})
}

/// A critic's answer.
pub fn verdict(verdict: &str, reason: &str) -> Value {
    says(&json!({"verdict": verdict, "reason": reason}).to_string())
}

/// A refusal of the server's.
pub fn error(status: u16, message: &str) -> Value {
    json!({"status": status, "body": {"error": {"message": message, "type": "invalid_request_error", "code": null}}})
}

/// The roles of a request's messages.
pub fn roles(request: &Value) -> Vec<&str> {
    request["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect()
}

/// The content of a request's last message.
pub fn last(request: &Value) -> &str {
    request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
}

pub fn message(task: &Value) -> &str {
    task["error"]["message"].as_str().unwrap_or("none")
}
