//! Where the notes' program as a whole is wrong: what it leaves unrecorded, running, written twice or undone.

use serde_json::json;

use super::{Files, Ran, both, plain, python, repeating};
use crate::common::brain::{Brain, Reply, call, finish};
use crate::common::{Home, Service, processes_with};

#[tokio::test]
async fn when_the_iterations_are_used_up_the_notes_lose_the_last_result() {
    let brain = repeating(vec![call("run_command", &json!({"command": "echo same"})); 2]).await;
    let task = json!({"task_id": "used-up", "instruction": "x"});
    let Some((notes, ours)) = both(&brain, &task, &[], &[("MAX_MCP_ITERATIONS", "2")]).await else { return };
    let lines = |ran: &Ran| -> Vec<_> { ran.record.iter().cloned().map(plain).collect() };
    let (theirs, own) = (lines(&notes), lines(&ours));
    assert_eq!(theirs[..], own[..2]);
    let last = json!({"iteration": 3, "agent_input": theirs[1]["agent_input"], "mcp_reply": null});
    let abort = json!({"event": "agent_abort", "reason": "max_iterations"});
    assert_eq!(own[2..], [last, json!({"iteration": 4, "agent_input": abort, "mcp_reply": finish()})]);
    let bodies = |ran: &Ran| -> Vec<_> { ran.asked.iter().map(|seen| plain(seen.json())).collect() };
    assert_eq!(bodies(&notes), bodies(&ours));
    assert_eq!((&notes.ended["exit"], &ours.ended["error"]["code"]), (&json!(0), &json!("max_iterations")));
}

#[tokio::test]
async fn what_a_command_leaves_running_outlives_it_in_the_notes_alone() {
    let seconds = format!("60.{:07}", std::process::id());
    let script = format!("sleep {seconds} > sleeper.txt 2>&1 &\n");
    let brain = repeating(vec![call("run_command", &json!({"command": "sh start.sh"})), finish()]).await;
    let task = json!({"task_id": "left", "instruction": "x"});
    let files: &Files = &[("start.sh", script.as_bytes())];
    let Some((notes, ours)) = both(&brain, &task, files, &[]).await else { return };
    let left = processes_with(&seconds);
    assert_eq!(left.len(), 1, "the notes' own, and none of ours");
    assert_eq!(std::fs::read_link(left[0].join("cwd")).unwrap(), notes.home.code().canonicalize().unwrap());
    let pid = left[0].file_name().unwrap().to_str().unwrap().parse().ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
    assert_eq!(plain(notes.record[1].clone()), plain(ours.record[1].clone()));
}

#[tokio::test]
async fn a_brain_that_is_away_for_a_moment_ends_the_notes_program_and_not_the_task() {
    let brain = Brain::start(|_, before| match before {
        0 | 1 => Reply::Status(503, Vec::new(), "later".to_owned()),
        _ => Reply::finish(),
    })
    .await;
    let task = json!({"task_id": "away", "instruction": "x"});
    let Some((notes, ours)) = both(&brain, &task, &[], &[]).await else { return };
    assert_eq!((&notes.ended["exit"], notes.record.len()), (&json!(1), 0));
    assert!(notes.ended["stderr"].as_str().unwrap().contains("503 Server Error"));
    assert_eq!((&ours.ended["status"], ours.record.len()), (&json!("succeeded"), 1));
}

#[tokio::test]
async fn the_notes_take_an_id_that_leads_elsewhere_and_write_a_record_twice() {
    let brain = repeating(vec![finish()]).await;
    let (outside, twice) =
        (json!({"task_id": "../out", "instruction": "x"}), json!({"task_id": "t", "instruction": "x"}));
    let home = Home::new();
    for task in [&outside, &twice, &twice] {
        if python(&home, &brain.url, task, &[]).await.is_none() {
            return;
        }
    }
    assert!(home.output().join("out.jsonl").exists());
    let lines = std::fs::read_to_string(home.record("t")).unwrap();
    assert_eq!(lines.matches("{\"iteration\": 1, ").count(), 2);

    let service = Service::start(&brain.url, &[]).await;
    let answer = service.post("/tasks", outside.to_string()).await;
    assert_eq!((answer.status, answer.json()["errors"][0]["pointer"].clone()), (422, json!("#/task_id")));
    service.finish(&twice).await;
    assert_eq!(service.post("/tasks", twice.to_string()).await.status, 200);
    assert_eq!(service.record("t").await.len(), 1);
}
