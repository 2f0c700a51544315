//! The tools as a brain sees them.

use serde_json::{Value, json};

use crate::common::brain::call;
use crate::common::{Home, Service};

/// Runs these calls in one task on a workspace that `prepare` filled; their results.
async fn results(prepare: impl Fn(&Home), calls: Vec<Value>, variables: &[(&str, &str)]) -> (Service, Vec<Value>) {
    let home = Home::new();
    prepare(&home);
    let service = Service::start_in(home, "script:", variables).await;
    let (count, mut script) = (calls.len(), calls);
    script.push(json!({"event": "finish"}));
    let task = service.finish(&json!({"instruction": "x", "script": script, "max_iterations": count + 1})).await;
    assert_eq!(task["status"], "succeeded", "{task}");
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    let results = record[1..].iter().map(|line| line["agent_input"]["result"].clone()).collect();
    (service, results)
}

fn edit(arguments: &Value) -> Value {
    call("edit_file", arguments)
}

#[tokio::test]
async fn each_edit_mode_does_what_it_says_and_gives_a_diff_that_git_takes() {
    let before = "a\nb\nc\nd\n";
    let cases = [
        (json!({"new_content": "x\ny"}), "x\ny"),
        (json!({"new_content": "x", "insert_after_line": 0}), "a\nx\nb\nc\nd\n"),
        (json!({"new_content": "x\n", "insert_after_line": 99}), "a\nb\nc\nd\nx\n"),
        (json!({"new_content": "x", "replace_lines": [1, 2]}), "a\nx\nd\n"),
        (json!({"diff_patch": "@@ -2,2 +2,2 @@\n b\n-c\n+C\n"}), "a\nb\nC\nd\n"),
        (json!({"diff_patch": "nonsense", "new_content": "z\n"}), "z\n"),
        (json!({"diff_patch": "--- a/f0\n+++ b/f6\n@@ -9,2 +9,2 @@\n c\n-d\n+D\n"}), "a\nb\nc\nD\n"),
    ];
    let calls = cases.iter().enumerate().map(|(n, (arguments, _))| {
        let mut arguments = arguments.clone();
        arguments["file_path"] = json!(format!("f{n}"));
        if let Some(patch) = arguments["diff_patch"].as_str() {
            arguments["diff_patch"] = json!(patch.replace("a/f0", &format!("a/f{n}")));
        }
        edit(&arguments)
    });
    let fill = |home: &Home| {
        for n in 0..7 {
            std::fs::write(home.code().join(format!("f{n}")), before).unwrap();
        }
    };
    let (service, results) = results(fill, calls.collect(), &[]).await;
    for (n, ((arguments, after), result)) in cases.iter().zip(&results).enumerate() {
        assert_eq!(result["status"], "success", "{arguments}: {result}");
        assert_eq!(std::fs::read_to_string(service.home.code().join(format!("f{n}"))).unwrap(), *after, "{arguments}");
        assert_eq!(result["sha256"].as_str().unwrap().len(), 64);
        apply_with_git(&format!("f{n}"), Some(before), result["diff"].as_str().unwrap(), Some(after)).await;
    }
    assert!(results[6]["message"].as_str().unwrap().contains("hunk 1 went to line 3 (offset -6"), "{}", results[6]);
}

#[tokio::test]
async fn files_come_and_go_by_patches_and_the_diff_says_so() {
    let create = "--- /dev/null\n+++ b/new dir/n\n@@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n";
    let delete = "--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
    let calls = vec![
        edit(&json!({"file_path": "new dir/n", "diff_patch": create})),
        edit(&json!({"file_path": "old", "diff_patch": delete})),
        edit(&json!({"file_path": "empty", "new_content": ""})),
    ];
    let fill = |home: &Home| std::fs::write(home.code().join("old"), "x\n").unwrap();
    let (service, results) = results(fill, calls, &[]).await;
    let diff = |n: usize| results[n]["diff"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(service.home.code().join("new dir/n")).unwrap(), "one\ntwo");
    assert!(!service.home.code().join("old").exists());
    assert_eq!(results[1]["sha256"], json!(null));
    apply_with_git("new dir/n", None, diff(0), Some("one\ntwo")).await;
    apply_with_git("old", Some("x\n"), diff(1), None).await;
    apply_with_git("empty", None, diff(2), Some("")).await;
}

#[tokio::test]
async fn an_edit_that_cannot_be_made_leaves_the_file_and_says_why() {
    let cases = [
        (json!({"file_path": "f"}), "new_content or diff_patch is missing"),
        (json!({"file_path": "f", "insert_after_line": 1}), "insert_after_line needs new_content"),
        (json!({"file_path": "f", "new_content": "x", "replace_lines": [1, 2]}), "lines are 0 to 1"),
        (json!({"file_path": "f", "new_content": "x", "replace_lines": [1, 0]}), "must not be after the last"),
        (json!({"file_path": "f", "new_content": "x", "replace_lines": [0]}), "replace_lines"),
        (json!({"file_path": "f", "new_content": "x", "insert_after_line": 0, "replace_lines": [0, 0]}), "only one of"),
        (json!({"file_path": "f", "new_content": "x", "expected_sha256": "00"}), "has changed since it was read"),
        (json!({"file_path": "none", "new_content": "x", "expected_sha256": "00"}), "does not exist"),
        (json!({"file_path": "../f", "new_content": "x"}), "leads out of the workspace"),
        (json!({"file_path": "/etc/passwd", "new_content": "x"}), "leads out of the workspace"),
        (json!({"file_path": "", "new_content": "x"}), "is not a path"),
        (json!({"file_path": ".", "new_content": "x"}), "not a regular file"),
        (json!({"file_path": "f/g", "new_content": "x"}), "f/g"),
        (json!({"file_path": "f", "diff_patch": "@@ -1 +1 @@\n-nothing like it\n+y\n"}), "nothing like it"),
        (json!({"file_path": "f", "diff_patch": ""}), "no hunk"),
        (json!({"file_path": "f", "new_content": 7}), "new_content"),
    ];
    let calls = cases.iter().map(|(arguments, _)| edit(arguments)).collect();
    let fill = |home: &Home| std::fs::write(home.code().join("f"), "a\nb\n").unwrap();
    let (service, results) = results(fill, calls, &[]).await;
    for ((arguments, named), result) in cases.iter().zip(&results) {
        assert_eq!(result["status"], "failure", "{arguments}");
        assert!(result["message"].as_str().unwrap().contains(named), "{arguments}: {result}");
    }
    assert_eq!(std::fs::read_to_string(service.home.code().join("f")).unwrap(), "a\nb\n");
    assert_eq!(std::fs::read_dir(service.home.code()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_is_read_in_stretches_of_characters() {
    let text = "é😀".repeat(3000);
    let fill = |home: &Home| {
        std::fs::write(home.code().join("t"), &text).unwrap();
        std::fs::write(home.code().join("b"), b"\xff\xfe").unwrap();
        let big = std::fs::File::create(home.code().join("big")).unwrap();
        std::io::Write::write_all(&mut &big, b"start").unwrap();
        big.set_len(10 << 30).unwrap();
    };
    let read = |arguments: Value| call("read_file", &arguments);
    let calls = vec![
        read(json!({"file_path": "t"})),
        read(json!({"file_path": "t", "start": 4000, "end": 8000})),
        read(json!({"file_path": "t", "start": 5999, "end": 6001})),
        read(json!({"file_path": "b"})),
        read(json!({"file_path": "none"})),
        read(json!({"file_path": "big", "end": 5})),
        read(json!({"file_path": "t", "start": 9, "end": 3})),
    ];
    let (_service, results) = results(fill, calls, &[]).await;
    let characters = |n: usize| results[n]["content"].as_str().unwrap().chars().count();
    assert_eq!((characters(0), &results[0]["next_start"]), (4000, &json!(4000)));
    assert_eq!((characters(1), &results[1]["next_start"]), (2000, &json!(null)));
    assert_eq!((&results[2]["content"], &results[2]["size_bytes"]), (&json!("😀"), &json!(18000)));
    assert_eq!(results[0]["sha256"], results[2]["sha256"]);
    assert_eq!(results[3]["message"], "b: is not UTF-8 text");
    assert!(results[4]["message"].as_str().unwrap().contains("No such file"));
    assert_eq!((&results[5]["content"], &results[5]["sha256"]), (&json!("start"), &json!(null)));
    assert_eq!(results[6]["message"], "end must not be before start");
}

#[tokio::test]
async fn a_command_runs_without_a_shell_and_its_result_is_honest() {
    let run = |arguments: Value| call("run_command", &arguments);
    let calls = vec![
        run(json!({"command": "printf '%s|' 'a  b' \"c\" d\\ e $HOME '*'"})),
        run(json!({"command": "sh -c 'echo out; echo err >&2; exit 3'"})),
        run(json!({"command": "sh -c 'kill -15 $$'"})),
        run(json!({"command": "pwd", "workdir": "sub"})),
        run(json!({"command": "env"})),
        run(json!({"command": "no-such-program"})),
        run(json!({"command": "echo a | cat"})),
        run(json!({"command": "echo 'unclosed"})),
        run(json!({"command": "ls", "workdir": ".."})),
        run(json!({"command": "ls", "timeout": 601})),
        run(json!({"command": "head -c 100000 /dev/zero"})),
        run(json!({"command": "cat"})),
        run(json!({"command": "./here.sh"})),
        run(json!({"command": "curl http://127.0.0.1/"})),
    ];
    let fill = |home: &Home| {
        std::fs::create_dir(home.code().join("sub")).unwrap();
        let script = home.code().join("here.sh");
        std::fs::write(&script, "#!/bin/sh\necho from a script\n").unwrap();
        std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let variables = [("CMD_MAX_OUTPUT", "1000"), ("OPENAI_API_KEY", "sk-canary"), ("API_TOKENS_FILE", "")];
    let (service, results) = results(fill, calls, &variables).await;
    let text = |n: usize, field: &str| results[n][field].as_str().unwrap_or_default().to_owned();
    assert_eq!(text(0, "stdout"), "a  b|c|d e|$HOME|*|");
    assert_eq!(
        (&results[1]["returncode"], text(1, "stdout"), text(1, "stderr")),
        (&json!(3), "out\n".into(), "err\n".into())
    );
    assert_eq!(results[1]["status"], "failure");
    assert_eq!(results[2]["returncode"], -15);
    assert!(text(3, "stdout").ends_with("/code/sub\n"));
    assert!(text(4, "stdout").contains("PATH=") && !text(4, "stdout").contains("canary"));
    assert!(!text(4, "stdout").contains("CODE_DIR"));
    for (n, named) in
        [(5, "no-such-program"), (6, "\"|\""), (7, "not closed"), (8, "workdir"), (9, "timeout"), (13, "curl")]
    {
        assert_eq!(results[n]["status"], "failure");
        assert!(text(n, "message").contains(named), "{}", results[n]);
    }
    assert_eq!(results[10]["truncated"], true);
    assert!(text(10, "stdout").contains("[... 99000 bytes left out ...]"));
    assert_eq!((&results[11]["returncode"], text(11, "stdout")), (&json!(0), String::new()));
    assert_eq!(text(12, "stdout"), "from a script\n");
    assert!(!service.log().contains("sk-canary"));
}

#[tokio::test]
async fn a_task_sees_its_own_workspace_only() {
    let calls = vec![
        call("read_file", &json!({"file_path": "f"})),
        call("read_file", &json!({"file_path": "../b/f"})),
        call("run_command", &json!({"command": "ls"})),
    ];
    let home = Home::new();
    for name in ["a", "b"] {
        std::fs::create_dir(home.code().join(name)).unwrap();
        std::fs::write(home.code().join(name).join("f"), name).unwrap();
    }
    let service = Service::start_in(home, "script:", &[]).await;
    let script: Vec<Value> = calls.into_iter().chain([json!({"event": "finish"})]).collect();
    let task = service.finish(&json!({"instruction": "x", "workspace": "a", "script": script})).await;
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    assert_eq!(record[1]["agent_input"]["result"]["content"], "a");
    assert_eq!(record[2]["agent_input"]["result"]["status"], "failure");
    assert_eq!(record[3]["agent_input"]["result"]["stdout"], "f\n");
}

/// `git apply` makes of `before` what the tool made of it.
#[expect(clippy::disallowed_methods, reason = "git is compared with, not run for a task")]
async fn apply_with_git(name: &str, before: Option<&str>, diff: &str, after: Option<&str>) {
    use tokio::io::AsyncWriteExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    if let Some(text) = before {
        std::fs::write(&file, text).unwrap();
    }
    let mut git = tokio::process::Command::new("git");
    let mut git = git.args(["apply", "-"]).current_dir(dir.path()).stdin(std::process::Stdio::piped()).spawn().unwrap();
    git.stdin.take().unwrap().write_all(diff.as_bytes()).await.unwrap();
    assert!(git.wait().await.unwrap().success(), "git refused:\n{diff}");
    assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), after);
}
