//! The command line as a user has it.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

#[path = "common/mod.rs"]
#[expect(dead_code, reason = "not every test file uses all of the harness")]
mod common;

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use common::brain::{Brain, Reply, call, finish};
use common::{Home, Service, eventually};

/// Runs the program with `input` on standard input.
async fn codex_agent(home: &Home, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let mut command = home.command(arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.envs(variables.iter().copied()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The program may end without having read it.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn task(id: &str) -> String {
    let script = [call("run_command", &json!({"command": "echo hi"})), finish()];
    json!({"instruction": "x", "task_id": id, "script": script}).to_string()
}

const SCRIPT: (&str, &str) = ("MCP_SERVER_URL", "script:");

#[tokio::test]
async fn a_task_from_standard_input_runs_in_the_foreground_as_in_the_notes() {
    let home = Home::new();
    let done = codex_agent(&home, &[], &[SCRIPT], &task("a")).await;
    assert_eq!((done.status.code(), out(&done)), (Some(0), "succeeded: done\n".into()), "{}", err(&done));
    assert!(err(&done).contains("run_command echo hi"), "{}", err(&done));
    assert_eq!(std::fs::read_to_string(home.record("a")).unwrap().lines().count(), 2);

    let file = home.code().join("task.json");
    std::fs::write(&file, task("b")).unwrap();
    let file = file.display().to_string();
    for (arguments, id) in [(vec!["--task_file", &file], "b"), (vec!["run", "--task_file", &file, "-q"], "b")] {
        let done = codex_agent(&home, &[&arguments[..], &["-o", "json"]].concat(), &[SCRIPT], "").await;
        let shown: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&shown["task_id"], &shown["status"]), (&json!(id), &json!("succeeded")));
    }
    // Known by its id: it was not run a second time.
    assert_eq!(std::fs::read_to_string(home.record("b")).unwrap().lines().count(), 2);

    let done = codex_agent(&home, &["run", "-q", "-o", "jsonl"], &[SCRIPT], &task("c")).await;
    assert_eq!(out(&done), std::fs::read_to_string(home.record("c")).unwrap());
    assert_eq!(err(&done), "");
    let done = codex_agent(&home, &["run", "-o", "id"], &[SCRIPT], &task("d")).await;
    assert_eq!(out(&done), "d\n");
}

#[tokio::test]
async fn the_exit_code_tells_how_a_task_ended() {
    let home = Home::new();
    let failed = codex_agent(&home, &["run", "-q"], &[SCRIPT], r#"{"instruction":"x"}"#).await;
    assert_eq!(failed.status.code(), Some(5));
    assert!(out(&failed).starts_with("failed: brain_protocol: "), "{}", out(&failed));
    for (input, named) in [("{", "JSON"), ("", "JSON"), (r#"{"instruction":7}"#, "instruction"), ("[]", "object")] {
        let refused = codex_agent(&home, &[], &[SCRIPT], input).await;
        assert_eq!(refused.status.code(), Some(2), "{input:?}");
        assert!(err(&refused).contains(named), "{}", err(&refused));
    }
    codex_agent(&home, &["run", "-q"], &[SCRIPT], &task("same")).await;
    let other = r#"{"instruction":"other","task_id":"same"}"#;
    let conflict = codex_agent(&home, &["run", "-q"], &[SCRIPT], other).await;
    assert_eq!(conflict.status.code(), Some(1));
    assert!(err(&conflict).contains("task_id"), "{}", err(&conflict));
}

#[tokio::test]
async fn an_interrupted_task_goes_on_when_it_is_run_again() {
    let brain = Brain::start(|seen, before| match (seen.iteration(), before) {
        (1, _) => Reply::json(&call("run_command", &json!({"command": "echo once"}))),
        (_, 1) => Reply::Silence,
        _ => Reply::finish(),
    })
    .await;
    let home = Home::new();
    let mut command = home.command(&["run", "-q"]);
    let mut child =
        command.env("MCP_SERVER_URL", &brain.url).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"instruction":"x","task_id":"t"}"#).await.unwrap();
    eventually("the brain is asked twice", async || brain.seen().len() == 2).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let interrupted = child.wait_with_output().await.unwrap();
    assert_eq!(interrupted.status.code(), Some(130), "{}", err(&interrupted));

    let variables = [("MCP_SERVER_URL", brain.url.as_str())];
    let done = codex_agent(&home, &["run", "-q"], &variables, r#"{"instruction":"x","task_id":"t"}"#).await;
    assert_eq!((done.status.code(), out(&done)), (Some(0), "succeeded: done\n".into()), "{}", err(&done));
    assert_eq!(brain.seen()[1].body, brain.seen()[2].body);
}

#[tokio::test]
async fn an_interrupted_task_without_a_name_is_cancelled_and_the_brain_is_told() {
    let brain = Brain::start(|seen, _| if seen.event() == "start" { Reply::Silence } else { Reply::finish() }).await;
    let home = Home::new();
    let mut command = home.command(&["run", "-q"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.env("MCP_SERVER_URL", &brain.url).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"instruction":"x"}"#).await.unwrap();
    eventually("the brain is asked", async || brain.saw("start")).await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!((ended.status.code(), out(&ended)), (Some(130), "cancelled\n".into()), "{}", err(&ended));
    assert_eq!(brain.seen().last().unwrap().payload(), json!({"event": "agent_abort", "reason": "cancelled"}));
}

#[tokio::test]
async fn a_task_in_the_foreground_goes_on_after_kill_9() {
    let brain = Brain::start(|_, before| if before == 0 { Reply::Silence } else { Reply::finish() }).await;
    let home = Home::new();
    let mut child =
        home.command(&["run", "-q"]).env("MCP_SERVER_URL", &brain.url).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"instruction":"x","task_id":"t"}"#).await.unwrap();
    eventually("the brain is asked", async || brain.seen().len() == 1).await;
    child.kill().await.unwrap();
    // A container that runs one task listens nowhere and needs no token for it.
    let variables = [("MCP_SERVER_URL", brain.url.as_str()), ("LISTEN", "0.0.0.0:8080")];
    let done = codex_agent(&home, &["run", "-q"], &variables, r#"{"instruction":"x","task_id":"t"}"#).await;
    assert_eq!((done.status.code(), out(&done)), (Some(0), "succeeded: done\n".into()), "{}", err(&done));
}

#[tokio::test]
async fn a_wrong_value_stops_the_start_with_one_line_that_names_the_variable() {
    let home = Home::new();
    for (name, value) in [
        ("MAX_RUNNING", "many"),
        ("MAX_RUNNING", "0"),
        ("MCP_TIMEOUT", "2m"),
        ("CMD_MAX_OUTPUT", "-1"),
        ("LISTEN", "8080"),
        ("MCP_SERVER_URL", "ftp://x"),
        ("MCP_SERVER_URL", "localhost"),
        ("DATABASE_URL", "mysql://x"),
        ("LOG_FORMAT", "xml"),
        ("ALLOW_ANONYMOUS", "perhaps"),
        ("RUST_LOG", "a=b=c"),
        ("API_TOKENS", ","),
        ("API_TOKENS_FILE", "/nonexistent"),
        ("COMMAND_POLICY", "/nonexistent"),
        ("CODE_DIR", "/nonexistent"),
        ("OUTPUT_DIR", "/proc/x"),
        ("CMD_TIMEOUT", "700"),
        ("MAX_MCP_ITERATIONS", "201"),
        ("OPENAI_API_KEY", "line\nbreak"),
    ] {
        let refused = codex_agent(&home, &["serve"], &[("LISTEN", "127.0.0.1:0"), (name, value)], "").await;
        let said = err(&refused);
        assert_eq!(refused.status.code(), Some(2), "{name}={value}: {said}");
        assert!(said.starts_with(&format!("codex-agent: {name}")), "{name}={value}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_variable_set_to_nothing_is_not_set_and_a_dotenv_file_counts_last() {
    let home = Home::new();
    let dotenv = home.code().parent().unwrap().join(".env");
    std::fs::write(dotenv, "MCP_SERVER_URL=script:\nMAX_MCP_ITERATIONS=1\n").unwrap();
    let looping = json!({"instruction": "x", "script": vec![call("read_file", &json!({"file_path": "a"})); 9]});
    for (variables, expected) in [(vec![], 1), (vec![("MAX_MCP_ITERATIONS", "2"), ("MAX_RUNNING", "")], 2)] {
        let done = codex_agent(&home, &["run", "-q", "-o", "json"], &variables, &looping.to_string()).await;
        let shown: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", err(&done)));
        assert_eq!((&shown["max_iterations"], &shown["error"]["code"]), (&json!(expected), &json!("max_iterations")));
    }
}

#[tokio::test]
async fn a_verdict_is_explained_and_a_rules_file_is_checked() {
    let home = Home::new();
    let check = async |command: &[&str], variables: &[(&str, &str)]| {
        let arguments = [&["policy", "check"], command].concat();
        let told = codex_agent(&home, &arguments, variables, "").await;
        (told.status.code(), out(&told) + &err(&told))
    };
    let refused = "refused by the command policy: pip install: packages are not installed from a task\n  \
                   allow  sh -c 'cd x && pip install y'  [no rule]\n  allow  cd x  [no rule]\n  deny   pip install y  \
                   [built-in rules about installs, rule 2 (pip install|download|wheel)]\n";
    assert_eq!(check(&["sh -c 'cd x && pip install y'"], &[]).await, (Some(1), refused.to_owned()));
    let allowed = "allowed\n  allow  grep 'a;b' capture.txt  [no rule]\n";
    assert_eq!(check(&["grep \"a;b\" capture.txt"], &[]).await, (Some(0), allowed.to_owned()));
    assert_eq!(check(&["echo '"], &[]).await.0, Some(2));
    let (code, told) = check(&[], &[]).await;
    assert_eq!((code, told.lines().count()), (Some(0), 2), "{told}");

    let file = home.code().join("rules.toml");
    let path = file.display().to_string();
    std::fs::write(&file, "[[rule]]\nprefix = [\"make\"]\ndecision = \"deny\"\nreason = \"slow\"\n").unwrap();
    let ours = [("COMMAND_POLICY", path.as_str()), ("CI", "1")];
    assert_eq!(
        check(&[], &ours[..1]).await,
        (Some(0), format!("{path}: 1 rules and 0 examples, all as they should be\n"))
    );
    for (command, code) in [("nice make", 1), ("curl x", 0), ("pip install x", 1)] {
        assert_eq!(check(&[command], &ours).await.0, Some(code), "{command}");
    }
    std::fs::write(&file, "rules = 1").unwrap();
    let (code, told) = check(&["make"], &ours).await;
    assert_eq!((code, told.lines().count()), (Some(2), 1), "{told}");
    assert!(told.starts_with(&format!("codex-agent: COMMAND_POLICY: {path}: line 1: unknown field `rules`")), "{told}");
}

#[tokio::test]
async fn the_health_check_asks_the_service() {
    let service = Service::start("script:", &[]).await;
    let listen = service.url.trim_start_matches("http://").to_owned();
    let healthy = codex_agent(&service.home, &["healthcheck"], &[("LISTEN", &listen)], "").await;
    assert_eq!(healthy.status.code(), Some(0), "{}", err(&healthy));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let none = codex_agent(&service.home, &["healthcheck"], &[("LISTEN", &free)], "").await;
    assert_eq!(none.status.code(), Some(1));
}

#[tokio::test]
async fn the_demo_repairs_a_project_and_ends_well() {
    let home = Home::new();
    let done =
        codex_agent(&home, &["demo"], &[("API_TOKENS", "x"), ("MCP_SERVER_URL", "http://127.0.0.1:1")], "").await;
    let said = out(&done);
    assert_eq!(done.status.code(), Some(0), "{said}{}", err(&done));
    for part in ["return code 1", "return code 0: all tests pass", "status   succeeded", "+    slug=\"${slug#-}\""] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let record = said.lines().find_map(|line| line.strip_prefix("record   ")).unwrap();
    assert_eq!(std::fs::read_to_string(record).unwrap().lines().count(), 5);
}

#[tokio::test]
async fn help_and_version_are_data_and_a_wrong_verb_is_usage() {
    let home = Home::new();
    let help = codex_agent(&home, &["--help"], &[], "").await;
    assert_eq!(help.status.code(), Some(0));
    for word in ["MCP_SERVER_URL", "--task_file", "serve", "demo", "Exit codes"] {
        assert!(out(&help).contains(word), "{word}");
    }
    let secret =
        codex_agent(&home, &["--help"], &[("OPENAI_API_KEY", "sk-canary"), ("API_TOKENS", "canary")], "").await;
    assert!(!out(&secret).contains("canary"));
    assert_eq!(out(&codex_agent(&home, &["--version"], &[], "").await), "codex-agent 0.1.0\n");
    assert_eq!(codex_agent(&home, &["dance"], &[], "").await.status.code(), Some(2));
}
