//! The same tasks in an SQLite file and in PostgreSQL make the same data.

use serde_json::{Value, json};

use super::{FORMATS, label, lines, planned, printed, stories, task};
use crate::common::{Home, Service, eventually};
use crate::postgres::Postgres;

/// A text with what differs from run to run made equal.
fn masked(text: &str) -> Vec<String> {
    text.lines().map(|line| equal(serde_json::from_str(line).unwrap()).to_string()).collect()
}

/// Times are those of a run, and so are durations.
fn equal(value: Value) -> Value {
    let is_time = |text: &str| text.ends_with('Z') && codex_agent::domain::parse_moment(text).is_ok();
    match value {
        Value::String(text) if is_time(&text) => json!("a time"),
        Value::Array(items) => items.into_iter().map(equal).collect(),
        Value::Object(members) => {
            let masked = |(name, value): (String, Value)| {
                let duration = name.ends_with("_ms") && value.is_u64();
                (name, if duration { json!("a duration") } else { equal(value) })
            };
            members.into_iter().map(masked).collect()
        }
        other => other,
    }
}

#[tokio::test]
async fn workers_on_postgresql_export_what_one_service_on_sqlite_does() {
    let Some(database) = Postgres::database().await else { return };
    let brain = planned().await;
    let single = Service::start(&brain.url, &[]).await;
    let (home, url) = (Home::new(), database.url());
    let code = home.code().to_str().unwrap().to_owned();
    let start = async |home: Home, role: &str| {
        let variables = [("ROLE", role), ("DATABASE_URL", &url), ("CODE_DIR", &code)];
        Service::start_in(home, &brain.url, &variables).await
    };
    let (api, _first, _second) =
        (start(home, "api").await, start(Home::new(), "worker").await, start(Home::new(), "worker").await);
    for service in [&single, &api] {
        stories(service).await;
        label(service, "other", &json!({"outcome": "accepted", "reward": 0.5, "note": "as it should be"})).await;
        // One that runs meanwhile is in none.
        service.submit(&task("held", "Wait.", &[])).await;
        eventually("it runs", async || service.get("/tasks/held").await.json()["status"] == "running").await;
    }
    // As a job of its own has it: nothing but the database, and what a service would refuse to listen with.
    let variables = [
        ("DATABASE_URL", url.as_str()),
        ("OUTPUT_DIR", "/nonexistent"),
        ("CODE_DIR", "/nonexistent"),
        ("LISTEN", "0.0.0.0:8080"),
    ];
    for format in FORMATS {
        let here = printed(&single.home, &["-q", "--format", format], &[]).await;
        let there = printed(&api.home, &["-q", "--format", format], &variables).await;
        assert_eq!(masked(&here), masked(&there), "{format}");
        assert!(!here.is_empty());
        assert_eq!(api.get(&format!("/export?format={format}")).await.text(), there, "{format}");
    }
    let dirs = [single.home.path().join("data"), api.home.path().join("data")];
    for (service, dir, variables) in [(&single, &dirs[0], &[][..]), (&api, &dirs[1], &variables[..])] {
        printed(&service.home, &["-q", "--to", dir.to_str().unwrap(), "--validation-percent", "50"], variables).await;
    }
    let [here, there] = &dirs;
    for name in ["data/train-00000.jsonl", "data/validation-00000.jsonl", "index.jsonl", "rejected.jsonl"] {
        let all = |dir| lines(dir, name).into_iter().map(equal).collect::<Vec<_>>();
        assert_eq!(all(here), all(there), "{name}");
    }
    assert_eq!((lines(here, "index.jsonl").len(), lines(here, "rejected.jsonl").len()), (3, 2));
}
