//! In a pod: an ordinary user without capabilities, a read-only root, no namespaces. Commands are confined all the same.

mod profile;

use serde_json::{Value, json};

use crate::common::brain::call;
use crate::common::{Service, skip};

/// Whether this machine lets this user make a pod's profile: root always, others in a user namespace.
#[expect(clippy::disallowed_methods, reason = "a harness starts processes")]
async fn can_be_made() -> bool {
    let unshare = tokio::process::Command::new("unshare").args(["--user", "--mount", "true"]).output().await;
    let there = rustix::process::geteuid().is_root() || unshare.is_ok_and(|output| output.status.success());
    if !there {
        skip("an ordinary user cannot have namespaces here, in which a pod's profile would be made");
    }
    there
}

/// The service as a pod runs it.
async fn service() -> Service {
    let home = profile::home();
    Service::start_with(home.clone(), "script:", &[], |command| profile::put_on(&home, command)).await
}

/// What the kernel says of a process, by the word that a line begins with.
fn status(service: &Service, word: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {word} in {status}")).to_owned()
}

/// The results of the commands, in a task of their own that succeeds.
async fn run(service: &Service, commands: &[String]) -> Vec<Value> {
    let mut script: Vec<Value> =
        commands.iter().map(|command| call("run_command", &json!({"command": command}))).collect();
    script.push(json!({"event": "finish", "summary": "done"}));
    let task = service.finish(&json!({"instruction": "x", "script": script, "max_iterations": 20})).await;
    assert_eq!(task["status"], "succeeded", "{task}");
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    record[1..].iter().map(|line| line["agent_input"]["result"].clone()).collect()
}

#[tokio::test]
async fn a_pod_is_ready_without_namespaces_and_runs_commands() {
    if !can_be_made().await {
        return;
    }
    let service = service().await;
    let ready = service.get("/readyz").await.json();
    assert_eq!((&ready["ready"], &ready["sandbox"]["mode"]), (&json!(true), &json!("landlock")), "{ready}");
    // It is the profile that was meant.
    assert_eq!((status(&service, "NoNewPrivs"), status(&service, "Seccomp")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(status(&service, "CapEff").trim_start_matches('0'), "", "capabilities");
    if rustix::process::geteuid().is_root() {
        let user = profile::USER;
        assert_eq!(status(&service, "Uid"), format!("{user}\t{user}\t{user}\t{user}"));
        assert_eq!(status(&service, "CapBnd").trim_start_matches('0'), "", "capabilities it could get");
        assert_eq!(status(&service, "Groups").trim(), "");
    }
    let results = run(&service, &["sh -c 'echo made > file && cat file'".to_owned(), "git init -q".to_owned()]).await;
    assert_eq!((&results[0]["status"], &results[0]["stdout"]), (&json!("success"), &json!("made\n")), "{results:?}");
    assert_eq!(results[1]["status"], "success", "{results:?}");
    assert_eq!(std::fs::read_to_string(service.home.code().join("file")).unwrap(), "made\n");
    assert_eq!(service.stop().await.1, Some(0));
}

#[tokio::test]
async fn in_a_pod_commands_neither_write_outside_nor_reach_the_network() {
    if !can_be_made().await {
        return;
    }
    let service = service().await;
    let (home, port) = (service.home.clone(), service.url.rsplit(':').next().unwrap().to_owned());
    // Of these the service may write the first two, so it is not the read-only root that stops a command there.
    let outside = [home.output(), home.path().join("tmp"), home.path().to_owned(), "/tmp".into(), "/dev/shm".into()];
    let mut tried = Vec::new();
    for directory in &outside {
        tried.push(format!("sh -c 'echo x > {}/escaped && echo escaped'", directory.display()));
    }
    tried.push(format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && echo escaped'"));
    tried.push(format!(
        "python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b\"x\", (\"127.0.0.1\", {port})); print(\"escaped\")'"
    ));
    tried.push("unshare --user --map-root-user echo escaped".to_owned());
    tried.push(format!("sh -c 'cat {}/codex-agent.db && echo escaped'", home.output().display()));
    let results = run(&service, &tried).await;
    assert_eq!(results.len(), tried.len());
    for (command, result) in tried.iter().zip(&results) {
        assert_eq!(result["status"], "failure", "{command}: {result}");
        assert!(result["returncode"].as_i64().is_some_and(|code| code > 0), "{command} was not even run: {result}");
        assert_eq!(result["stdout"], "", "{command}: {result}");
    }
    for directory in outside {
        assert!(!directory.join("escaped").exists(), "{}", directory.display());
    }
}

#[tokio::test]
async fn a_pod_whose_output_cannot_be_written_says_so_and_does_not_start() {
    if !can_be_made().await {
        return;
    }
    let home = profile::home();
    let mut command = home.command(&["serve"]);
    command.env("OUTPUT_DIR", home.path().join("elsewhere")).env("LISTEN", "127.0.0.1:0");
    profile::put_on(&home, &mut command);
    let refused = command.stderr(std::process::Stdio::piped()).output().await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.starts_with("codex-agent: OUTPUT_DIR: ") && said.contains("Read-only file system"), "{said}");
}
