//! `codex-agent demo`: all of it, on a small project with a failing test.
//!
//! The service and the script brain are started on free ports of this machine, a task is posted over HTTP, and every
//! iteration is shown as it comes. It needs bash and git, and leaves its directory behind to be looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Exit, print_line, progress};
use crate::app;
use crate::brain::install_tls;
use crate::brain::serve::{self, Desk};
use crate::config::{BrainUrl, Config};
use crate::http::server::{self, Patience};
use crate::http::{self, Guard};
use crate::sandbox::{self, Sandbox};

/// The project: its files, with a fault in one of them.
const FILES: &[(&str, &str)] = &[
    ("slugify.sh", SLUGIFY),
    ("test.sh", TEST),
    ("README.md", "# slugify\n\nTurns a title into a part of a URL. `bash test.sh` tests it.\n"),
];

const SLUGIFY: &str = r#"# slugify TITLE: the title in lower case, words joined by single hyphens.
slugify() {
    local slug="${1,,}"
    slug="${slug//[^a-z0-9]/-}"
    echo "$slug"
}
"#;

const TEST: &str = r#"source ./slugify.sh
failed=0
check() {
    local got
    got="$(slugify "$1")"
    if [ "$got" = "$2" ]; then
        echo "ok   '$1' -> '$got'"
    else
        echo "FAIL '$1' -> '$got', expected '$2'"
        failed=1
    fi
}
check "Hello World" "hello-world"
check "Rust 2024" "rust-2024"
check "Ready, set, go!" "ready-set-go"
if [ $failed = 0 ]; then echo "all tests pass"; fi
exit $failed
"#;

/// What a model would write after it has read the file.
const PATCH: &str = r#"--- a/slugify.sh
+++ b/slugify.sh
@@ -1,6 +1,9 @@
 # slugify TITLE: the title in lower case, words joined by single hyphens.
 slugify() {
     local slug="${1,,}"
     slug="${slug//[^a-z0-9]/-}"
+    while [[ "$slug" == *--* ]]; do slug="${slug//--/-}"; done
+    slug="${slug#-}"
+    slug="${slug%-}"
     echo "$slug"
 }
"#;

/// Longer than the demo ever takes; it fails instead of hanging.
const LIMIT: Duration = Duration::from_mins(1);

pub(super) async fn demo() -> anyhow::Result<Exit> {
    install_tls();
    tokio::time::timeout(LIMIT, show()).await.context("the demo did not come to an end")?
}

async fn show() -> anyhow::Result<Exit> {
    // The user's own keys, limits, tokens and databases are not the demo's.
    let mut config = Config::defaults()?;
    let home = tempfile::Builder::new().prefix("codex-agent-demo-").tempdir()?.keep();
    let (code, output) = (home.join("code"), home.join("output"));
    std::fs::create_dir_all(&code)?;
    (config.code_dir, config.output_dir) = (code.clone(), output);
    let sandbox = app::sandbox(&config).await?;
    lay_out(&sandbox, &code).await?;

    let (stop, loopback) = (CancellationToken::new(), [127, 0, 0, 1].into());
    let brain = TcpListener::bind((loopback, 0)).await?;
    let brain_url = format!("http://{}", brain.local_addr()?);
    let guard = Guard::new(&[], loopback, Vec::new());
    let patience = Patience { header: config.header_timeout, grace: Duration::ZERO };
    let desk = Arc::new(Desk::new(Arc::new(app::script_brain(&config))));
    let router = http::guarded(serve::router(desk, stop.clone(), TaskTracker::new()), &guard);
    let brain = server::serve(brain, router, stop.clone(), patience);

    config.mcp_server_url = BrainUrl::Http(brain_url.parse()?);
    let app = app::build(&config, None).await?;
    let listener = TcpListener::bind((loopback, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let recorder = std::sync::Arc::clone(&app.recorder);

    print_line(&format!("project  {}  (a git repository; its test fails)", code.display()))?;
    print_line(&format!("brain    {brain_url}  (the script brain: no model, no key)"))?;
    print_line(&format!("service  {url}\n"))?;
    let service = app::run(app, listener, &guard, stop.cancelled());
    let story = async {
        let told = tell(&url, &code, &sandbox, |id| id.parse().ok().map(|id| recorder.path(&id))).await;
        stop.cancel();
        told
    };
    let (told, served, ()) = tokio::join!(story, service, brain);
    served?;
    told
}

/// Posts the task, shows what happens, and looks at what came of it.
async fn tell(
    url: &str,
    code: &Path,
    sandbox: &Sandbox,
    record: impl Fn(&str) -> Option<PathBuf>,
) -> anyhow::Result<Exit> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let task = task();
    print_line(&format!("POST /tasks  {{\"instruction\": {}, …}}", task["instruction"]))?;
    let posted = client.post(format!("{url}/tasks")).header("content-type", "application/json").body(task.to_string());
    let accepted = json_of(posted).await?;
    let id = accepted["task_id"].as_str().context("the answer has no task_id")?.to_owned();
    print_line(&format!("202 Accepted  task_id {id}\n"))?;

    let mut log = client.get(format!("{url}/tasks/{id}/log?follow=true")).send().await?.error_for_status()?;
    let mut rest = Vec::new();
    while let Some(chunk) = log.chunk().await? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if let Some(text) = progress::describe(&String::from_utf8_lossy(&line)) {
                print_line(&text)?;
            }
        }
    }

    let task = json_of(client.get(format!("{url}/tasks/{id}"))).await?;
    let why = task["summary"].as_str().or(task["error"]["message"].as_str()).unwrap_or_default();
    print_line(&format!("\nstatus   {}: {why}", task["status"].as_str().unwrap_or_default()))?;
    print_line(&format!("\n$ git diff\n{}", command(sandbox, code, &["git", "--no-pager", "diff"]).await?.1))?;
    let (passed, printed) = command(sandbox, code, &["bash", "test.sh"]).await?;
    print_line(&format!("$ bash test.sh\n{printed}"))?;
    if let Some(record) = record(&id) {
        print_line(&format!("record   {}", record.display()))?;
    }
    let done = task["status"] == "succeeded" && passed;
    Ok(if done { Exit::Done } else { Exit::Unsuccessful })
}

fn task() -> Value {
    let call = |name: &str, arguments: Value| json!({"event": "tool_call", "name": name, "arguments": arguments});
    json!({
        "instruction": "test.sh fails: make it pass without changing the test.",
        "script": [
            call("run_command", json!({"command": "bash test.sh"})),
            call("read_file", json!({"file_path": "slugify.sh"})),
            call("edit_file", json!({"file_path": "slugify.sh", "diff_patch": PATCH})),
            call("run_command", json!({"command": "bash test.sh"})),
            {"event": "finish", "summary": "slugify joins words by single hyphens now; all tests pass"},
        ],
    })
}

async fn lay_out(sandbox: &Sandbox, code: &Path) -> anyhow::Result<()> {
    for (name, text) in FILES {
        std::fs::write(code.join(name), text)?;
    }
    let author = ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"];
    let commit = [&["git"], &author[..], &["commit", "-q", "-m", "slugify, with a fault"]].concat();
    for words in [&["git", "init", "-q"][..], &["git", "add", "."], &commit] {
        let (ok, printed) = command(sandbox, code, words).await?;
        ensure!(ok, "{}: {printed}", words.join(" "));
    }
    Ok(())
}

/// Runs a command in the project; whether it succeeded, and what it printed.
async fn command(sandbox: &Sandbox, code: &Path, words: &[&str]) -> anyhow::Result<(bool, String)> {
    let command = sandbox::Command {
        argv: words.iter().map(ToString::to_string).collect(),
        workspace: std::fs::File::open(code)?.into(),
        directory: std::fs::File::open(code)?.into(),
        timeout: LIMIT,
        max_output: 100_000,
    };
    let done = sandbox.execute(command, &CancellationToken::new()).await;
    let done = done.with_context(|| format!("the demo needs {}", words.first().unwrap_or(&"a command")))?;
    Ok((done.returncode == 0, done.stdout.text + &done.stderr.text))
}

async fn json_of(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{status}: {text}");
    Ok(serde_json::from_str(&text)?)
}
