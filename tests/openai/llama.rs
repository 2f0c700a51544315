//! A real server: llama-cpp-python with a tiny model of random weights, which talks and calls the tools with noise.
//!
//! It has to be compiled for minutes, so these are left out unless they are asked for, with a Python that has it
//! (`pip install gguf 'llama-cpp-python[server]'`):
//! `CODEX_AGENT_LLAMA_PYTHON=venv/bin/python cargo test --all-features --test openai llama -- --ignored`.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::common::{Service, client, eventually};
use crate::model::message;

#[tokio::test]
#[ignore = "needs CODEX_AGENT_LLAMA_PYTHON, a Python with llama-cpp-python and gguf"]
async fn a_task_comes_to_a_legal_end_with_a_model_that_calls_tools_with_noise() {
    let python = python();
    let ended = tasks(&python, "chatml-function-calling", "16384").await;
    assert!(ended.iter().all(|task| task["iteration"].as_u64().unwrap() > 1), "the tools were called: {ended:#?}");
}

#[tokio::test]
#[ignore = "needs CODEX_AGENT_LLAMA_PYTHON, a Python with llama-cpp-python and gguf"]
async fn a_task_comes_to_a_legal_end_with_a_model_that_only_talks_noise() {
    let python = python();
    tasks(&python, "chatml", "16384").await;
}

#[tokio::test]
#[ignore = "needs CODEX_AGENT_LLAMA_PYTHON, a Python with llama-cpp-python and gguf"]
async fn a_context_that_the_tools_alone_do_not_fit_in_is_an_honest_end() {
    let python = python();
    for task in tasks(&python, "chatml-function-calling", "1024").await {
        assert!(message(&task).contains("maximum context length is 1024 tokens"), "{}", message(&task));
    }
}

/// Whoever asks for these tests has to name it: nothing is taken for passed that has not run.
fn python() -> OsString {
    let python = std::env::var_os("CODEX_AGENT_LLAMA_PYTHON");
    python.unwrap_or_else(|| panic!("CODEX_AGENT_LLAMA_PYTHON must name a Python with llama-cpp-python and gguf"))
}

/// Runs some tasks on a server with these settings; each has to end as the contract says.
async fn tasks(python: &OsString, chat_format: &str, context: &str) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, url) = serve(python, dir.path(), chat_format, context).await;
    let variables = [
        ("OPENAI_BASE_URL", url.as_str()),
        ("OPENAI_FINETUNED_MODEL_ID", "noise"),
        ("OPENAI_CRITIQUE_MODEL_ID", "noise"),
        ("OPENAI_SEED", "1"),
        ("MCP_RETRIES", "1"),
    ];
    let service = Service::start("openai:", &variables).await;
    let mut ended = Vec::new();
    for instruction in ["Tidy up.", "List the files.", "Write a poem."] {
        let task = service.finish(&json!({"instruction": instruction, "max_iterations": 3})).await;
        let (status, steps) = (&task["status"], &task["iteration"]);
        println!(
            "{chat_format}, {context} tokens: {instruction} {status} after {steps}: {} {}",
            message(&task),
            task["usage"]
        );
        // As text: noise has numbers that no parsed form holds.
        let record = service.get(&format!("/tasks/{}/log", task["task_id"].as_str().unwrap())).await.text();
        for reply in record.lines().filter_map(|line| line.split("\"mcp_reply\":").nth(1)) {
            println!("    {}", reply.chars().take(150).collect::<String>());
        }
        let code = task["error"]["code"].as_str().unwrap_or("none");
        assert!(["none", "max_iterations", "brain_protocol"].contains(&code), "{task:#}");
        ended.push(task);
    }
    assert_eq!(service.get("/healthz").await.status, 200);
    assert!(server.try_wait().unwrap().is_none(), "the model's server has crashed");
    ended
}

async fn serve(python: &OsString, dir: &Path, chat_format: &str, context: &str) -> (Child, String) {
    let model = dir.join("noise.gguf");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai/tiny_gguf.py");
    assert!(Command::new(python).arg(script).arg(&model).status().await.unwrap().success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = std::fs::File::create(dir.join("server.log")).unwrap();
    let mut server = Command::new(python);
    server
        .args(["-m", "llama_cpp.server", "--chat_format", chat_format, "--n_ctx", context])
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--n_threads", "1", "--model"])
        .arg(&model)
        .stdout(log.try_clone().unwrap())
        .stderr(Stdio::from(log))
        .kill_on_drop(true);
    let server = server.spawn().unwrap();
    let url = format!("http://127.0.0.1:{port}/v1");
    eventually("the model is loaded", async || client().get(format!("{url}/models")).send().await.is_ok()).await;
    (server, url)
}
