//! Clients of a cluster: each asks any node, and another one if that does not answer.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::common::{Answer, client_builder};

/// Longer than a node takes that is well; others are given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Before the next node is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// How many tasks a page of the list has.
const PAGE: u32 = 200;

/// Somebody who knows where the nodes are.
#[derive(Clone)]
pub struct Clients {
    client: Client,
    urls: watch::Receiver<Vec<String>>,
}

impl Clients {
    pub fn of(urls: watch::Receiver<Vec<String>>) -> Self {
        let client = client_builder().timeout(PATIENCE).pool_idle_timeout(PATIENCE).build().unwrap();
        Self { client, urls }
    }

    /// An answer that is not "not now", from whichever node.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        loop {
            if let Some(answer) = self.ask_one(method, path, body).await
                && answer.status != 503
            {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask_one(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let url = fastrand::choice(self.urls.borrow().iter().cloned().collect::<Vec<_>>())?;
        let mut request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{url}{path}"));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Some(Answer { status, headers, body: response.bytes().await.ok()?.to_vec() })
    }

    /// Submits these tasks, spread over that time, each until it is accepted.
    pub async fn submit(&self, tasks: u64, time: Duration) {
        let mut moments = tokio::time::interval(time / u32::try_from(tasks).unwrap());
        let mut submitting = tokio::task::JoinSet::new();
        for number in 0..tasks {
            moments.tick().await;
            let clients = self.clone();
            submitting.spawn(async move {
                let task = json!({"task_id": name(number), "instruction": "x", "max_iterations": 50});
                let answer = clients.ask("POST", "/tasks", Some(&task)).await;
                assert!([200, 202].contains(&answer.status), "{}: {}", answer.status, answer.text());
            });
        }
        submitting.join_all().await;
    }

    /// Looks at the list all the while, and fails if anything that was seen to have ended is seen otherwise.
    pub async fn watch(&self) {
        let mut ended: HashMap<String, String> = HashMap::new();
        loop {
            let page = self.ask("GET", &format!("/tasks?limit={PAGE}"), None).await.json();
            for task in page["tasks"].as_array().unwrap() {
                let (id, end) = (task["task_id"].as_str().unwrap(), &task["finished_at"]);
                if !end.is_null() {
                    let seen = format!("{} at {end}", task["status"]);
                    let before = ended.entry(id.to_owned()).or_insert_with(|| seen.clone());
                    assert_eq!(*before, seen, "{id}");
                } else if let Some(before) = ended.get(id) {
                    panic!("{id} was {before} and is {}", task["status"]);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What the n-th task is called.
pub fn name(number: u64) -> String {
    format!("task-{number}")
}
