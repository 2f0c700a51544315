//! The brain that needs nobody: the same promises where there is no way to it at all.

use serde_json::{Value, json};

use crate::common::brain::{call, finish};
use crate::common::{Home, Service, eventually};

fn scripted(name: &str, steps: &[Value]) -> Value {
    json!({"task_id": name, "instruction": "x", "script": steps})
}

#[tokio::test]
async fn two_hundred_scripted_tasks_at_once_get_their_own_replies() {
    let service = Service::start("script:", &[]).await;
    let names: Vec<_> = (0..200).map(|number| format!("t{number}")).collect();
    let submit = async |name: &String| {
        let read = call("read_file", &json!({"file_path": format!("{name}.txt")}));
        service.submit(&scripted(name, &[read, json!({"event": "finish", "summary": name})])).await
    };
    futures_util::future::join_all(names.iter().map(submit)).await;
    for name in &names {
        let done = service.ended(name).await;
        assert_eq!((&done["status"], &done["summary"]), (&json!("succeeded"), &json!(name)));
        let record = service.record(name).await;
        assert_eq!(record[1]["agent_input"]["arguments"]["file_path"], format!("{name}.txt"));
    }
}

#[tokio::test]
async fn a_scripted_task_goes_on_after_its_process_was_killed() {
    let home = Home::new();
    let service = Service::start_in(home.clone(), "script:", &[]).await;
    let steps = [
        call("run_command", &json!({"command": "bash -c 'echo once >> count'"})),
        call("run_command", &json!({"command": "sleep 30"})),
        finish(),
    ];
    for number in 0..10 {
        service.submit(&scripted(&format!("t{number}"), &steps)).await;
    }
    eventually("all have begun", async || {
        let list = service.get("/tasks?limit=200").await.json();
        list["tasks"].as_array().unwrap().iter().all(|task| task["iteration"].as_u64().unwrap() >= 1)
    })
    .await;
    service.kill().await;
    let service = Service::start_in(home.clone(), "script:", &[("CMD_TIMEOUT", "1")]).await;
    for number in 0..10 {
        let name = format!("t{number}");
        assert_eq!(service.ended(&name).await["status"], "succeeded");
        let iterations: Vec<_> =
            service.record(&name).await.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
        assert_eq!(iterations, [1, 2, 3]);
    }
    let count = std::fs::read_to_string(home.code().join("count")).unwrap_or_default();
    assert!(count.lines().count() <= 10, "no command was run twice");
}
