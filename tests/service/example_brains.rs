//! The brains in `examples/brains/`, each as a process of its own, with a service that talks to it.
#![expect(clippy::disallowed_methods, reason = "the examples are run as a user runs them")]

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::common::{PATIENCE, Service, skip};

/// Tasks at a time: several, so that those which share a connection do share it.
const TASKS: usize = 8;

#[tokio::test]
async fn the_http_brain_tidies_files() {
    tidies_files("http_brain.py", &[]).await;
}

#[tokio::test]
async fn the_websocket_brain_tidies_files() {
    tidies_files("ws_brain.py", &["websockets"]).await;
}

#[tokio::test]
async fn the_grpc_brain_tidies_files() {
    tidies_files("grpc_brain.py", &["grpc", "grpc_tools"]).await;
}

#[test]
fn each_brain_has_at_most_25_lines_and_decides_as_the_others_do() {
    let read = |name: &str| std::fs::read_to_string(repository(&format!("examples/brains/{name}"))).unwrap();
    let brains = ["http_brain.py", "ws_brain.py", "grpc_brain.py"].map(read);
    let decides = |brain: &str| brain.split("\n\n").find(|part| part.starts_with("def decide")).unwrap().to_owned();
    for brain in &brains {
        assert!(brain.lines().count() <= 25, "{brain}");
        assert_eq!(decides(brain), decides(&brains[0]));
    }
}

async fn tidies_files(script: &str, modules: &[&str]) {
    let Some((_brain, url)) = start(script, modules).await else { return };
    let service = Service::start(&url, &[]).await;
    let name = |n: usize| format!("notes-{n}.txt");
    let mut ids = Vec::new();
    for n in 0..TASKS {
        std::fs::write(service.home.code().join(name(n)), format!("{n}  \ntwo\t\n")).unwrap();
        ids.push(service.submit(&json!({"instruction": "Tidy the notes.", "file": name(n)})).await);
    }
    ids.push(service.submit(&json!({"instruction": "Tidy the notes.", "file": "none.txt"})).await);
    for (n, id) in ids.iter().enumerate() {
        let task = service.ended(id).await;
        assert_eq!(task["status"], "succeeded", "{task}");
        let summary = task["summary"].as_str().unwrap();
        if n < TASKS {
            assert_eq!((summary, &task["iteration"]), ("file edited", &json!(3)));
            let tidy = std::fs::read_to_string(service.home.code().join(name(n))).unwrap();
            assert_eq!(tidy, format!("{n}\ntwo\n"));
        } else {
            assert!(summary.contains("none.txt"), "{summary}");
        }
    }
}

/// The example as a process, and the URL it prints; nothing where Python lacks what it imports.
async fn start(script: &str, modules: &[&str]) -> Option<(Child, String)> {
    let python = || {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", repository("src/brain/proto")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    };
    let imported = python()
        .args(["-c", "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"])
        .args(modules)
        .stderr(Stdio::null())
        .status()
        .await;
    if !imported.is_ok_and(|status| status.success()) {
        skip(&format!("python3 with {modules:?} is not installed: {script} cannot run"));
        return None;
    }
    let mut child = python()
        .arg(repository("examples/brains").join(script))
        .arg("0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    let url = line.unwrap_or_else(|| panic!("{script} said nothing"));
    assert!(url.starts_with(script.split('_').next().unwrap()), "{url}");
    Some((child, url))
}

/// Tests run in the package's directory.
fn repository(path: &str) -> std::path::PathBuf {
    std::path::absolute(path).unwrap()
}
