//! The program in the notes and this service, driven by one brain: what both do alike, and where the notes' program is
//! wrong, in which words.
//!
//! ```text
//!  tests/data/agent-notes.txt ─► agent.py, its two paths changed ─► python3 ─┐
//!                                                                            ├─► one brain ─► record, files, bodies
//!                              the service, in a home with the same files ───┘
//! ```
#![expect(clippy::unwrap_used, reason = "a test may fail aloud")]

mod faults;
mod program;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::common::brain::{Brain, Reply, Seen, call, finish};
use crate::common::{Home, PATIENCE, Service, skip};

/// Keys of a line that the notes' program does not write.
const ADDED_TO_LINES: [&str; 3] = ["at", "step_ms", "tool_ms"];

/// Keys of a result that the notes' program does not write.
const ADDED_TO_RESULTS: [&str; 5] = ["sha256", "next_start", "size_bytes", "truncated", "duration_ms"];

/// What is in the workspace before the task.
type Files<'a> = [(&'a str, &'a [u8])];

/// The files of a workspace and what is in them.
type Tree = BTreeMap<String, Vec<u8>>;

const NO_GIT: &str = "git is not installed: nothing else says whether a diff is one";

/// What one of the two programs made of a task.
struct Ran {
    home: Home,
    record: Vec<Value>,
    asked: Vec<Seen>,
    /// The task as the service has it; of the notes' program its exit code and stderr.
    ended: Value,
}

#[tokio::test]
async fn six_steps_leave_the_same_record_the_same_files_and_the_same_questions() {
    let files: &Files = &[("greeting.txt", b"hello\n"), ("list.txt", b"one\ntwo\nthree\nfour\n")];
    // It names another text than the new content, which stands.
    let patch = "--- a/greeting.txt\n+++ b/greeting.txt\n@@ -1,2 +1,2 @@\n hello\n-world\n+moon\n";
    let brain = repeating(vec![
        call("edit_file", &json!({"file_path": "greeting.txt", "new_content": "hello\nworld\n"})),
        call("edit_file", &json!({"file_path": "greeting.txt", "new_content": "héllo\n世界\n", "diff_patch": patch})),
        call("edit_file", &json!({"file_path": "list.txt", "new_content": "one and a half", "insert_after_line": 0})),
        call("edit_file", &json!({"file_path": "list.txt", "new_content": "2\n3\n", "replace_lines": [2, 3]})),
        call("read_file", &json!({"file_path": "greeting.txt", "start": 1, "end": 7})),
        call("run_command", &json!({"command": "cat greeting.txt 'list.txt' none.txt"})),
        finish(),
    ])
    .await;
    let ticket = json!({"number": 9_007_199_254_740_993_u64, "score": 0.1, "tags": ["é", "世", null]});
    let task = json!({"task_id": "parity", "instruction": "Greet 世界 \"\\ \n", "ticket": ticket});
    let Some((notes, ours)) = both(&brain, &task, files, &[]).await else { return };

    assert_eq!((&notes.ended["exit"], &ours.ended["status"]), (&json!(0), &json!("succeeded")));
    assert_eq!((notes.record.len(), notes.asked.len()), (7, 7));
    assert_eq!(differences(notes.record.clone(), ours.record.clone()), Vec::<String>::new());
    let bodies = |ran: &Ran| ran.asked.iter().map(Seen::json).collect();
    assert_eq!(differences(bodies(&notes), bodies(&ours)), Vec::<String>::new());
    assert_eq!(tree(&notes.home.code()), tree(&ours.home.code()));

    let results = |ran: &Ran| ran.record[1..].iter().map(|line| line["agent_input"]["result"].clone()).collect();
    let (theirs, ours): (Vec<Value>, Vec<Value>) = (results(&notes), results(&ours));
    assert_eq!(theirs[4], json!({"status": "success", "content": "éllo\n世"}));
    assert_eq!((&theirs[5]["returncode"], &theirs[5]["status"]), (&json!(1), &json!("failure")));
    assert_eq!(theirs[0]["diff"], "--- a/greeting.txt+++ b/greeting.txt@@ -1 +1,2 @@ hello\n+world\n");
    assert_eq!(ours[0]["diff"], "--- a/greeting.txt\n+++ b/greeting.txt\n@@ -1 +1,2 @@\n hello\n+world\n");
    let diffs = |results: &[Value]| -> Vec<_> { results[..4].iter().map(|r| r["diff"].clone()).collect() };
    if !git_is_installed() {
        return skip(NO_GIT);
    }
    assert_eq!(git_apply(files, &diffs(&ours)), Some(tree(&notes.home.code())));
    assert_eq!(git_apply(files, &diffs(&theirs)), None);
}

/// Compares line by line, or body by body, without the added keys. The diffs of edits are the one listed difference:
/// `lineterm=""` leaves the notes' headers without line feeds, and no program takes such a diff.
fn differences(notes: Vec<Value>, ours: Vec<Value>) -> Vec<String> {
    assert_eq!(notes.len(), ours.len());
    let differs = |(mut notes, ours): (Value, Value)| {
        assert_eq!(plain(notes.clone()), notes, "the notes' program has no added keys");
        let mut ours = plain(ours);
        let (theirs, own) = (take_diff(&mut notes), take_diff(&mut ours));
        assert_eq!(theirs, own.as_deref().map(run_together));
        (notes != ours).then(|| format!("notes: {notes}\nours:  {ours}"))
    };
    notes.into_iter().zip(ours).filter_map(differs).collect()
}

/// A line of a record, or a body, without the added keys.
fn plain(mut line: Value) -> Value {
    line.as_object_mut().unwrap().retain(|key, _| !ADDED_TO_LINES.contains(&key.as_str()));
    if let Some(result) = result(&mut line) {
        result.retain(|key, _| !ADDED_TO_RESULTS.contains(&key.as_str()));
    }
    line
}

fn take_diff(line: &mut Value) -> Option<String> {
    result(line)?.remove("diff").map(|diff| diff.as_str().unwrap().to_owned())
}

/// The tool's result that a line or a body bears, if it bears one.
fn result(line: &mut Value) -> Option<&mut Map<String, Value>> {
    let payload = if line.get("payload").is_some() { "payload" } else { "agent_input" };
    line[payload].get_mut("result")?.as_object_mut()
}

/// A diff as the notes' program would have written it.
fn run_together(diff: &str) -> String {
    let is_header = |line: &str| ["--- ", "+++ ", "@@ "].iter().any(|header| line.starts_with(header));
    diff.split_inclusive('\n').map(|line| if is_header(line) { line.trim_end() } else { line }).collect()
}

/// A brain that gives the same replies to every run of the task, which is told by its first event.
async fn repeating(replies: Vec<Value>) -> Brain {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    Brain::start(move |seen, _| {
        if seen.event() == "start" {
            turn.store(0, std::sync::atomic::Ordering::SeqCst);
        }
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::json(&replies.get(turn).cloned().unwrap_or_else(finish))
    })
    .await
}

/// Runs the task with the notes' program and then with the service; `None`, said aloud, where there is no Python.
async fn both(brain: &Brain, task: &Value, files: &Files<'_>, variables: &[(&str, &str)]) -> Option<(Ran, Ran)> {
    let id = task["task_id"].as_str().unwrap();
    let home = with(files);
    let output = python(&home, &brain.url, task, variables).await?;
    let text = std::fs::read_to_string(home.record(id)).unwrap_or_default();
    let record = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ended = json!({"exit": output.status.code(), "stderr": String::from_utf8(output.stderr).unwrap()});
    let notes = Ran { home, record, asked: brain.seen(), ended };

    let service = Service::start_in(with(files), &brain.url, variables).await;
    let ended = service.finish(task).await;
    let asked = brain.seen().split_off(notes.asked.len());
    Some((notes, Ran { home: service.home.clone(), record: service.record(id).await, asked, ended }))
}

fn with(files: &Files) -> Home {
    let home = Home::new();
    for (path, content) in files {
        let path = home.code().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    home
}

/// The notes' program over a home's directories, to its end.
#[expect(clippy::disallowed_methods, reason = "the notes' program is compared with, not run for a task")]
async fn python(home: &Home, brain: &str, task: &Value, variables: &[(&str, &str)]) -> Option<Output> {
    let root = home.code().parent().unwrap().to_owned();
    let start = || {
        let mut command = Command::new("python3");
        // UTF-8 whatever the locale: the program logs in Chinese.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("PYTHONUTF8", "1");
        command.current_dir(&root).kill_on_drop(true);
        command
    };
    let has_modules = start().args(["-c", "import requests, dotenv"]).output().await;
    if !has_modules.is_ok_and(|output| output.status.success()) {
        skip("python3 with requests and python-dotenv is not installed: the notes' program cannot run");
        return None;
    }

    let notes = include_str!("../data/agent-notes.txt");
    let (_, program) = notes.split_once("```python\n").unwrap();
    let mut program = program.split_once("\n```").unwrap().0.to_owned();
    for (path, ours) in [("\"/app/code\"", home.code()), ("\"/app/output\"", home.output())] {
        assert_eq!(program.matches(path).count(), 1);
        program = program.replace(path, &format!("{:?}", ours.display().to_string()));
    }
    std::fs::write(root.join("agent.py"), program).unwrap();
    // It looks for one from its own directory upwards, and stops at the first.
    std::fs::write(root.join(".env"), "").unwrap();

    let mut command = start();
    command.arg("agent.py").env("MCP_SERVER_URL", brain).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).await.unwrap();
    Some(tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "git judges the diffs, it is not run for a task")]
fn git(arguments: &[&str], directory: &Path) -> std::io::Result<Output> {
    let mut git = std::process::Command::new("git");
    // Inside a repository, git would take the paths to be below its root.
    git.args(arguments).current_dir(directory).env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap()).output()
}

fn git_is_installed() -> bool {
    git(&["--version"], &std::env::temp_dir()).is_ok()
}

/// What `git apply` makes of the files by one diff after the other; `None` if it refuses one.
fn git_apply(files: &Files, diffs: &[Value]) -> Option<Tree> {
    let home = with(files);
    let code = home.code();
    let taken = diffs.iter().all(|diff| {
        std::fs::write(code.with_file_name("patch"), diff.as_str().unwrap()).unwrap();
        git(&["apply", "../patch"], &code).unwrap().status.success()
    });
    taken.then(|| tree(&code))
}

fn tree(dir: &Path) -> Tree {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_string_lossy().into(), std::fs::read(path).unwrap())).collect()
}
