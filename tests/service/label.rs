//! `PUT /tasks/{id}/label`.

use serde_json::{Value, json};

use crate::common::brain::{Brain, Reply};
use crate::common::{Answer, Service, eventually, send};

async fn label(service: &Service, id: &str, verdict: &Value) -> Answer {
    let request = service.request("PUT", &format!("/tasks/{id}/label"));
    send(request.header("content-type", "application/json").body(verdict.to_string())).await
}

#[tokio::test]
async fn a_verdict_stands_on_the_task_until_another_one_does() {
    let service = Service::start("script:", &[]).await;
    let task = service.finish(&json!({"instruction": "x", "script": [{"event": "finish"}]})).await;
    let id = task["task_id"].as_str().unwrap();
    assert_eq!(task.get("label"), None);

    let note = "because \0 of ü";
    let verdict = json!({"outcome": "accepted", "reward": 0.75, "note": note});
    let answer = label(&service, id, &verdict).await;
    let (tag, told) = (answer.header("etag").to_owned(), answer.json());
    assert_eq!((answer.status, tag.is_empty()), (200, false), "{}", answer.text());
    let at = told["label"]["at"].as_str().unwrap();
    assert!(at >= told["finished_at"].as_str().unwrap());
    assert_eq!(told["label"], json!({"outcome": "accepted", "reward": 0.75, "note": note, "at": at}));

    // The same again is the same answer, whatever it looks like.
    let again = label(&service, id, &json!({"note": note, "reward": 7.5e-1, "outcome": "accepted"})).await;
    assert_eq!((again.header("etag"), again.json()), (tag.as_str(), told.clone()));
    let known = service.request("GET", &format!("/tasks/{id}")).header("if-none-match", &tag);
    assert_eq!(send(known).await.status, 304);

    let other = label(&service, id, &json!({"outcome": null, "reward": -1})).await;
    assert_ne!(other.header("etag"), tag);
    let read = service.get(&format!("/tasks/{id}")).await;
    assert_eq!((read.header("etag"), read.json()), (other.header("etag"), other.json()));
    let label = &read.json()["label"];
    assert_eq!((&label["outcome"], &label["reward"], &label["note"]), (&json!(null), &json!(-1.0), &json!(null)));
    assert_eq!(service.get("/tasks").await.json()["tasks"][0]["label"], *label);

    let (home, _) = service.stop().await;
    let service = Service::start_in(home, "script:", &[]).await;
    assert_eq!(service.get(&format!("/tasks/{id}")).await.json()["label"], *label);
}

#[tokio::test]
async fn a_task_that_runs_gets_no_verdict_and_no_event_of_before_tells_of_one() {
    let brain = Brain::start(|_, _| Reply::Silence).await;
    let service = Service::start(&brain.url, &[]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    eventually("the brain is asked", async || brain.saw("start")).await;
    let refused = label(&service, &id, &json!({"reward": 1})).await;
    assert_eq!((refused.status, refused.header("content-type")), (409, "application/problem+json"));
    assert!(refused.text().contains("the task is running"), "{}", refused.text());

    service.post(&format!("/tasks/{id}/cancel"), "").await;
    service.ended(&id).await;
    assert_eq!(label(&service, &id, &json!({"outcome": "rejected"})).await.status, 200);
    let events = service.get(&format!("/tasks/{id}/events")).await.text();
    let told: Vec<_> = events.lines().filter(|line| line.contains("\"task_id\"")).collect();
    let labelled: Vec<_> = told.iter().map(|line| line.contains("\"label\"")).collect();
    assert_eq!(labelled, [false, false, true], "{events}");
}
