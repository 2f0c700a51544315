//! The suite: what holds whichever way a brain is spoken to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::common::brain::call;
use crate::common::{Service, eventually};
use crate::peer::{Peer, Question, Reply};
use crate::way::Way;

/// A task whose brain is told its name, whatever it is told besides.
pub fn task(name: &str) -> Value {
    json!({"task_id": name, "instruction": format!("name={name} is what this is called")})
}

pub fn finish(summary: &str) -> Reply {
    Reply::Json(json!({"event": "finish", "summary": summary}))
}

pub fn code(task: &Value) -> &str {
    task["error"]["code"].as_str().unwrap_or("none")
}

pub fn message(task: &Value) -> &str {
    task["error"]["message"].as_str().unwrap_or("none")
}

fn missing(name: &str) -> Reply {
    Reply::Json(call("read_file", &json!({"file_path": format!("{name}.txt")})))
}

/// The iterations are 1, 2, 3, … to `last`, each with a reply.
async fn assert_whole(service: &Service, id: &str, last: u64) -> Vec<Value> {
    let record = service.record(id).await;
    let iterations: Vec<_> = record.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
    assert_eq!(iterations, (1..=last).collect::<Vec<_>>(), "{id}");
    assert!(record.iter().all(|line| line["mcp_reply"].is_object()), "{id}");
    record
}

pub async fn a_task_is_done_and_recorded(way: Way) {
    let peer = Peer::start(way, |question: Question| async move {
        let edit = json!({"file_path": "made.txt", "new_content": "made\n"});
        match question.iteration {
            1 => Reply::Json(call("edit_file", &edit)),
            2 => Reply::Json(call("run_command", &json!({"command": "cat made.txt"}))),
            _ => finish(question.payload["result"]["stdout"].as_str().unwrap().trim_end()),
        }
    })
    .await;
    let service = way.service(&peer, &[]).await;
    let done = service.finish(&task("one")).await;
    assert_eq!((&done["status"], &done["summary"]), (&json!("succeeded"), &json!("made")));
    let record = assert_whole(&service, "one", 3).await;
    assert_eq!(record[2]["agent_input"]["result"]["returncode"], 0);
    assert_eq!(std::fs::read_to_string(service.home.code().join("made.txt")).unwrap(), "made\n");
    let heard = peer.heard();
    assert_eq!(heard.iter().map(|question| question.iteration).collect::<Vec<_>>(), [1, 2, 3]);
    if way.resyncs() {
        let keys: Vec<_> = heard.iter().map(|question| question.key.as_deref().unwrap()).collect();
        assert_eq!(keys, ["one/1", "one/2", "one/3"]);
    }
    assert!(heard.iter().all(|question| question.connection == 0), "one connection is enough for one task");
}

pub async fn a_reply_is_kept_as_it_was_sent(way: Way) {
    const ARGUMENTS: &str = r#"{"z":1180591620717411303424,"file_path":"é\u00e9","a":1e-7,"b":0.10}"#;
    let peer = Peer::start(way, |question: Question| async move {
        match question.iteration {
            1 => Reply::Raw(format!(r#"{{"event":"tool_call","name":"read_file","arguments":{ARGUMENTS}}}"#)),
            _ => finish("done"),
        }
    })
    .await;
    let service = way.service(&peer, &[]).await;
    assert_eq!(service.finish(&task("raw")).await["status"], "succeeded");
    let text = service.get("/tasks/raw/log").await.text();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains(ARGUMENTS), "{}", lines[0]);
    assert!(lines[1].contains(ARGUMENTS), "{}", lines[1]);
}

pub async fn two_hundred_tasks_at_once_get_their_own_replies(way: Way) {
    const TASKS: usize = 200;
    let at_once = Arc::new((AtomicUsize::new(0), Notify::new()));
    let counted = Arc::clone(&at_once);
    let peer = Peer::start(way, move |question: Question| {
        let counted = Arc::clone(&counted);
        async move {
            let (first, name) = (question.iteration == 1, question.task_id);
            if first {
                // Nobody gets an answer until all have asked.
                let all = counted.1.notified();
                if counted.0.fetch_add(1, Ordering::SeqCst) + 1 == TASKS {
                    counted.1.notify_waiters();
                } else {
                    all.await;
                }
            }
            if question.iteration < 3 { missing(&name) } else { finish(&name) }
        }
    })
    .await;
    let service = way.service(&peer, &[]).await;
    let names: Vec<_> = (0..TASKS).map(|number| format!("t{number}")).collect();
    futures_util::future::join_all(names.iter().map(async |name| service.submit(&task(name)).await)).await;
    for name in &names {
        let done = service.ended(name).await;
        assert_eq!((&done["status"], &done["summary"]), (&json!("succeeded"), &json!(name)), "{done}");
        let record = assert_whole(&service, name, 3).await;
        assert_eq!(record[2]["agent_input"]["arguments"]["file_path"], format!("{name}.txt"));
    }
    if way.is_shared() {
        assert!(peer.heard().iter().all(|question| question.connection == 0), "one connection carries all tasks");
    }
}

pub async fn replies_come_in_any_order(way: Way) {
    const TASKS: usize = 20;
    // Each waits for the one that came after it.
    let gates: Arc<Vec<Notify>> = Arc::new((0..=TASKS).map(|_| Notify::new()).collect());
    let (count, order) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (told, opened) = (Arc::clone(&order), Arc::clone(&gates));
    let peer = Peer::start(way, move |question: Question| {
        let (gates, order) = (Arc::clone(&opened), Arc::clone(&told));
        let place = count.fetch_add(1, Ordering::SeqCst);
        async move {
            gates[place + 1].notified().await;
            order.lock().unwrap().push(place);
            gates[place].notify_one();
            finish(&question.task_id)
        }
    })
    .await;
    let service = way.service(&peer, &[]).await;
    for number in 0..TASKS {
        service.submit(&task(&format!("t{number}"))).await;
    }
    eventually("all have asked", async || peer.heard().len() == TASKS).await;
    gates[TASKS].notify_one();
    for number in 0..TASKS {
        let name = format!("t{number}");
        assert_eq!(service.ended(&name).await["summary"], name);
    }
    assert_eq!(*order.lock().unwrap(), (0..TASKS).rev().collect::<Vec<_>>());
    assert_eq!(peer.heard().len(), TASKS, "nothing was asked twice");
}

pub async fn a_brain_that_is_killed_and_comes_back_loses_no_task(way: Way) {
    const TASKS: usize = 20;
    let second_life = Arc::new(AtomicBool::new(false));
    let alive = Arc::clone(&second_life);
    let mut peer = Peer::start(way, move |question: Question| {
        let second = alive.load(Ordering::SeqCst);
        async move {
            match (question.iteration, second) {
                (1, _) => Reply::Json(call("run_command", &json!({"command": "echo once"}))),
                (2, false) => Reply::Never,
                // It has lost everything, and says so where the way has a word for it.
                (2, true) if question.key.is_some() && question.history.is_none() => {
                    Reply::Json(json!({"event": "resync"}))
                }
                _ => finish(&question.task_id),
            }
        }
    })
    .await;
    let service = way.service(&peer, &[]).await;
    for number in 0..TASKS {
        service.submit(&task(&format!("t{number}"))).await;
    }
    let waiting = || peer.heard().iter().filter(|question| question.iteration == 2).count();
    eventually("all wait for their second reply", async || waiting() == TASKS).await;
    peer.kill();
    second_life.store(true, Ordering::SeqCst);
    peer.come_back().await;
    for number in 0..TASKS {
        let name = format!("t{number}");
        assert_eq!(service.ended(&name).await["status"], "succeeded");
        let record = assert_whole(&service, &name, 2).await;
        assert_eq!(record[1]["agent_input"]["result"]["stdout"], "once\n");
    }
    let mut told: HashMap<(String, u32), Question> = HashMap::new();
    for question in peer.heard() {
        let first = told.entry((question.task_id.clone(), question.iteration)).or_insert_with(|| question.clone());
        assert_eq!((&first.key, &first.payload), (&question.key, &question.payload), "the same step says the same");
        if let Some(history) = &question.history {
            assert_eq!((history.len(), &history[0]["mcp_reply"]["name"]), (1, &json!("run_command")));
        }
    }
}

pub async fn a_slow_brain_is_waited_for(way: Way) {
    let peer = Peer::start(way, |_| async {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        finish("late")
    })
    .await;
    let service = way.service(&peer, &[("MCP_TIMEOUT", "60")]).await;
    assert_eq!(service.finish(&task("slow")).await["summary"], "late");
    assert_eq!(peer.heard().len(), 1);
}

pub async fn a_silent_brain_is_unreachable_after_the_tries(way: Way) {
    let peer = Peer::start(way, |_| async { Reply::Never }).await;
    let service = way.service(&peer, &[("MCP_TIMEOUT", "1"), ("MCP_RETRIES", "1")]).await;
    let task = service.finish(&task("silent")).await;
    assert_eq!(code(&task), "brain_unreachable", "{task}");
    assert!(message(&task).contains("2 tries") && message(&task).contains("timed out"), "{}", message(&task));
    assert_eq!(peer.heard().len(), 2);
}

pub async fn the_key_is_shown_and_a_wrong_one_is_told_and_neither_is_logged(way: Way) {
    const RIGHT: &str = "sk-right-0123456789-abcdefgh";
    const WRONG: &str = "sk-wrong-0123456789-abcdefgh";
    let peer = Peer::start(way, |question: Question| async move {
        match question.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer ")) {
            // A brain that sends back what it was sent.
            Some(key) if key == RIGHT => finish(&format!("known as {key}")),
            _ => Reply::Status(401, None),
        }
    })
    .await;
    let service = way.service(&peer, &[("OPENAI_API_KEY", RIGHT), ("RUST_LOG", "trace")]).await;
    let known = service.finish(&task("right")).await;
    assert_eq!(known["status"], "succeeded", "{known}");
    let log = service.get("/tasks/right/log").await.text();
    assert!(!log.contains(RIGHT) && !known.to_string().contains(RIGHT), "{log}");
    assert!(!service.log().contains(RIGHT), "the key is in the log");
    let before = peer.heard().len();
    let service = way.service(&peer, &[("OPENAI_API_KEY", WRONG), ("RUST_LOG", "trace")]).await;
    let task = service.finish(&task("wrong")).await;
    assert_eq!(code(&task), "brain_protocol", "{task}");
    let told = message(&task);
    assert!(told.contains("401") || told.contains("Unauthenticated"), "{told}");
    assert!(told.contains("because") && !told.contains(WRONG), "{told}");
    assert!(peer.heard().len() <= before + 1, "it is not asked again");
    assert!(!service.log().contains(WRONG), "the key is in the log");
}

pub async fn what_may_pass_is_asked_again_after_the_pause_that_was_asked_for(way: Way) {
    let asked = AtomicUsize::new(0);
    let peer = Peer::start(way, move |_| {
        let before = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            match before {
                0 => Reply::Status(429, Some(2)),
                1 => Reply::Status(503, None),
                _ => finish("at last"),
            }
        }
    })
    .await;
    let service = way.service(&peer, &[]).await;
    let started = Instant::now();
    assert_eq!(service.finish(&task("again")).await["summary"], "at last");
    assert!(started.elapsed() >= Duration::from_secs(2));
    let heard = peer.heard();
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(|question| question.key == heard[0].key && question.payload == heard[0].payload));
}

pub async fn a_cancelled_task_is_let_go(way: Way) {
    let peer = Peer::start(way, |question: Question| async move {
        if question.payload["event"] == "agent_abort" { finish("") } else { Reply::Never }
    })
    .await;
    let service = way.service(&peer, &[]).await;
    let id = service.submit(&task("cancelled")).await;
    eventually("it has asked", async || !peer.heard().is_empty()).await;
    assert_eq!(service.post("/tasks/cancelled/cancel", "").await.status, 202);
    assert_eq!(service.ended(&id).await["status"], "cancelled");
    let events: Vec<_> = peer.heard().iter().map(|question| question.payload["event"].clone()).collect();
    let expected = if way.resyncs() { vec![json!("start"), json!("agent_abort")] } else { vec![json!("start")] };
    assert_eq!(events, expected);
}
