//! `codex-agent doctor` before brains that are well, and before others: what it prints, and its exit code.

use std::process::Stdio;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::common::Home;
use crate::common::brain::{Brain, Reply, Seen, call};

/// What `doctor --brain-only` prints about the brain at `url`, and its exit code.
async fn doctor(url: &str, variables: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
    let home = Home::new();
    let mut command = home.command(&["doctor", "--brain-only"]);
    let output = command.env("MCP_SERVER_URL", url).envs(variables.iter().copied()).output().await.unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(err, "");
    (output.status.code(), out.lines().map(str::to_owned).collect())
}

/// The one failure in what was printed, which then ends there.
fn only_failure((code, lines): &(Option<i32>, Vec<String>)) -> &str {
    assert_eq!((*code, lines.len()), (Some(1), 2), "{lines:?}");
    lines[1].strip_prefix("  FAIL     ").unwrap()
}

fn brain_that_is_well(seen: &Seen, _: usize) -> Reply {
    match seen.event().as_str() {
        "start" => Reply::json(&call("read_file", &json!({"file_path": "README.md"}))),
        "tool_result" => Reply::json(&json!({"event": "resync"})),
        _ => Reply::finish(),
    }
}

#[tokio::test]
async fn a_brain_that_is_well_passes_in_every_point() {
    let brain = Brain::start(brain_that_is_well).await;
    let (code, lines) = doctor(&brain.url, &[]).await;
    assert_eq!((code, lines[0].clone()), (Some(0), format!("brain    {}", brain.url)));
    let expected = [
        "start is answered with tool_call read_file",
        "a step that is sent again, with its key, gets the same reply",
        "5 repeated steps took ",
        "a task that it does not know is answered with resync",
        "agent_abort is answered",
    ];
    assert_eq!(lines.len(), 1 + expected.len(), "{lines:?}");
    for (line, expected) in lines[1..].iter().zip(expected) {
        assert!(line.starts_with(&format!("  ok       {expected}")), "{line}");
    }

    let seen = brain.seen();
    let keys: Vec<_> = seen.iter().map(Seen::key).collect();
    let task = seen[0].task_id();
    assert!(task.starts_with("doctor-"), "{task}");
    assert_eq!(keys[..6], [format!("{task}/1").as_str(); 6]);
    assert_eq!(keys[6], format!("{}/2", seen[6].task_id()));
    assert_ne!(seen[6].task_id(), task);
    assert_eq!(keys[7..], [format!("{task}/2")]);
}

#[tokio::test]
async fn where_nothing_listens_it_says_what_to_start() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = doctor(&format!("http://me:secret@{free}"), &[]).await;
    let start = format!(
        "nothing listens at http://{free} (connection refused): start a brain there, such as `codex-agent brain --listen {free}`"
    );
    assert!(only_failure(&told).starts_with(&start), "{told:?}");
    assert!(!told.1.concat().contains("secret"));

    let nowhere = doctor("http://brain.invalid/x", &[]).await;
    let failure = only_failure(&nowhere);
    assert!(failure.starts_with("brain.invalid leads nowhere (") && failure.contains("MCP_SERVER_URL"), "{failure}");
}

#[tokio::test]
async fn a_page_in_place_of_a_reply_is_quoted() {
    let brain = Brain::start(|_, _| Reply::Json("<!DOCTYPE html>\n<h1>It works!</h1>".to_owned())).await;
    let told = doctor(&brain.url, &[]).await;
    let failure = only_failure(&told);
    assert!(failure.contains("not valid JSON"), "{failure}");
    let end = "<!DOCTYPE html> <h1>It works!</h1>: is it a brain that listens there? Check the port and the path in MCP_SERVER_URL";
    assert!(failure.ends_with(end), "{failure}");

    let error = Brain::start(|_, _| Reply::Status(405, Vec::new(), "<h1>Not\nallowed</h1>".to_owned())).await;
    let told = doctor(&error.url, &[]).await;
    assert!(only_failure(&told).contains("405 Method Not Allowed: <h1>Not allowed</h1>: is it a brain"), "{told:?}");
    let told = doctor(&format!("{}/step", error.url), &[]).await;
    assert!(
        only_failure(&told).contains("/step/step answered 404 Not Found: /step is added to MCP_SERVER_URL"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_brain_that_takes_no_notice_of_the_key_is_noted_with_what_may_come_of_it() {
    let brain = Brain::start(|seen, before| match seen.event().as_str() {
        "start" => Reply::json(&json!({"event": "finish", "summary": format!("reply {before}")})),
        "agent_abort" => Reply::Status(400, Vec::new(), "unknown event".to_owned()),
        _ => Reply::Status(422, Vec::new(), "no such task".to_owned()),
    })
    .await;
    let (code, lines) = doctor(&brain.url, &[]).await;
    assert_eq!(code, Some(0), "{lines:?}");
    let notes: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("  note     ")).collect();
    let parts = [
        ["gets another reply (first {\"event\":\"finish\",\"summary\":\"reply 0\"}, then", "remember the last reply"],
        ["a task that it does not know gets no reply (", "no such task), so that tasks fail"],
        ["agent_abort gets no reply (", "unknown event); no task fails because of it"],
    ];
    assert_eq!(notes.len(), parts.len(), "{lines:?}");
    for (note, parts) in notes.iter().zip(parts) {
        assert!(parts.iter().all(|part| note.contains(part)), "{note}");
    }
}

#[tokio::test]
async fn a_brain_that_wants_a_token_is_told_from_one_that_wants_another() {
    let brain = Brain::start(|_, _| Reply::Status(401, Vec::new(), "who are you?".to_owned())).await;
    let told = doctor(&brain.url, &[]).await;
    let expected = "who are you?: set OPENAI_API_KEY to one of the tokens that the brain takes";
    assert!(only_failure(&told).ends_with(expected), "{told:?}");
    let told = doctor(&brain.url, &[("OPENAI_API_KEY", "sk-canary")]).await;
    assert!(only_failure(&told).ends_with("OPENAI_API_KEY is none of the tokens that the brain takes"), "{told:?}");
    assert!(!told.1.concat().contains("canary"));
}

#[tokio::test]
async fn what_is_json_but_no_reply_fails() {
    for (reply, named) in [
        (json!({"choices": []}), "no \"event\" that is a string ({\"choices\":[]}): have it answer with"),
        (json!({"event": "dance"}), "the event \"dance\", which fails every task"),
        (json!({"event": "resync"}), "resync, though nothing is before it"),
    ] {
        let brain = Brain::start(move |_, _| Reply::json(&reply)).await;
        let told = doctor(&brain.url, &[]).await;
        assert!(only_failure(&told).contains(named), "{told:?}");
    }
}

#[tokio::test]
async fn a_brain_that_is_silent_is_reached_and_said_to_be_silent() {
    let brain = Brain::start(|_, _| Reply::Silence).await;
    let told = doctor(&brain.url, &[("MCP_TIMEOUT", "1")]).await;
    let failure = only_failure(&told);
    assert!(failure.contains("operation timed out: a connection to http://127.0.0.1:"), "{failure}");
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_named_and_so_is_a_server_without_tls() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    let serving = async {
        loop {
            tokio::select! {
                // The doctor turns away; that is an error here.
                accepted = listener.accept() => drop(acceptor.accept(accepted.unwrap().0).await),
                accepted = plain.accept() => {
                    drop(accepted.unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
                }
            }
        }
    };
    let asking = async {
        let told = doctor(&format!("https://localhost:{port}"), &[]).await;
        let failure = only_failure(&told);
        let start = format!("the certificate of https://localhost:{port} is not trusted (");
        assert!(failure.starts_with(&start) && failure.contains("SSL_CERT_FILE"), "{failure}");

        let told = doctor(&format!("https://127.0.0.1:{plain_port}"), &[]).await;
        assert!(only_failure(&told).starts_with("no TLS with https://127.0.0.1:"), "{told:?}");
    };
    tokio::select! {
        () = asking => {}
        () = serving => {}
    }
}

#[tokio::test]
async fn the_script_brain_is_inside_and_the_sandbox_can_be_looked_at_alone() {
    let (code, lines) = doctor("script:", &[]).await;
    assert_eq!(code, Some(0));
    assert_eq!(lines, ["brain    script:", "  ok       inside this process: there is nothing to reach"]);

    let home = Home::new();
    let output = home.command(&["doctor", "--sandbox-only"]).output().await.unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.starts_with("sandbox  ") && !out.contains("brain  "), "{out}");
}

#[tokio::test]
async fn a_served_brain_passes_over_every_transport_and_wants_its_token() {
    let home = Home::new();
    let mut command = home.command(&["brain"]);
    command.env("LISTEN", "127.0.0.1:0").env("API_TOKENS", "correct-horse").stdout(Stdio::piped());
    let mut brain = command.spawn().unwrap();
    let mut lines = BufReader::new(brain.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some((_, rest)) = line.split_once("://") {
            break rest.split(['/', ' ', ',']).next().unwrap().to_owned();
        }
    };
    for scheme in ["http", "ws", "grpc"] {
        let url = format!("{scheme}://{address}");
        let (code, lines) = doctor(&url, &[("OPENAI_API_KEY", "correct-horse")]).await;
        assert_eq!((code, lines.len()), (Some(0), 6), "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("  ok       ")), "{lines:?}");

        let told = doctor(&url, &[]).await;
        assert!(only_failure(&told).contains(": set OPENAI_API_KEY to one of the tokens"), "{told:?}");
    }
}
