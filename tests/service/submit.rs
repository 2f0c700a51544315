//! `POST /tasks` and `GET /tasks/{id}`.

use serde_json::json;

use crate::common::brain::{Brain, Reply, call, finish};
use crate::common::{Service, send};

#[tokio::test]
async fn a_task_runs_to_its_end_and_its_record_comes_back() {
    let brain = Brain::script(vec![
        call("edit_file", &json!({"file_path": "a.txt", "new_content": "one\n"})),
        call("run_command", &json!({"command": "cat a.txt"})),
        finish(),
    ])
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "write a file"})).await;
    assert_eq!(task["status"], "succeeded");
    assert_eq!(task["summary"], "done");
    assert_eq!((&task["iteration"], &task["attempt"], &task["max_iterations"]), (&json!(3), &json!(1), &json!(7)));
    assert_eq!(std::fs::read_to_string(service.home.code().join("a.txt")).unwrap(), "one\n");

    let id = task["task_id"].as_str().unwrap();
    let record = service.record(id).await;
    assert_eq!(record.iter().map(|line| line["iteration"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(record[2]["agent_input"]["result"]["stdout"], "one\n");
    assert_eq!(record[2]["mcp_reply"], finish());
    let fields: Vec<_> = record[2].as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields.len(), 6, "{fields:?}");
    let on_disk = std::fs::read_to_string(service.home.record(id)).unwrap();
    assert!(on_disk.starts_with("{\"iteration\":1,\"agent_input\":{\"event\":\"start\","));

    let meta = service.filed(id).await;
    assert_eq!(meta["task"], json!({"instruction": "write a file"}));
    assert_eq!((&meta["status"], &meta["outcome"]["summary"]), (&json!("succeeded"), &json!("done")));
    let tools: Vec<_> = meta["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(tools, ["edit_file", "read_file", "run_command"]);
    assert_eq!(meta["tools"][2]["parameters"]["required"], json!(["command"]));
    assert_eq!(meta["tools"][2]["parameters"]["additionalProperties"], json!(false));
}

#[tokio::test]
async fn the_same_submission_again_is_the_same_task() {
    let brain = Brain::script(vec![finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    let body = r#"{"instruction": "x", "task_id": "job-1"}"#;
    let first = service.post("/tasks", body).await;
    assert_eq!((first.status, first.header("location")), (202, "/tasks/job-1"));
    service.ended("job-1").await;
    // White space is no difference; a value is.
    let again = service.post("/tasks", r#"{"instruction":"x","task_id":"job-1"}"#).await;
    assert_eq!((again.status, again.json()["status"].clone()), (200, json!("succeeded")));
    let other = service.post("/tasks", r#"{"instruction":"y","task_id":"job-1"}"#).await;
    assert_eq!((other.status, other.header("content-type")), (409, "application/problem+json"));
    assert_eq!(brain.seen().len(), 1);

    let keyed = |body: &'static str| {
        let request = service.request("POST", "/tasks").header("content-type", "application/json");
        send(request.header("idempotency-key", "k-1").body(body))
    };
    let first = keyed(r#"{"instruction":"x"}"#).await;
    let again = keyed(r#"{"instruction":"x"}"#).await;
    assert_eq!((first.status, again.status), (202, 200));
    assert_eq!(first.json()["task_id"], again.json()["task_id"]);
    assert_eq!(keyed(r#"{"instruction":"y"}"#).await.status, 409);
}

#[tokio::test]
async fn one_of_many_simultaneous_submissions_of_an_id_creates_it() {
    let brain = Brain::script(vec![finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    let all = (0..32).map(|_| service.post("/tasks", r#"{"instruction":"x","task_id":"once"}"#));
    let statuses: Vec<u16> = futures_util::future::join_all(all).await.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 31, "{statuses:?}");
    service.ended("once").await;
    assert_eq!(brain.seen().len(), 1);
}

#[tokio::test]
async fn a_submission_can_wait_for_the_end() {
    let brain = Brain::script(vec![finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    let request = service.request("POST", "/tasks").header("content-type", "application/json");
    let answer = send(request.header("prefer", "respond-async, wait=30").body(r#"{"instruction":"x"}"#)).await;
    assert_eq!((answer.status, answer.header("preference-applied")), (202, "wait=30"));
    assert_eq!(answer.json()["status"], "succeeded");
}

#[tokio::test]
async fn a_poll_is_answered_when_something_changes_and_spared_when_nothing_has() {
    let brain = Brain::start(|_, _| Reply::Silence).await;
    let service = Service::start(&brain.url, &[]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    crate::common::eventually("the task runs", async || {
        service.get(&format!("/tasks/{id}")).await.json()["status"] == "running"
    })
    .await;
    let answer = service.get(&format!("/tasks/{id}")).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let tag = answer.header("etag").to_owned();
    let known =
        |wait: &str| send(service.request("GET", &format!("/tasks/{id}{wait}")).header("if-none-match", tag.clone()));
    assert_eq!(known("").await.status, 304);
    assert_eq!(known("?wait=1").await.status, 304);
    let cancel = format!("/tasks/{id}/cancel");
    let (waiting, cancelled) = tokio::join!(known("?wait=60"), service.post(&cancel, ""));
    assert_eq!((waiting.status, cancelled.status), (200, 202));
    assert_ne!(waiting.header("etag"), tag);
}

#[tokio::test]
async fn the_queue_has_an_end_and_an_order() {
    let brain = Brain::start(|seen, _| match seen.task_id().as_str() {
        "blocker" => Reply::Silence,
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[("MAX_RUNNING", "1"), ("MAX_QUEUED", "3")]).await;
    service.submit(&json!({"instruction": "x", "task_id": "blocker"})).await;
    crate::common::eventually("the blocker runs", async || brain.seen().len() == 1).await;
    for (id, priority) in [("low", -1), ("first", 0), ("urgent", 5)] {
        service.submit(&json!({"instruction": "x", "task_id": id, "priority": priority})).await;
    }
    let full = service.post("/tasks", r#"{"instruction":"x","task_id":"too-many"}"#).await;
    assert_eq!((full.status, full.header("retry-after")), (503, "10"));
    assert_eq!(service.get("/tasks/too-many").await.status, 404);
    assert_eq!(service.post("/tasks/blocker/cancel", "").await.status, 202);
    service.ended("low").await;
    let order: Vec<_> =
        brain.seen().iter().filter(|s| s.event() == "start").map(super::common::brain::Seen::task_id).collect();
    assert_eq!(order, ["blocker", "urgent", "first", "low"]);
}

#[tokio::test]
async fn an_ended_task_can_be_deleted_with_all_its_files() {
    let brain = Brain::script(vec![finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    service.finish(&json!({"instruction": "x", "task_id": "gone"})).await;
    assert_eq!(send(service.request("DELETE", "/tasks/gone")).await.status, 204);
    for path in ["/tasks/gone", "/tasks/gone/log"] {
        assert_eq!(service.get(path).await.status, 404);
    }
    assert_eq!(send(service.request("DELETE", "/tasks/gone")).await.status, 404);
    crate::common::eventually("no file is left", async || {
        std::fs::read_dir(service.home.output().join("finetuning_data")).unwrap().count() == 0
    })
    .await;
    // The name is free again, and the new task has nothing of the old one.
    service.finish(&json!({"instruction": "y", "task_id": "gone"})).await;
    assert_eq!(service.record("gone").await.len(), 1);
}
