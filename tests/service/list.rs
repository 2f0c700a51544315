//! `GET /tasks`.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::common::Service;
use crate::common::brain::{Brain, Reply};

#[tokio::test]
async fn each_of_500_tasks_is_listed_once_while_new_ones_arrive() {
    let brain = Brain::start(|_, _| Reply::finish()).await;
    let service = Service::start(&brain.url, &[]).await;
    for batch in 0..10 {
        let tasks = (0..50).map(|n| json!({"instruction": "x", "task_id": format!("t-{batch}-{n}")}));
        futures_util::future::join_all(tasks.map(async |task| service.submit(&task).await)).await;
    }

    let (mut seen, mut cursor, mut arrived, mut last) = (HashMap::<String, u32>::new(), String::new(), 0, i64::MAX);
    loop {
        let page = service.get(&format!("/tasks?limit=37{cursor}")).await.json();
        for task in page["tasks"].as_array().unwrap() {
            *seen.entry(task["task_id"].as_str().unwrap().to_owned()).or_default() += 1;
            let order = created(task);
            assert!(order <= last, "newest first");
            last = order;
        }
        service.submit(&json!({"instruction": "x", "task_id": format!("new-{arrived}")})).await;
        arrived += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 500);
    assert!(seen.iter().all(|(id, count)| id.starts_with("t-") && *count == 1));
    assert!(arrived > 10);
}

#[tokio::test]
async fn a_status_narrows_the_list_and_the_default_page_has_fifty() {
    let brain =
        Brain::start(
            |seen, _| if seen.json()["payload"]["task"]["hold"].is_null() { Reply::finish() } else { Reply::Silence },
        )
        .await;
    let service = Service::start(&brain.url, &[("MAX_RUNNING", "60")]).await;
    for n in 0..51 {
        service.submit(&json!({"instruction": "x", "task_id": format!("done-{n}")})).await;
    }
    for n in 0..51 {
        service.ended(&format!("done-{n}")).await;
    }
    service.submit(&json!({"instruction": "x", "task_id": "held", "hold": 1})).await;
    crate::common::eventually("the held task runs", async || {
        service.get("/tasks/held").await.json()["status"] == "running"
    })
    .await;
    let ids = |page: Value| -> Vec<String> {
        page["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(service.get("/tasks?status=running").await.json()), ["held"]);
    assert_eq!(ids(service.get("/tasks?status=failed").await.json()), [""; 0]);
    let page = service.get("/tasks").await.json();
    assert_eq!((ids(page.clone()).len(), &ids(page.clone())[0]), (50, &"held".to_owned()));
    let next = page["next_cursor"].as_str().unwrap();
    let rest = service.get(&format!("/tasks?status=succeeded&cursor={next}")).await.json();
    assert_eq!(
        (ids(rest.clone()), &rest["next_cursor"]),
        (vec!["done-1".to_owned(), "done-0".to_owned()], &json!(null))
    );
}

/// Times are in one format and one zone, so their digits order them.
fn created(task: &Value) -> i64 {
    let digits: String = task["created_at"].as_str().unwrap().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
