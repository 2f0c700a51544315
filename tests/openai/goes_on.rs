//! A service that dies in mid-task: another one goes on from the history, and says the same to the model.

use serde_json::json;

use crate::common::{Service, eventually};
use crate::model::{Model, calls, last, roles, says};

#[tokio::test]
async fn a_killed_services_task_goes_on_with_the_same_conversation() {
    let two = calls(&[("run_command", r#"{"command":"echo one"}"#), ("run_command", r#"{"command":"echo two"}"#)]);
    let Some(model) = Model::start(json!([two, {"silent": true}, says("done")])).await else { return };
    let service = model.service(&[]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    eventually("the second question is asked", async || model.asked().len() == 2).await;
    let home = service.kill().await;
    let service = Service::start_in(home, "openai:", &model.variables()).await;
    let task = service.ended(&id).await;
    assert_eq!((&task["status"], &task["iteration"], &task["attempt"]), (&json!("succeeded"), &json!(3), &json!(2)));
    let requests = model.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[1], requests[2]);
    assert_eq!(roles(&requests[2]), ["system", "user", "assistant", "tool", "tool"]);
    let record = service.record(&id).await;
    assert_eq!(record.iter().map(|line| line["iteration"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_call_that_was_cut_off_by_the_kill_is_answered_and_the_next_one_is_made() {
    let cut_off = r#"{"command":"sh -c 'echo once >> count.txt; sleep 60.0606'","timeout":90}"#;
    let two = calls(&[("run_command", cut_off), ("run_command", r#"{"command":"cat count.txt"}"#)]);
    let Some(model) = Model::start(json!([two, says("done")])).await else { return };
    let service = model.service(&[]).await;
    let id = service.submit(&json!({"instruction": "x"})).await;
    let mark = service.home.code().join("count.txt");
    eventually("the command has begun", async || std::fs::read_to_string(&mark).is_ok_and(|text| text == "once\n"))
        .await;
    let home = service.kill().await;
    let service = Service::start_in(home, "openai:", &model.variables()).await;
    let task = service.ended(&id).await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(3)), "{task:#}");
    let requests = model.requests();
    assert_eq!(requests.len(), 2);
    let first = requests[1]["messages"][3]["content"].as_str().unwrap();
    assert!(first.contains("interrupted: the worker stopped during this call"), "{first}");
    assert!(last(&requests[1]).contains("once"), "{}", last(&requests[1]));
}
