//! Answers that are not read to their end: because the client goes, or the service.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

use crate::common::brain::{call, finish};
use crate::common::{Service, eventually, send};

/// So much is in no buffer between a service and a client that does not read.
const LARGE: usize = 1_500_000;

/// A service with more to export than a connection takes.
async fn laden() -> Service {
    let service = Service::start("script:", &[]).await;
    let text = "The quick brown fox jumps over the lazy dog.\n".repeat(LARGE / 45);
    std::fs::write(service.home.code().join("large"), &text).unwrap();
    let read = call("read_file", &json!({"file_path": "large", "end": text.len()}));
    for n in 0..4 {
        let task = json!({"task_id": format!("t{n}"), "instruction": "Read.", "script": [read, finish()]});
        assert_eq!(service.finish(&task).await["status"], "succeeded");
    }
    service
}

/// A client that has seen how an export begins, and reads on only when it is told to.
async fn asking(service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = service.url.strip_prefix("http://").unwrap();
    let mut client = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /export?format=records&include_scripted=true HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; 12];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 200");
    client
}

#[tokio::test]
async fn a_client_that_goes_away_makes_room_for_the_next_one() {
    let service = laden().await;
    let path = "/export?format=records&include_scripted=true";
    let client = asking(&service).await;
    // Meanwhile it is one at a time.
    let refused = service.get(path).await;
    let head = send(service.request("HEAD", path)).await;
    assert_eq!((head.status, head.header("content-type")), (200, "application/jsonl"));
    assert_eq!((refused.status, refused.header("retry-after")), (503, "10"), "{}", refused.text());
    assert_eq!(refused.header("content-type"), "application/problem+json");
    drop(client);
    eventually("the next one is served whole", async || {
        let whole = service.get(path).await;
        whole.status == 200 && super::rows(&whole).len() == 8
    })
    .await;
    assert!(!service.log().contains("broke off"), "{}", service.log());
}

#[tokio::test]
async fn a_service_that_is_stopped_during_an_export_ends_and_pretends_nothing() {
    let service = laden().await;
    let mut client = asking(&service).await;
    service.signal(Signal::TERM);
    eventually("it is stopping", async || service.log().contains("stopping")).await;
    let mut rest = Vec::new();
    // Where the connection is reset, it has not ended either.
    let ended = client.read_to_end(&mut rest).await.is_ok() && rest.ends_with(b"\r\n0\r\n\r\n");
    let lines = rest.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"iteration\"")).count();
    assert!(!ended || lines == 8, "an end after {lines} lines");
    assert_eq!(service.ended_by_itself().await.1, Some(0));
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_no_service_from_stopping() {
    let service = laden().await;
    let client = asking(&service).await;
    let (stopped, started) = (service.stop(), std::time::Instant::now());
    assert_eq!(stopped.await.1, Some(0));
    // Five seconds are for answers.
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    drop(client);
}

#[tokio::test]
async fn a_command_that_is_interrupted_ends_also_where_nobody_reads_its_rows() {
    let service = laden().await;
    let mut child = command(&service, &["--format", "records"]).stdout(Stdio::piped()).spawn().unwrap();
    // The rest is more than a pipe takes.
    child.stdout.as_mut().unwrap().read_u8().await.unwrap();
    assert_eq!(interrupted(&mut child, false).await, "codex-agent: interrupted; the rows are not all\n");
}

#[tokio::test]
async fn a_directory_is_as_it_was_when_an_increment_is_interrupted() {
    let service = Service::start("script:", &[]).await;
    let (dir, aside) = (service.home.path().join("data"), service.home.path().join("aside"));
    let flags = ["--to", dir.to_str().unwrap(), "--incremental", "-q"];
    let finished = async |id: &str| {
        service.finish(&json!({"task_id": id, "instruction": id, "script": [finish()]})).await;
    };
    let exported = async || assert!(command(&service, &flags).status().await.unwrap().success());
    finished("first").await;
    exported().await;
    finished("second").await;
    // A pipe in the place of the index holds whoever reads it, and a second signal is for one who is held.
    let index = dir.join("index.jsonl");
    std::fs::rename(&index, &aside).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &index, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let mut child = command(&service, &flags).spawn().unwrap();
    let partial = service.home.path().join(".data.partial");
    eventually("it has begun", async || partial.join("index.jsonl").exists()).await;
    assert_eq!(interrupted(&mut child, true).await, "codex-agent: interrupted; nothing was written\n");
    std::fs::rename(&aside, &index).unwrap();
    assert_eq!(super::each(&super::lines(&dir, "index.jsonl"), "task_id"), ["first"]);
    exported().await;
    assert_eq!(super::each(&super::lines(&dir, "index.jsonl"), "task_id"), ["first", "second"]);
    assert!(!partial.exists());
}

fn command(service: &Service, flags: &[&str]) -> Command {
    let mut command = service.home.command(&["export", "--include-scripted"]);
    command.args(flags).stderr(Stdio::piped());
    command
}

/// What a process says that ends because it is interrupted, once or again and again.
async fn interrupted(child: &mut Child, again: bool) -> String {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let mut ended = None;
    eventually("it has ended", async || {
        ended = child.try_wait().unwrap();
        if again && ended.is_none() {
            rustix::process::kill_process(pid, Signal::INT).unwrap();
        }
        ended.is_some()
    })
    .await;
    assert_eq!(ended.unwrap().code(), Some(130), "{ended:?}");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    said
}
