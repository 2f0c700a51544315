//! A wish to cancel and the end of the task at the same moment: one of them wins, and everybody says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::bench::Bench;
use crate::common::{Service, send};

const RACES: usize = 1000;

/// Races at a time.
const AT_ONCE: usize = 32;

/// Where a task's first question waits until its race begins.
#[derive(Default)]
struct Gates(Mutex<HashMap<String, Arc<Gate>>>);

struct Gate {
    asked: Semaphore,
    open: Semaphore,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_cancelled_as_it_ends_has_exactly_one_end() {
    let gates: Arc<Gates> = Arc::default();
    let router = Router::new().route("/step", post(step)).with_state(Arc::clone(&gates));
    let brain = Bench::serving(router, "127.0.0.1:0".parse().unwrap()).await;
    let service =
        Service::start(&format!("http://{}", brain.address), &[("RUST_LOG", "warn,codex_agent::cli=info")]).await;
    let races = futures_util::stream::iter(0..RACES).map(|number| race(&service, &gates, number));
    let cancelled: Vec<bool> = races.buffer_unordered(AT_ONCE).collect().await;
    let cancelled = cancelled.into_iter().filter(|cancelled| *cancelled).count();
    println!("races: {RACES}\ncancelled: {cancelled}\nfinished: {}", RACES - cancelled);
    assert!(cancelled > 0 && cancelled < RACES, "no race: {cancelled} of {RACES} were cancelled");
}

/// Whether the cancellation won.
async fn race(service: &Service, gates: &Gates, number: usize) -> bool {
    let id = format!("race-{number}");
    let gate = gates.of(&id);
    service.submit(&json!({"instruction": "x", "task_id": id})).await;
    gate.asked.acquire().await.unwrap().forget();
    let cancel = async {
        // A head start for the other side, from none to more than it needs.
        for _ in 0..fastrand::u32(0..40) {
            tokio::task::yield_now().await;
        }
        send(service.request("POST", &format!("/tasks/{id}/cancel"))).await
    };
    gate.open.add_permits(1);
    let (answer, seen) = tokio::join!(cancel, service.ended(&id));
    let granted = match answer.status {
        202 => true,
        409 => false,
        status => panic!("{id}: {status} {}", answer.text()),
    };
    let task = service.ended(&id).await;
    assert_eq!(task["status"], if granted { "cancelled" } else { "succeeded" }, "{id}");
    // Whoever waited was told the same as whoever came later.
    assert_eq!(seen, task, "{id}");
    let lines = service.record(&id).await;
    let told: Vec<&Value> = lines.iter().map(|line| &line["agent_input"]["event"]).collect();
    let ends = lines.iter().filter(|line| line["mcp_reply"]["event"] == "finish").count();
    match told.as_slice() {
        // Also where the end was on its way when the wish was granted.
        [first] => assert_eq!((*first, ends), (&json!("start"), 1), "{id}"),
        [first, second] => {
            assert_eq!((*first, *second, granted), (&json!("start"), &json!("agent_abort"), true), "{id}");
            assert!(lines[0]["mcp_reply"].is_null(), "{id}: it went on after its end");
        }
        _ => panic!("{id}: {lines:?}"),
    }
    assert_eq!(service.filed(&id).await["status"], task["status"], "{id}");
    granted
}

impl Gates {
    fn of(&self, id: &str) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap();
        let gate = || Arc::new(Gate { asked: Semaphore::new(0), open: Semaphore::new(0) });
        Arc::clone(gates.entry(id.to_owned()).or_insert_with(gate))
    }
}

async fn step(State(gates): State<Arc<Gates>>, body: String) -> String {
    let body: Value = serde_json::from_str(&body).unwrap();
    if body["payload"]["event"] == "start" {
        let gate = gates.of(body["task_id"].as_str().unwrap());
        gate.asked.add_permits(1);
        gate.open.acquire().await.unwrap().forget();
    }
    json!({"event": "finish", "summary": "done"}).to_string()
}
