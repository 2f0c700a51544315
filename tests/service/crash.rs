//! Kill -9, and a second process on the same directory.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::common::brain::{Brain, Reply, Seen, call, finish};
use crate::common::{Service, eventually, processes_with};

/// Six steps, the third of which takes long enough to be cut off.
fn six_steps() -> Vec<Value> {
    vec![
        call("edit_file", &json!({"file_path": "a.txt", "new_content": "one\n"})),
        call("read_file", &json!({"file_path": "a.txt"})),
        call("run_command", &json!({"command": "sh -c 'echo once >> count.txt; sleep 60.0505'", "timeout": 90})),
        call("run_command", &json!({"command": "cat a.txt"})),
        call("read_file", &json!({"file_path": "a.txt"})),
        finish(),
    ]
}

#[tokio::test]
async fn a_task_goes_on_after_kill_9_and_has_each_iteration_once() {
    let brain = Brain::script(six_steps()).await;
    let service = Service::start(&brain.url, &[]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    let mark = service.home.code().join("count.txt");
    // The file is there a moment before the word is in it.
    let begun = || std::fs::read_to_string(&mark).is_ok_and(|text| text == "once\n");
    eventually("the command has begun", async || begun()).await;
    let home = service.kill().await;
    // A torn line, as a power failure leaves it.
    let record = home.record(&id);
    let whole = std::fs::read(&record).unwrap();
    std::fs::write(&record, &whole[..whole.len() - 7]).unwrap();

    let service = Service::start_in(home, &brain.url, &[]).await;
    let task = service.ended(&id).await;
    assert_eq!((&task["status"], &task["iteration"], &task["attempt"]), (&json!("succeeded"), &json!(6), &json!(2)));
    let lines = service.record(&id).await;
    assert_eq!(lines.iter().map(|line| line["iteration"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let cut_off = &lines[3]["agent_input"]["result"];
    assert_eq!(cut_off["status"], "failure");
    assert!(cut_off["message"].as_str().unwrap().starts_with("interrupted: the worker stopped during this call"));
    eventually("the command died with its service", async || processes_with("60.0505").is_empty()).await;
    // Not run a second time.
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), "once\n");
    assert_eq!(std::fs::read_to_string(service.home.record(&id)).unwrap().lines().count(), 6);
    same_key_same_body(&brain);
}

#[tokio::test]
async fn a_step_in_flight_is_asked_again_with_the_same_key_and_payload() {
    let brain = Brain::start(|seen, _| match (seen.iteration(), seen.headers.contains_key("authorization")) {
        (1, _) => Reply::json(&call("run_command", &json!({"command": "date +%N"}))),
        (2, false) => Reply::Silence,
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    eventually("the second step is asked", async || brain.seen().len() == 2).await;
    let home = service.kill().await;
    // The key tells the brain that this is the second life.
    let service = Service::start_in(home, &brain.url, &[("OPENAI_API_KEY", "second")]).await;
    assert_eq!(service.ended(&id).await["status"], "succeeded");
    assert_eq!(brain.seen().len(), 3);
    same_key_same_body(&brain);
}

#[tokio::test]
async fn tasks_that_waited_are_not_lost() {
    let second_life = |seen: &Seen| seen.headers.contains_key("authorization");
    let brain = Brain::start(move |seen, _| if second_life(seen) { Reply::finish() } else { Reply::Silence }).await;
    let service = Service::start(&brain.url, &[("MAX_RUNNING", "2")]).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(service.submit(&json!({"instruction": "x"})).await);
    }
    let home = service.kill().await;
    let service = Service::start_in(home, &brain.url, &[("OPENAI_API_KEY", "second")]).await;
    for id in ids {
        assert_eq!(service.ended(&id).await["status"], "succeeded");
        assert_eq!(service.record(&id).await.len(), 1);
    }
}

#[tokio::test]
async fn a_record_that_was_deleted_or_damaged_is_written_again() {
    let brain = Brain::script(vec![call("run_command", &json!({"command": "echo x"})), finish()]).await;
    let service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    let id = task["task_id"].as_str().unwrap();
    let (path, whole) = (service.home.record(id), service.get(&format!("/tasks/{id}/log")).await.body);
    for damage in [None, Some(&whole[..0]), Some(&whole[..10]), Some(&whole[..whole.len() - 1])] {
        match damage {
            None => std::fs::remove_file(&path).unwrap(),
            Some(rest) => std::fs::write(&path, rest).unwrap(),
        }
        assert_eq!(service.get(&format!("/tasks/{id}/log")).await.body, whole);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}

#[tokio::test]
async fn files_that_were_behind_at_a_crash_are_completed_at_the_start() {
    let brain = Brain::start(|seen, _| if seen.task_id() == "held" { Reply::Silence } else { Reply::finish() }).await;
    let service = Service::start(&brain.url, &[("MAX_RUNNING", "1")]).await;
    let whole = service.finish(&json!({"instruction": "x", "task_id": "done"})).await;
    service.filed("done").await;
    let (record, meta) = (service.home.record("done"), service.home.record("done").with_extension("meta.json"));
    service.submit(&json!({"instruction": "x", "task_id": "held"})).await;
    // Cancelled while it waits: no run ever writes its files.
    service.submit(&json!({"instruction": "x", "task_id": "never"})).await;
    service.post("/tasks/never/cancel", "").await;
    let home = service.kill().await;
    // As a crash between the end and its files leaves them.
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, "").unwrap();
    std::fs::remove_file(&meta).unwrap();
    unfile(&home.output().join("codex-agent.db")).await;

    let service = Service::start_in(home, &brain.url, &[]).await;
    eventually("the record is whole", async || std::fs::read_to_string(&record).unwrap() == text).await;
    eventually("the meta file is back", async || meta.exists()).await;
    let never = service.home.record("never").with_extension("meta.json");
    eventually("a task that never ran has its meta file", async || never.exists()).await;
    assert_eq!(whole["status"], "succeeded");
}

/// Takes back that files are complete, as if the process had died before it noted so.
async fn unfile(database: &std::path::Path) {
    use sqlx::{ConnectOptions, Connection, Executor};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut db = options.connect().await.unwrap();
    db.execute("UPDATE tasks SET filed = 0").await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_that_name_that_the_store_knows_nothing_of_is_no_part_of_the_record() {
    let brain = Brain::start(|_, _| Reply::finish()).await;
    let service = Service::start(&brain.url, &[]).await;
    service.finish(&json!({"instruction": "x", "task_id": "measure"})).await;
    let length = service.get("/tasks/measure/log").await.body.len();
    // Names and numbers of the same length make a line of the same length: only the content could tell.
    std::fs::write(service.home.record("another"), "x".repeat(length)).unwrap();
    service.finish(&json!({"instruction": "x", "task_id": "another"})).await;
    let record = service.record("another").await;
    assert_eq!((record.len(), &record[0]["iteration"]), (1, &json!(1)));
}

#[tokio::test]
async fn a_second_service_on_the_same_directory_is_refused() {
    let service = Service::start("script:", &[]).await;
    let second = service.home.command(&["serve"]).env("LISTEN", "127.0.0.1:0").output().await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.starts_with("codex-agent: OUTPUT_DIR: ") && said.contains("held by another"), "{said}");
    assert_eq!(service.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_directory_whose_records_are_another_databases_is_refused() {
    let service = Service::start("script:", &[]).await;
    let other = format!("sqlite://{}", service.home.path().join("other.db").display());
    let second = service
        .home
        .command(&["serve"])
        .env("LISTEN", "127.0.0.1:0")
        .env("DATABASE_URL", &other)
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.starts_with("codex-agent: OUTPUT_DIR: ") && said.contains(".lock is held by another"), "{said}");
    // When the first has ended, the directory is the next one's, whichever database that has.
    let (home, _) = service.stop().await;
    let service = Service::start_in(home, "script:", &[("DATABASE_URL", &other)]).await;
    assert_eq!(service.get("/healthz").await.status, 200);
}

fn same_key_same_body(brain: &Brain) {
    let mut bodies: HashMap<String, String> = HashMap::new();
    for seen in brain.seen() {
        let first = bodies.entry(seen.key().to_owned()).or_insert_with(|| seen.body.clone());
        assert_eq!(*first, seen.body);
    }
}
