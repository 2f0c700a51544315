//! Who is let in, and what becomes of clients that misbehave.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Home, Service, eventually, send};

#[tokio::test]
async fn a_token_is_asked_for_everywhere_but_at_the_health_calls_and_is_never_logged() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-file\n").unwrap();
    let path = file.path().display().to_string();
    let service =
        Service::start("script:", &[("API_TOKENS", "one-canary, two-canary"), ("API_TOKENS_FILE", &path)]).await;
    for open in ["/healthz", "/readyz"] {
        assert_eq!(service.get(open).await.status, 200);
    }
    for closed in ["/tasks", "/tasks/x", "/openapi.json", "/docs/", "/nothing"] {
        let answer = service.get(closed).await;
        assert_eq!((answer.status, answer.header("content-type")), (401, "application/problem+json"), "{closed}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    for token in ["one-canary", "two-canary", "from-file"] {
        assert_eq!(send(service.request("GET", "/tasks").bearer_auth(token)).await.status, 200);
    }
    assert_eq!(send(service.request("GET", "/tasks").bearer_auth("one-canar")).await.status, 401);
    assert!(!service.log().contains("canary"));
}

#[tokio::test]
async fn a_client_that_is_refused_hears_so_however_much_it_sends() {
    let service = Service::start("script:", &[("API_TOKENS", "t")]).await;
    for _ in 0..10 {
        let request = service.request("POST", "/tasks").header("content-type", "application/json");
        assert_eq!(send(request.body("x".repeat(8 << 20))).await.status, 401);
    }
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let service = Service::start("script:", &[]).await;
    let with = |name: &'static str, value: &'static str| send(service.request("GET", "/tasks").header(name, value));
    for (name, value) in [("host", "evil.example"), ("origin", "https://evil.example"), ("origin", "null")] {
        let answer = with(name, value).await;
        assert_eq!((answer.status, answer.header("content-type")), (403, "application/problem+json"));
    }
    let own = service.url.clone();
    assert_eq!(send(service.request("GET", "/tasks").header("origin", own)).await.status, 200);
    assert_eq!(with("sec-fetch-site", "cross-site").await.status, 403);
}

#[tokio::test]
async fn listening_beyond_this_machine_needs_a_token_or_a_word() {
    let home = Home::new();
    let output = home.command(&["serve"]).env("LISTEN", "0.0.0.0:0").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("codex-agent: LISTEN: 0.0.0.0:0 ") && said.contains("API_TOKENS"), "{said}");
    assert_eq!(said.lines().count(), 1);
}

#[tokio::test]
async fn a_client_that_sends_half_a_head_is_dropped_and_disturbs_nobody() {
    let service = Service::start("script:", &[("HEADER_TIMEOUT", "1")]).await;
    let address = service.url.trim_start_matches("http://").to_owned();
    let mut half = TcpStream::connect(&address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ").await.unwrap();
    assert_eq!(service.get("/healthz").await.status, 200);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(crate::common::PATIENCE, half.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection was kept");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_half_done() {
    let service = Service::start("script:", &[]).await;
    let address = service.url.trim_start_matches("http://").to_owned();
    for n in 0..50 {
        let body =
            json!({"instruction": "x", "task_id": format!("gone-{n}"), "script": [{"event": "finish"}]}).to_string();
        let mut client = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST /tasks HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&body.as_bytes()[..body.len() - n % 3]).await.unwrap();
        drop(client);
    }
    eventually("what was stored has ended", async || {
        let tasks = service.get("/tasks?limit=200").await.json();
        tasks["tasks"].as_array().unwrap().iter().all(|task| task["status"] == "succeeded")
    })
    .await;
    assert_eq!(service.get("/tasks/gone-1").await.status, 404);
    assert_eq!(service.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_service_that_is_not_fit_says_why_in_the_shape_of_its_description() {
    let service = Service::start("script:", &[]).await;
    let ready = service.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["ready"].clone()), (200, json!(true)));
    std::fs::remove_dir(service.home.code()).unwrap();
    let unfit = service.get("/readyz").await;
    assert_eq!((unfit.status, unfit.header("content-type")), (503, "application/json"));
    assert_eq!(unfit.json()["ready"], false);
    assert!(unfit.json()["reasons"][0].as_str().unwrap().starts_with("CODE_DIR: "), "{}", unfit.text());
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let service = Service::start("script:", &[]).await;
    assert_eq!(service.get("/tasks").await.header("x-request-id").len(), 36);
    assert_eq!(service.get("/nothing").await.header("x-request-id").len(), 36);
    let own = send(service.request("GET", "/tasks").header("x-request-id", "mine-1")).await;
    assert_eq!(own.header("x-request-id"), "mine-1");
    let long = send(service.request("GET", "/tasks").header("x-request-id", "x".repeat(2000))).await;
    assert_eq!(long.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn the_docs_page_and_its_parts_come_from_the_program() {
    let service = Service::start("script:", &[]).await;
    let page = service.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    assert!(!page.text().contains("https://"), "{}", page.text());
    for part in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert_eq!(service.get(&format!("/docs/{part}")).await.status, 200, "{part}");
    }
}
