//! Brains that speak HTTP as others might.

use axum::http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::domain::SystemClock;
use std::time::Duration;

const FINISH: &str = r#"{"event":"finish"}"#;

fn settings() -> AskSettings {
    AskSettings { key: None, timeout: Duration::from_secs(10), retries: 0, max_reply_bytes: 1 << 20 }
}

fn brain(url: &str, proxies: &Matcher, settings: AskSettings) -> HttpBrain {
    HttpBrain::behind(proxies, url.parse().unwrap(), settings, Arc::new(SystemClock)).unwrap()
}

fn request(payload: &str) -> StepRequest {
    let json = Json::parse(payload).unwrap();
    StepRequest { task_id: "t".parse().unwrap(), iteration: 7, payload: json.clone(), task: json, history: None }
}

fn whole(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A server whose n-th connection answers its questions with the n-th list of answers, each sent piece by piece, and
/// then closes; and the questions it heard.
async fn server(connections: Vec<Vec<Vec<Vec<u8>>>>) -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heard, questions) = unbounded_channel();
    let tracker = tokio_util::task::TaskTracker::new();
    tracker.spawn(async move {
        for answers in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                heard.send(question(&mut stream).await).unwrap();
                for piece in answer {
                    stream.write_all(&piece).await.unwrap();
                    read(&stream).await;
                }
            }
        }
    });
    (url, questions)
}

/// Returns when the other side has read what was sent, or has closed: otherwise the next piece would come with this one.
async fn read(stream: &TcpStream) {
    // See proc_net_tcp(5): addresses as the machine has them in memory, then the state, then the two queues.
    let name = |address: std::net::SocketAddr| format!("0100007F:{:04X}", address.port());
    let between = format!("{} {}", name(stream.peer_addr().unwrap()), name(stream.local_addr().unwrap()));
    loop {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let Some(theirs) = sockets.lines().find(|line| line.contains(&between)) else { return };
        let queues = theirs.split_ascii_whitespace().nth(4).unwrap();
        if queues.ends_with(":00000000") {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn question(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "half a question: {text}");
        text += std::str::from_utf8(&bytes[..count]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.map_or(0, |length| length.parse().unwrap()) == body.len() {
            return text;
        }
    }
}

async fn said(answer: Vec<Vec<u8>>) -> Result<String, String> {
    let (url, _questions) = server(vec![vec![answer]]).await;
    let brain = brain(&url, &Matcher::builder().build(), settings());
    brain.step(&request("{}")).await.map(|json| json.to_string()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_question_is_written_as_the_protocol_has_it() {
    let (url, mut questions) = server(vec![vec![vec![whole(FINISH)]]]).await;
    let host = url.strip_prefix("http://").unwrap();
    let key = Some(HeaderValue::from_static("Bearer k"));
    let asking = brain(
        &format!("http://ann:p%20w@{host}/base/?q=1"),
        &Matcher::builder().build(),
        AskSettings { key, ..settings() },
    );
    assert_eq!(asking.name, format!("http://{host}/base/step"));
    let mut step = request(r#"{"event":"start"}"#);
    step.history = Some(Vec::new());
    asking.step(&step).await.unwrap();
    let told = questions.recv().await.unwrap();
    let at = told.find("traceparent: 00-").unwrap();
    let lines = [
        "POST /base/step?q=1 HTTP/1.1",
        &format!("host: {host}"),
        "accept: */*",
        "content-type: application/json",
        "authorization: Bearer k",
        &format!("traceparent: {}", &told[at + 13..at + 68]),
        "idempotency-key: t/7",
        "content-length: 56",
        "",
        r#"{"task_id":"t","payload":{"event":"start"},"history":[]}"#,
    ];
    assert_eq!(told, lines.join("\r\n"));
}

#[tokio::test]
async fn an_answer_is_read_however_it_comes() {
    let json = |text: &str| Ok(text.to_owned());
    assert_eq!(said(whole(FINISH).chunks(1).map(<[u8]>::to_vec).collect()).await, json(FINISH));
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                   3;ext=1\r\n{\"e\r\nf\r\nvent\":\"finish\"}\r\n0\r\ntrailer: x\r\n\r\n";
    assert_eq!(said(chunked.as_bytes().chunks(9).map(<[u8]>::to_vec).collect()).await, json(FINISH));
    let until_closed = format!("HTTP/1.0 200 OK\r\n\r\n{FINISH}");
    assert_eq!(said(vec![until_closed.into_bytes()]).await, json(FINISH));
    let early = [&b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"[..], &whole(FINISH)].concat();
    assert_eq!(said(vec![early]).await, json(FINISH));
    let long_head = format!("HTTP/1.1 200 OK\r\ncookie: {}\r\ncontent-length: 2\r\n\r\n{{}}", "x".repeat(30_000));
    assert_eq!(said(vec![long_head.into_bytes()]).await, json("{}"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_none_is_no_reply() {
    for (answer, cause) in [
        ("", "closed without an answer"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "closed"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "end of file"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}", "unexpected EOF"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "invalid HTTP version"),
    ] {
        let error = said(vec![answer.into()]).await.unwrap_err();
        assert!(error.contains("no reply after 1 try") && error.contains(cause), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_connection_serves_many_steps_and_one_that_was_closed_costs_no_try() {
    let answers = |count| vec![vec![whole(FINISH)]; count];
    let closing = vec![b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}".to_vec()];
    let (url, mut questions) = server(vec![answers(3), vec![closing], answers(1)]).await;
    let brain = brain(&url, &Matcher::builder().build(), settings());
    for _ in 0..3 {
        brain.step(&request("{}")).await.unwrap();
    }
    // The server has closed it, and this side hears of it.
    while brain.pool.take().map(|stream| brain.pool.put(stream)).is_some() {
        tokio::task::yield_now().await;
    }
    brain.step(&request("{}")).await.unwrap();
    assert!(brain.pool.take().is_none(), "the brain asked for an end");
    brain.step(&request("{}")).await.unwrap();
    for _ in 0..5 {
        assert!(questions.recv().await.is_some());
    }
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_are_not_taken_for_the_next_answer() {
    let two = [whole("{}"), whole(r#"{"stale":1}"#)].concat();
    let (url, _questions) = server(vec![vec![vec![two]], vec![vec![whole(FINISH)]]]).await;
    let brain = brain(&url, &Matcher::builder().build(), settings());
    assert_eq!(brain.step(&request("{}")).await.unwrap().as_str(), "{}");
    assert_eq!(brain.step(&request("{}")).await.unwrap().as_str(), FINISH);
}

#[tokio::test]
async fn a_refusal_is_heard_while_the_question_is_still_on_its_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asking = brain(&format!("http://{}", listener.local_addr().unwrap()), &Matcher::builder().build(), settings());
    let long = Json::of(&"x".repeat(12 << 20));
    let step = request(long.as_str());
    let refusing = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        stream
    };
    let (outcome, _stream) = tokio::join!(asking.step(&step), refusing);
    assert!(outcome.unwrap_err().to_string().ends_with("413 Payload Too Large: no"));
    assert!(asking.pool.take().is_none(), "half a question is on it");
}

#[tokio::test]
async fn a_try_has_one_time_for_all_of_it() {
    for pieces in [vec![], vec![b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()]] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let short = AskSettings { timeout: Duration::from_millis(50), ..settings() };
        let asking = brain(&url, &Matcher::builder().build(), short);
        let silent = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&pieces.concat()).await.unwrap();
            stream
        };
        let step = request("{}");
        let (outcome, _stream) = tokio::join!(asking.step(&step), silent);
        assert!(outcome.unwrap_err().to_string().ends_with("operation timed out"));
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_whole_url_and_not_for_a_brain_on_this_machine() {
    let (proxy, mut questions) = server(vec![vec![vec![whole(FINISH)]]]).await;
    let with_password = proxy.replace("http://", "http://u:p@");
    let proxies = || Matcher::builder().all(with_password.clone()).no("direct.example").build();
    brain("http://brain.example:9/x", &proxies(), settings()).step(&request("{}")).await.unwrap();
    let told = questions.recv().await.unwrap();
    assert!(told.starts_with("POST http://brain.example:9/x/step HTTP/1.1\r\nhost: brain.example:9\r\n"), "{told}");
    assert!(told.contains("\r\nproxy-authorization: Basic dTpw\r\n"), "{told}");
    for direct in ["http://localhost:1", "http://127.8.9.1:1", "http://[::1]:1", "http://direct.example"] {
        assert!(!brain(direct, &proxies(), settings()).connector.forwarded, "{direct}");
    }
}

#[tokio::test]
async fn a_brain_behind_tls_is_reached_through_a_tunnel() {
    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_vec();
    let (proxy, mut questions) = server(vec![vec![vec![refusal]]]).await;
    let proxies = Matcher::builder().all(proxy.replace("http://", "http://u:p@")).build();
    let asking = brain("https://ann:secret@brain.example/x", &proxies, settings());
    let error = asking.step(&request("{}")).await.unwrap_err().to_string();
    assert!(error.contains("proxy authorization required") && !error.contains("secret"), "{error}");
    let told = questions.recv().await.unwrap();
    assert!(told.starts_with("CONNECT brain.example:443 HTTP/1.1\r\n"), "{told}");
    assert!(told.contains("\r\nProxy-Authorization: Basic dTpw\r\n") && !told.contains("secret"), "{told}");
}
