//! A real server: llama-cpp-python with a tiny model of random weights, which calls the tools with noise.
//!
//! It has to be compiled for minutes, so this runs only where `CODEX_AGENT_LLAMA_PYTHON` names a Python that has it:
//! `pip install gguf 'llama-cpp-python[server]'`.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::common::{Service, client, eventually};

#[tokio::test]
async fn a_task_comes_to_a_legal_end_with_a_model_that_talks_noise() {
    let Some(python) = std::env::var_os("CODEX_AGENT_LLAMA_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("noise.gguf");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai/tiny_gguf.py");
    assert!(Command::new(&python).arg(script).arg(&model).status().await.unwrap().success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = std::fs::File::create(dir.path().join("server.log")).unwrap();
    let mut server = Command::new(&python);
    server
        .args(["-m", "llama_cpp.server", "--chat_format", "chatml-function-calling", "--n_ctx", "16384"])
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--n_threads", "1", "--model"])
        .arg(&model)
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .kill_on_drop(true);
    let mut server = server.spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}/v1");
    eventually("the model is loaded", async || client().get(format!("{url}/models")).send().await.is_ok()).await;

    let variables = [
        ("OPENAI_BASE_URL", url.as_str()),
        ("OPENAI_FINETUNED_MODEL_ID", "noise"),
        ("OPENAI_CRITIQUE_MODEL_ID", "noise"),
        ("MCP_RETRIES", "1"),
    ];
    let service = Service::start("openai:", &variables).await;
    for instruction in ["Tidy up.", "List the files.", "Write a poem."] {
        let task = service.finish(&json!({"instruction": instruction, "max_iterations": 4})).await;
        let code = task["error"]["code"].as_str().unwrap_or("none");
        let legal = ["none", "max_iterations", "brain_protocol"].contains(&code);
        println!("{}: {} ({code}) after {} steps: {}", instruction, task["status"], task["iteration"], task["error"]);
        for line in service.record(task["task_id"].as_str().unwrap()).await {
            println!("    {} {} {}", line["mcp_reply"]["event"], line["mcp_reply"]["name"], line["mcp_reply"]["usage"]);
        }
        assert!(legal, "{task:#}");
    }
    assert_eq!(service.get("/healthz").await.status, 200);
    assert!(server.try_wait().unwrap().is_none(), "the model's server has crashed");
}
