//! `GET /metrics` and `GET /stats`.

mod list;

use serde_json::json;
use sqlx::{ConnectOptions, Connection, Executor};

use crate::common::brain::{Brain, Reply, call, finish};
use crate::common::{Service, eventually, send};

/// What `GET /metrics` answers.
pub(crate) async fn scrape(service: &Service) -> String {
    let answer = service.get("/metrics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

/// The value of one series of this service's.
fn value(text: &str, series: &str) -> f64 {
    let found =
        text.lines().find_map(|line| line.strip_prefix("codex_agent_")?.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
}

/// The same of one that counts.
pub(crate) fn count(text: &str, series: &str) -> u64 {
    let value = value(text, series);
    value.to_string().parse().unwrap_or_else(|_| panic!("{series} is {value}"))
}

#[tokio::test]
async fn a_task_is_counted_with_all_its_parts() {
    let service = Service::start("script:", &[("MAX_RUNNING", "3")]).await;
    let before = scrape(&service).await;
    for series in ["tasks_submitted_total", "tasks_ended_total{status=\"succeeded\"}"] {
        assert_eq!(count(&before, series), 0, "{series}");
    }
    let script = [
        call("edit_file", &json!({"file_path": "a", "new_content": "b"})),
        call("read_file", &json!({"file_path": "none"})),
        call("run_command", &json!({"command": "sleep 0.1"})),
        call("dance", &json!({})),
        finish(),
    ];
    let task = json!({"task_id": "counted", "instruction": "x", "script": script});
    service.finish(&task).await;
    // Known already: that is no new one.
    assert_eq!(service.post("/tasks", task.to_string()).await.status, 200);
    let record = service.get("/tasks/counted/log").await.body.len();

    let text = scrape(&service).await;
    for (series, expected) in [
        ("tasks_submitted_total", 1),
        ("tasks_ended_total{status=\"succeeded\"}", 1),
        ("tasks_ended_total{status=\"failed\"}", 0),
        ("iterations_total", 5),
        ("record_bytes_total", record as u64),
        ("brain_step_duration_seconds_count{outcome=\"reply\"}", 5),
        ("brain_step_duration_seconds_count{outcome=\"protocol\"}", 0),
        ("tool_call_duration_seconds_count{status=\"success\",tool=\"edit_file\"}", 1),
        ("tool_call_duration_seconds_count{status=\"failure\",tool=\"read_file\"}", 1),
        ("tool_call_duration_seconds_count{status=\"success\",tool=\"run_command\"}", 1),
        ("tool_call_duration_seconds_bucket{status=\"success\",tool=\"run_command\",le=\"0.1\"}", 0),
        ("tool_call_duration_seconds_count{status=\"failure\",tool=\"unknown\"}", 1),
        ("http_request_duration_seconds_count{method=\"POST\",route=\"/tasks\",status=\"202\"}", 1),
        ("http_request_duration_seconds_count{method=\"POST\",route=\"/tasks\",status=\"200\"}", 1),
        ("http_request_duration_seconds_count{method=\"GET\",route=\"/metrics\",status=\"200\"}", 1),
        ("tasks{status=\"queued\"}", 0),
        ("tasks{status=\"running\"}", 0),
        ("queue_oldest_age_seconds", 0),
        ("leases_lost_total", 0),
        ("tasks_requeued_total", 0),
        ("workers", 1),
    ] {
        assert_eq!(count(&text, series), expected, "{series}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(count(&text, &format!("build_info{{version=\"{version}\"}}")), 1);
    let took = value(&text, "tool_call_duration_seconds_sum{status=\"success\",tool=\"run_command\"}");
    assert!((0.1..60.0).contains(&took), "{took}");
    assert!(value(&text, "database_size_bytes") > 4096.0);
    assert!(value(&text, "database_wal_bytes") > 0.0);
}

#[tokio::test]
async fn a_task_that_fails_is_counted_by_its_reason() {
    let brain = Brain::start(|seen, _| match seen.task_id().as_str() {
        "unknown" => Reply::json(&json!({"event": "dance"})),
        "protocol" => Reply::Json("[1]".to_owned()),
        "refused" => Reply::Status(400, Vec::new(), String::new()),
        "gone" => Reply::Status(503, vec![("retry-after", "0".to_owned())], String::new()),
        _ => Reply::Silence,
    })
    .await;
    let service = Service::start(&brain.url, &[("MCP_RETRIES", "1")]).await;
    for id in ["unknown", "protocol", "refused", "gone"] {
        assert_eq!(service.finish(&json!({"task_id": id, "instruction": "x"})).await["status"], "failed");
    }
    let limited = json!({"task_id": "late", "instruction": "x", "deadline_seconds": 1});
    service.finish(&limited).await;
    let text = scrape(&service).await;
    for (series, expected) in [
        ("tasks_ended_total{status=\"failed\"}", 5),
        ("tasks_failed_total{code=\"unknown_event\"}", 1),
        ("tasks_failed_total{code=\"brain_protocol\"}", 2),
        ("tasks_failed_total{code=\"brain_unreachable\"}", 1),
        ("tasks_failed_total{code=\"deadline_exceeded\"}", 1),
        ("tasks_failed_total{code=\"internal\"}", 0),
        ("brain_step_duration_seconds_count{outcome=\"protocol\"}", 3),
        ("brain_step_duration_seconds_count{outcome=\"stopped\"}", 1),
        // The brain is silent when it is told of the deadline, too.
        ("brain_step_duration_seconds_count{outcome=\"unreachable\"}", 2),
    ] {
        assert_eq!(count(&text, series), expected, "{series}");
    }
}

#[tokio::test]
async fn no_word_of_a_client_or_a_brain_is_in_the_text() {
    let service = Service::start("script:", &[]).await;
    let script = json!([call("canary-tool", &json!({})), {"event": "canary-event"}]);
    service.finish(&json!({"task_id": "canary-task", "instruction": "canary", "script": script})).await;
    for (method, path, status) in [
        ("GET", "/tasks/canary-task", 200),
        ("GET", "/tasks/canary-task/log?after=0", 200),
        ("GET", "/tasks/canary-none", 404),
        ("GET", "/canary/path", 404),
        ("GET", "/docs/canary.js", 404),
        ("CANARY", "/tasks", 405),
        ("DELETE", "/tasks/canary-task", 204),
    ] {
        assert_eq!(send(service.request(method, path)).await.status, status, "{method} {path}");
    }
    let text = scrape(&service).await;
    assert!(!text.to_lowercase().contains("canary"), "{text}");
    let requests = "http_request_duration_seconds_count";
    for labels in [
        "{method=\"GET\",route=\"/tasks/{id}/log\",status=\"200\"}",
        "{method=\"GET\",route=\"/tasks/{id}\",status=\"404\"}",
        "{method=\"GET\",route=\"unmatched\",status=\"404\"}",
        "{method=\"other\",route=\"/tasks\",status=\"405\"}",
    ] {
        assert_eq!(count(&text, &format!("{requests}{labels}")), 1, "{labels}");
    }
}

#[tokio::test]
async fn both_pages_want_a_token_where_one_is_set() {
    let service = Service::start("script:", &[("API_TOKENS", "correct-horse")]).await;
    for path in ["/metrics", "/stats"] {
        assert_eq!(service.get(path).await.status, 401);
        let request = service.request("GET", path).header("authorization", "Bearer correct-horse");
        let answer = send(request).await;
        assert_eq!(answer.status, 200);
        let refused = "http_request_duration_seconds_count{method=\"GET\",route=\"/metrics\",status=\"401\"}";
        assert!(path != "/metrics" || count(&answer.text(), refused) == 1);
    }
}

#[tokio::test]
async fn an_autoscaler_hears_how_much_there_is_to_do_and_who_does_it() {
    let brain = Brain::start(|seen, _| match seen.event().as_str() {
        "start" => Reply::Silence,
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[("MAX_RUNNING", "1")]).await;
    let stats = async || service.get("/stats").await.json();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(service.submit(&json!({"instruction": "x"})).await);
    }
    eventually("one runs, and two wait for some time", async || {
        let now = stats().await;
        now["running"] == 1 && now["queued"] == 2 && now["oldest_age_seconds"].as_f64().unwrap() > 0.0
    })
    .await;
    let (now, text) = (stats().await, scrape(&service).await);
    assert_eq!((&now["unfinished"], &now["capacity"]), (&3.into(), &1.into()));
    let workers = now["workers"].as_array().unwrap();
    assert_eq!((workers.len(), &workers[0]["capacity"], &workers[0]["running"]), (1, &1.into(), &1.into()));
    assert!(workers[0]["id"].as_str().is_some_and(|id| !id.is_empty()));
    for at in ["started_at", "seen_at"] {
        assert!(workers[0][at].as_str().unwrap().ends_with('Z'), "{now}");
    }
    let figures = [("tasks{status=\"queued\"}", 2), ("tasks{status=\"running\"}", 1), ("capacity_tasks", 1)];
    for (series, expected) in figures {
        assert_eq!(count(&text, series), expected);
    }
    assert!(value(&text, "queue_oldest_age_seconds") >= now["oldest_age_seconds"].as_f64().unwrap());

    // Those first that wait: they end at once.
    for id in tasks.iter().rev() {
        assert_eq!(service.post(&format!("/tasks/{id}/cancel"), "").await.status, 202);
        service.ended(id).await;
        // Again: it is counted once.
        assert_eq!(service.post(&format!("/tasks/{id}/cancel"), "").await.status, 202);
    }
    let now = stats().await;
    assert_eq!((&now["unfinished"], &now["oldest_age_seconds"]), (&0.into(), &0.0.into()));
    let text = scrape(&service).await;
    assert_eq!(count(&text, "tasks_ended_total{status=\"cancelled\"}"), 3);
}

#[tokio::test]
async fn without_the_database_the_process_still_tells_what_it_knows() {
    let service = Service::start("script:", &[]).await;
    let file = service.home.output().join("codex-agent.db");
    let mut other = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    other.execute("ALTER TABLE tasks RENAME TO elsewhere").await.unwrap();
    eventually("the table is missed", async || service.get("/stats").await.status == 503).await;
    let text = scrape(&service).await;
    assert!(!text.contains("codex_agent_tasks{") && !text.contains("codex_agent_workers"), "{text}");
    assert_eq!(count(&text, "tasks_submitted_total"), 0);
    other.execute("ALTER TABLE elsewhere RENAME TO tasks").await.unwrap();
    other.close().await.unwrap();
    eventually("it is there again", async || service.get("/stats").await.status == 200).await;
    assert_eq!(count(&scrape(&service).await, "tasks{status=\"queued\"}"), 0);
}
