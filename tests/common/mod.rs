//! The one harness: the real program as a process of its own, and a brain on a real socket.
//!
//! Everything has its own directory and a port of the system's choice, so that tests run side by side. Waiting is
//! always for a condition, with an end.
#![expect(clippy::disallowed_methods, reason = "a harness starts processes")]

pub mod brain;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longer than anything here takes on a busy machine; a test that gets here has failed.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The directories of a service; they outlive it, so that another can be started on them.
#[derive(Clone)]
pub struct Home(Arc<TempDir>);

/// A running service.
pub struct Service {
    pub home: Home,
    pub url: String,
    child: Child,
    log: Arc<Mutex<String>>,
    client: Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("code")).unwrap();
        Self(Arc::new(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn code(&self) -> PathBuf {
        self.path().join("code")
    }

    pub fn output(&self) -> PathBuf {
        self.path().join("output")
    }

    pub fn record(&self, id: &str) -> PathBuf {
        self.output().join("finetuning_data").join(format!("{id}.jsonl"))
    }

    /// The program with these directories, and nothing of this process's environment but the path.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codex-agent"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CODE_DIR", self.code())
            .env("OUTPUT_DIR", self.output())
            .env("TMPDIR", self.path())
            .env("HOME", self.path())
            .current_dir(self.path())
            .kill_on_drop(true);
        command
    }
}

impl Service {
    /// A service whose brain is at `brain` (`script:` for the one inside), with further variables.
    pub async fn start(brain: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_in(Home::new(), brain, variables).await
    }

    pub async fn start_in(home: Home, brain: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(home, brain, variables, |_| {}).await
    }

    /// A service that is started as `prepare` makes it.
    pub async fn start_with(
        home: Home,
        brain: &str,
        variables: &[(&str, &str)],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = home.command(&["serve"]);
        command
            .env("MCP_SERVER_URL", brain)
            .env("LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (kept, (found, mut url)) = (Arc::clone(&log), tokio::sync::mpsc::channel(1));
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(at) = line.find("listening on http://") {
                    let url = &line[at + "listening on ".len()..];
                    let end = url.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(url.len());
                    drop(found.send(url[..end].to_owned()).await);
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let url = tokio::time::timeout(PATIENCE, url.recv()).await.ok().flatten();
        let url = url.unwrap_or_else(|| panic!("the service did not start:\n{}", log.lock().unwrap()));
        Self { home, url, child, log, client: client() }
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        send(self.request("POST", path).header("content-type", "application/json").body(body.into())).await
    }

    /// Submits a task that is expected to be accepted; its id.
    pub async fn submit(&self, task: &Value) -> String {
        let answer = self.post("/tasks", task.to_string()).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["task_id"].as_str().unwrap().to_owned()
    }

    /// The task when it has ended.
    pub async fn ended(&self, id: &str) -> Value {
        let ended = async {
            loop {
                let task = self.get(&format!("/tasks/{id}?wait=30")).await.json();
                if ["succeeded", "failed", "cancelled"].contains(&task["status"].as_str().unwrap()) {
                    return task;
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        ended.unwrap_or_else(|_| panic!("task {id} did not end; the service's log:\n{}", self.log()))
    }

    /// Submits a task and waits for its end.
    pub async fn finish(&self, task: &Value) -> Value {
        let id = self.submit(task).await;
        self.ended(&id).await
    }

    /// The lines of a task's record, parsed.
    pub async fn record(&self, id: &str) -> Vec<Value> {
        let answer = self.get(&format!("/tasks/{id}/log")).await;
        assert_eq!(answer.status, 200);
        answer.lines()
    }

    /// What the meta file says of a task that has ended. The files follow the store, so they may come a moment later.
    pub async fn filed(&self, id: &str) -> Value {
        let meta = self.home.record(id).with_extension("meta.json");
        let read = || serde_json::from_slice::<Value>(&std::fs::read(&meta).unwrap_or_default()).unwrap_or_default();
        eventually("the meta file has the end", async || {
            ["succeeded", "failed", "cancelled"].contains(&read()["status"].as_str().unwrap_or_default())
        })
        .await;
        read()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The log as it grows, for when the service itself is gone.
    pub fn said(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.log)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends the process as a power failure would; its directories remain.
    pub async fn kill(mut self) -> Home {
        self.child.kill().await.unwrap();
        self.home.clone()
    }

    /// Asks the process to stop, and waits until it has; its exit code.
    pub async fn stop(self) -> (Home, Option<i32>) {
        self.signal(rustix::process::Signal::TERM);
        self.ended_by_itself().await
    }

    /// Waits until the process has ended; its exit code.
    pub async fn ended_by_itself(mut self) -> (Home, Option<i32>) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        (self.home.clone(), status.code())
    }
}

impl Drop for Service {
    /// The process is gone before its directories are removed.
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        while let Ok(None) = self.child.try_wait() {
            std::thread::yield_now();
        }
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub fn client() -> Client {
    client_builder().build().unwrap()
}

pub fn client_builder() -> ClientBuilder {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().no_proxy().timeout(PATIENCE)
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: response.bytes().await.unwrap().to_vec() }
}

/// Looks again and again until `condition` holds; fails with `what` if it never does.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let held = async {
        while !condition().await {
            looks.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, held).await.is_ok(), "never came true: {what}");
}

/// The processes whose command line has `word` in it.
pub fn processes_with(word: &str) -> Vec<PathBuf> {
    let running = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let has = |path: &PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|argument| argument == word)
    };
    running.filter(|path| is_number(path)).filter(has).collect()
}

fn is_number(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
}

/// Says aloud that a test did not run; where nothing may be skipped, fails.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CODEX_AGENT_NO_SKIP").is_none(), "nothing may be skipped here: {reason}");
    // Straight to the stream: the test runner captures what the print macros write.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
