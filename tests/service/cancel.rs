//! Stopping: on request, at a deadline, when the iterations are used up, and with the service.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::brain::{Brain, Reply, call, finish};
use crate::common::{Service, eventually, processes_with, send};

/// A number of seconds that no other test sleeps, to be found in the process table.
fn sleeper(seconds: &str) -> Vec<Value> {
    vec![call("run_command", &json!({"command": format!("sleep {seconds}")})), finish()]
}

#[tokio::test]
async fn a_cancelled_command_is_gone_at_once_and_the_brain_is_told() {
    let brain = Brain::script(sleeper("60.0101")).await;
    let service = Service::start(&brain.url, &[("CMD_TIMEOUT", "90")]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    eventually("the command runs", async || !processes_with("60.0101").is_empty()).await;
    assert_eq!(send(service.request("DELETE", &format!("/tasks/{id}"))).await.status, 409);

    let asked = Instant::now();
    assert_eq!(service.post(&format!("/tasks/{id}/cancel"), "").await.status, 202);
    eventually("the command is gone", async || processes_with("60.0101").is_empty()).await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let task = service.ended(&id).await;
    assert_eq!((&task["status"], &task["error"]), (&json!("cancelled"), &json!(null)));

    let told: Vec<_> =
        brain.seen().iter().map(super::common::brain::Seen::payload).filter(|p| p["event"] == "agent_abort").collect();
    assert_eq!(told, [json!({"event": "agent_abort", "reason": "cancelled"})]);
    let record = service.record(&id).await;
    assert_eq!(record[1]["agent_input"]["result"]["returncode"], -9);
    assert_eq!(record[1]["mcp_reply"], json!(null));
    assert_eq!(record[2]["agent_input"]["event"], "agent_abort");

    assert_eq!(service.post(&format!("/tasks/{id}/cancel"), "").await.status, 202);
}

#[tokio::test]
async fn a_task_that_waits_is_cancelled_without_the_brain_and_one_that_ended_is_not() {
    let brain = Brain::start(|seen, _| match seen.task_id().as_str() {
        "blocker" if seen.event() == "start" => Reply::Silence,
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[("MAX_RUNNING", "1")]).await;
    service.submit(&json!({"instruction": "x", "task_id": "blocker"})).await;
    service.submit(&json!({"instruction": "x", "task_id": "waiting"})).await;
    let answer = service.post("/tasks/waiting/cancel", "").await;
    assert_eq!((answer.status, answer.json()["status"].clone()), (202, json!("cancelled")));
    assert_eq!(service.post("/tasks/waiting/cancel", "").await.status, 202);
    service.post("/tasks/blocker/cancel", "").await;
    service.ended("blocker").await;
    assert!(brain.seen().iter().all(|seen| seen.task_id() == "blocker"));

    service.finish(&json!({"instruction": "x", "task_id": "done"})).await;
    let answer = service.post("/tasks/done/cancel", "").await;
    assert_eq!((answer.status, answer.header("content-type")), (409, "application/problem+json"));
    assert_eq!(service.post("/tasks/none/cancel", "").await.status, 404);
}

#[tokio::test]
async fn a_deadline_ends_a_command_and_a_silent_brain() {
    let brain = Brain::start(|seen, _| match (seen.task_id().as_str(), seen.event().as_str()) {
        (_, "agent_abort") => Reply::finish(),
        ("command", _) => Reply::json(&sleeper("60.0202")[0]),
        _ => Reply::Silence,
    })
    .await;
    let service = Service::start(&brain.url, &[("CMD_TIMEOUT", "90")]).await;
    for id in ["command", "silent"] {
        service.submit(&json!({"instruction": "x", "task_id": id, "deadline_seconds": 1})).await;
    }
    for id in ["command", "silent"] {
        let task = service.ended(id).await;
        assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!("deadline_exceeded")));
        let record = service.record(id).await;
        let abort = json!({"event": "agent_abort", "reason": "deadline_exceeded"});
        assert_eq!(record.last().unwrap()["agent_input"], abort);
    }
    assert!(processes_with("60.0202").is_empty());
}

#[tokio::test]
async fn when_the_iterations_are_used_up_the_last_result_is_on_record_and_the_brain_is_told() {
    let brain = Brain::script(vec![call("run_command", &json!({"command": "echo same"})); 9]).await;
    let service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "x", "max_iterations": 2})).await;
    assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!("max_iterations")));
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    let told: Vec<_> = record.iter().map(|line| line["agent_input"]["event"].as_str().unwrap()).collect();
    assert_eq!(told, ["start", "tool_result", "tool_result", "agent_abort"]);
    assert_eq!(record[2]["agent_input"]["result"]["stdout"], "same\n");
    assert_eq!(record[2]["mcp_reply"], json!(null));
    assert_eq!(record[3]["agent_input"], json!({"event": "agent_abort", "reason": "max_iterations"}));
    assert_eq!(brain.seen().len(), 3);
}

#[tokio::test]
async fn a_brain_that_fails_at_the_abort_changes_nothing() {
    let brain = Brain::start(|seen, _| match seen.event().as_str() {
        "agent_abort" => Reply::Status(500, Vec::new(), "no".to_owned()),
        _ => Reply::Silence,
    })
    .await;
    let service = Service::start(&brain.url, &[("MCP_RETRIES", "0")]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    eventually("the brain is asked", async || brain.saw("start")).await;
    service.post(&format!("/tasks/{id}/cancel"), "").await;
    assert_eq!(service.ended(&id).await["status"], "cancelled");
    assert_eq!(service.record(&id).await.len(), 2);
}

#[tokio::test]
async fn nothing_a_command_started_is_alive_when_its_result_is_given() {
    let brain = Brain::script(vec![
        call("run_command", &json!({"command": "sh -c 'sleep 60.0303 & echo started'"})),
        call("run_command", &json!({"command": "sh -c 'sleep 60.0303'", "timeout": 1})),
        finish(),
    ])
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert!(processes_with("60.0303").is_empty());
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    assert_eq!(record[1]["agent_input"]["result"]["stdout"], "started\n");
    assert_eq!(record[2]["agent_input"]["result"]["message"], "timed out after 1 s");
}

#[tokio::test]
async fn a_stopped_service_hands_its_tasks_back_and_exits_cleanly() {
    let brain = Brain::script(vec![
        call("run_command", &json!({"command": "sleep 0.3"})),
        call("run_command", &json!({"command": "echo after"})),
        finish(),
    ])
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    let waiting = service.request("GET", &format!("/tasks/{id}/log?follow=true"));
    let mut following = tokio::task::JoinSet::new();
    following.spawn(send(waiting));
    eventually("the brain is asked", async || brain.saw("start")).await;
    let (home, code) = service.stop().await;
    assert_eq!(code, Some(0));
    assert_eq!(following.join_next().await.unwrap().unwrap().status, 200);

    let service = Service::start_in(home, &brain.url, &[]).await;
    let task = service.ended(&id).await;
    assert_eq!((&task["status"], &task["attempt"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(service.record(&id).await.len(), 3);
    let asked: Vec<_> = brain.seen().iter().map(super::common::brain::Seen::iteration).collect();
    assert_eq!(asked, [1, 2, 3]);
}

#[tokio::test]
async fn a_call_that_is_asked_for_during_the_drain_is_still_made() {
    let go = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let open = std::sync::Arc::clone(&go);
    let brain =
        Brain::start(move |seen, _| match (seen.iteration(), open.load(std::sync::atomic::Ordering::Relaxed)) {
            (1, false) => Reply::Status(503, vec![("retry-after", "0".to_owned())], String::new()),
            (1, true) => Reply::json(&call("run_command", &json!({"command": "echo done"}))),
            _ => Reply::finish(),
        })
        .await;
    let service = Service::start(&brain.url, &[("MCP_RETRIES", "100")]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    eventually("the brain is asked", async || brain.saw("start")).await;
    service.signal(rustix::process::Signal::TERM);
    eventually("the drain has begun", async || service.log().contains("stopping")).await;
    go.store(true, std::sync::atomic::Ordering::Relaxed);
    let (home, code) = service.ended_by_itself().await;
    assert_eq!(code, Some(0));
    let service = Service::start_in(home, &brain.url, &[]).await;
    service.ended(&id).await;
    assert_eq!(service.record(&id).await[1]["agent_input"]["result"]["stdout"], "done\n");
}

#[tokio::test]
async fn at_the_end_of_the_grace_period_a_command_is_interrupted_and_said_so() {
    let brain = Brain::script(sleeper("60.0404")).await;
    let service = Service::start(&brain.url, &[("SHUTDOWN_GRACE", "1"), ("CMD_TIMEOUT", "90")]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    eventually("the command runs", async || !processes_with("60.0404").is_empty()).await;
    let (home, code) = service.stop().await;
    assert_eq!(code, Some(0));
    assert!(processes_with("60.0404").is_empty());
    let service = Service::start_in(home, &brain.url, &[]).await;
    assert_eq!(service.ended(&id).await["status"], "succeeded");
    let record = service.record(&id).await;
    assert_eq!(record.len(), 2);
    assert!(record[1]["agent_input"]["result"]["message"].as_str().unwrap().starts_with("interrupted: "));
}
