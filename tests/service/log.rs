//! `GET /tasks/{id}/log`.

use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::common::brain::{Brain, Reply, call, finish};
use crate::common::{Answer, Service, send};

/// A service with one ended task of three lines; its id.
async fn with_record() -> (Brain, Service, String) {
    let echo = |text: &str| call("run_command", &json!({"command": format!("echo {text}")}));
    let brain = Brain::script(vec![echo("größer"), echo("two"), finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    let id = task["task_id"].as_str().unwrap().to_owned();
    (brain, service, id)
}

async fn with_header(service: &Service, path: &str, name: &str, value: &str) -> Answer {
    send(service.request("GET", path).header(name, value)).await
}

#[tokio::test]
async fn the_record_comes_whole_in_part_and_not_at_all_when_it_is_known() {
    let (_brain, service, id) = with_record().await;
    let path = format!("/tasks/{id}/log");
    let whole = service.get(&path).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/jsonl"));
    assert_eq!(whole.body, std::fs::read(service.home.record(&id)).unwrap());
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    assert_eq!(whole.lines().len(), 3);

    let len = whole.body.len();
    for (range, first, last) in [("bytes=0-9", 0, 9), ("bytes=100-", 100, len - 1), ("bytes=-5", len - 5, len - 1)] {
        let part = with_header(&service, &path, "range", range).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/{len}"));
        assert_eq!(part.body, whole.body[first..=last]);
    }
    let outside = with_header(&service, &path, "range", "bytes=999999-").await;
    assert_eq!((outside.status, outside.header("content-range")), (416, &*format!("bytes */{len}")));
    assert_eq!(outside.header("content-type"), "application/problem+json");

    let tag = whole.header("etag");
    assert_eq!(with_header(&service, &path, "if-none-match", tag).await.status, 304);
    let request = service.request("GET", &path).header("range", "bytes=0-9");
    assert_eq!(send(request.header("if-range", "\"another\"")).await.status, 200);
    let request = service.request("GET", &path).header("range", "bytes=0-9");
    assert_eq!(send(request.header("if-range", tag)).await.status, 206);
    let head = send(service.request("HEAD", &path)).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, &*len.to_string(), 0));
}

#[tokio::test]
async fn a_client_that_takes_gzip_gets_it() {
    let (_brain, service, id) = with_record().await;
    let path = format!("/tasks/{id}/log");
    let packed = with_header(&service, &path, "accept-encoding", "br, gzip;q=0.5").await;
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "accept-encoding"));
    let mut plain = Vec::new();
    async_compression::tokio::bufread::GzipDecoder::new(&packed.body[..]).read_to_end(&mut plain).await.unwrap();
    let whole = service.get(&path).await;
    assert_eq!(plain, whole.body);
    assert_ne!(packed.header("etag"), whole.header("etag"));
    let refused = with_header(&service, &path, "accept-encoding", "gzip;q=0").await;
    assert_eq!((refused.header("content-encoding"), refused.body.len()), ("", whole.body.len()));
}

#[tokio::test]
async fn a_client_can_ask_for_what_came_after_an_iteration() {
    let (_brain, service, id) = with_record().await;
    for (after, expected) in [(0, vec![1, 2, 3]), (1, vec![2, 3]), (2, vec![3]), (3, vec![]), (99, vec![])] {
        let lines = service.get(&format!("/tasks/{id}/log?after={after}")).await.lines();
        let numbers: Vec<_> = lines.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
        assert_eq!(numbers, expected, "after={after}");
    }
}

#[tokio::test]
async fn a_follower_gets_each_line_as_it_comes_and_the_end_with_the_task() {
    let go = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = std::sync::Arc::clone(&go);
    let brain = Brain::start(move |seen, _| {
        let open = seen.iteration() == 1 || gate.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_ok();
        match (seen.iteration(), open) {
            (_, false) => Reply::Status(503, vec![("retry-after", "0".to_owned())], String::new()),
            (3, _) => Reply::finish(),
            _ => Reply::json(&call("run_command", &json!({"command": "echo x"}))),
        }
    })
    .await;
    let service = Service::start(&brain.url, &[("MCP_RETRIES", "100")]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    let mut following = service.request("GET", &format!("/tasks/{id}/log?follow=true")).send().await.unwrap();
    let mut text = String::new();
    for lines in 1..=3 {
        while text.lines().count() < lines {
            let chunk = following.chunk().await.unwrap().expect("the stream ended too early");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert!(text.ends_with('\n') && text.lines().count() == lines, "{text}");
        go.add_permits(1);
    }
    assert!(following.chunk().await.unwrap().is_none());
    assert_eq!(text, service.get(&format!("/tasks/{id}/log")).await.text());
}

#[tokio::test]
async fn readers_of_a_record_that_grows_never_disturb_it() {
    let brain = Brain::start(|seen, _| match seen.iteration() {
        1..150 => Reply::json(&call("read_file", &json!({"file_path": "none"}))),
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let id = service.submit(&json!({"instruction": "x", "max_iterations": 200})).await;
    let path = format!("/tasks/{id}/log");
    let follow = format!("{path}?follow=true");
    let whole_lines = |text: &str| text.is_empty() || text.ends_with('\n');
    let downloads = async {
        let mut longest = 0;
        while longest < 150 {
            let text = service.get(&path).await.text();
            assert!(whole_lines(&text));
            assert!(text.lines().count() >= longest, "the record has become shorter");
            longest = text.lines().count();
        }
    };
    let followers = futures_util::future::join_all((0..8).map(|_| service.get(&follow)));
    let ((), followed) = tokio::join!(downloads, followers);
    let whole = service.get(&path).await.text();
    assert_eq!(whole.lines().count(), 150);
    assert!(followed.iter().all(|answer| answer.text() == whole), "a follower missed something");
    assert_eq!(std::fs::read_to_string(service.home.record(&id)).unwrap(), whole);
}

#[tokio::test]
async fn a_follower_that_is_ahead_waits_for_what_it_has_not_got() {
    let (_brain, service, id) = with_record().await;
    let late = service.get(&format!("/tasks/{id}/log?follow=true&after=2")).await;
    assert_eq!(late.lines().len(), 1);
    assert_eq!(service.get(&format!("/tasks/{id}/log?follow=true&after=9")).await.body.len(), 0);
}

#[tokio::test]
async fn a_task_without_iterations_has_an_empty_record() {
    let brain = Brain::start(|seen, _| match seen.event().as_str() {
        "start" => Reply::Silence,
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    let answer = service.get(&format!("/tasks/{id}/log")).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}
