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

#[tokio::test]
async fn labels_times_and_workspaces_narrow_the_list() {
    let service = Service::start("script:", &[]).await;
    std::fs::create_dir(service.home.code().join("repo")).unwrap();
    let mut created = Vec::new();
    for (name, more) in [
        ("a", json!({"labels": {"team": "red", "batch": "1"}})),
        ("b", json!({"labels": {"team": "blue & green"}, "workspace": "repo"})),
        ("c", json!({"labels": {"team": "red"}, "workspace": "repo"})),
        ("d", json!({})),
    ] {
        let mut task = json!({"instruction": "x", "task_id": name, "script": [{"event": "finish"}]});
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let ended = service.finish(&task).await;
        created.push(ended["created_at"].as_str().unwrap().to_owned());
    }
    let listed = async |query: &str| -> String {
        let answer = service.get(&format!("/tasks?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let page = answer.json();
        let ids = page["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    for (query, names) in [
        ("label=team", "cba"),
        ("label=team=red", "ca"),
        ("label=team%3Dblue%20%26+green", "b"),
        ("label=team&label=batch", "a"),
        ("label=red", ""),
        ("workspace=repo", "cb"),
        ("workspace=repo/", ""),
        ("workspace=repo&label=team=red&status=succeeded,failed", "c"),
        ("workspace=repo&label=team=red&status=failed,queued", ""),
        ("since=2000-01-01", "dcba"),
        ("until=2000-01-01", ""),
        ("since=2999-01-01T00:00:00%2B14:00&label=team", ""),
    ] {
        assert_eq!(listed(query).await, names, "{query}");
    }
    // From the moment of one to before that of another.
    if created[1] < created[2] && created[2] < created[3] {
        assert_eq!(listed(&format!("since={}&until={}", created[1], created[3])).await, "cb");
        assert_eq!(listed(&format!("since={}&until={}", created[1], created[2])).await, "b");
    }
    let page = service.get("/tasks?label=team&limit=2").await.json();
    let next = page["next_cursor"].as_str().unwrap();
    assert_eq!(listed(&format!("label=team&limit=2&cursor={next}")).await, "a");
}

/// Times are in one format and one zone, so their digits order them.
fn created(task: &Value) -> i64 {
    let digits: String = task["created_at"].as_str().unwrap().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
