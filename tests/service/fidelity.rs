//! What a client posts reaches the brain unchanged, and what the brain says reaches the record so.

use serde_json::{Value, json};

use crate::common::brain::{Brain, Reply};
use crate::common::{Service, eventually};

/// A task that a parse and a print would change in a dozen ways.
const ODD: &str = concat!(
    r#"{"zulu":1180591620717411303424,"instruction":"\u00e9 é 😀 \ud83d\ude00 \u2028 "#,
    "\u{2028}\u{2029}",
    r#" \u0000 \u001f \/ \" \\","numbers":[0.1,1e-7,1E+2,-0,-0.0,1.0,1.10,123456789012345678901234567890.5],"#,
    r#""nested":{"z":{"b":[],"a":{}},"y":null,"x":[true,false]},"empty":"","lone":"\ud800","twice":1,"twice":2}"#
);

#[tokio::test]
async fn the_posted_object_reaches_the_brain_the_record_and_the_client_as_it_was() {
    let brain = Brain::start(|_, _| Reply::finish()).await;
    let service = Service::start(&brain.url, &[]).await;
    let answer = service.post("/tasks", ODD).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let start = answer.text();
    let id = &start["{\"task_id\":\"".len()..][..36];
    assert!(start.contains(&format!("\"task\":{ODD},")));
    let path = format!("/tasks/{id}");
    eventually("the task has ended", async || service.get(&path).await.text().contains("\"succeeded\"")).await;

    assert_eq!(brain.seen()[0].body, format!(r#"{{"task_id":"{id}","payload":{{"event":"start","task":{ODD}}}}}"#));
    let log = service.get(&format!("/tasks/{id}/log")).await.text();
    assert!(
        log.starts_with(&format!(r#"{{"iteration":1,"agent_input":{{"event":"start","task":{ODD}}},"mcp_reply":"#))
    );
    let meta = std::fs::read_to_string(service.home.record(id).with_extension("meta.json")).unwrap();
    assert!(meta.contains(&format!("\"task\":{ODD},")));
}

#[tokio::test]
async fn white_space_between_tokens_is_all_that_goes() {
    let brain = Brain::start(|_, _| Reply::finish()).await;
    let service = Service::start(&brain.url, &[]).await;
    let spaced = "\r\n{ \"instruction\" :\t\"a  b\" ,\n \"n\" : [ 1e-7 , 2 ] }\n";
    assert_eq!(service.post("/tasks", spaced).await.status, 202);
    eventually("the brain is asked", async || brain.seen().len() == 1).await;
    assert!(brain.seen()[0].body.ends_with(r#""task":{"instruction":"a  b","n":[1e-7,2]}}}"#));
}

#[tokio::test]
async fn a_reply_keeps_its_text_on_record_and_in_the_arguments_told_back() {
    let reply = r#"{"event":"tool_call","big":1180591620717411303424,"name":"read_file","arguments":{"file_path":"\u0061.txt","start":0},"f":1e-7}"#;
    let brain = Brain::start(move |seen, _| match seen.iteration() {
        1 => Reply::Json(reply.to_owned()),
        _ => Reply::finish(),
    })
    .await;
    let service = Service::start(&brain.url, &[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    let log = service.get(&format!("/tasks/{}/log", task["task_id"].as_str().unwrap())).await.text();
    assert!(log.contains(&format!("\"mcp_reply\":{reply},")));
    assert!(brain.seen()[1].body.contains(r#""name":"read_file","arguments":{"file_path":"\u0061.txt","start":0},"#));
}

#[tokio::test]
async fn an_instruction_of_900_kilobytes_arrives_whole() {
    let brain = Brain::start(|_, _| Reply::finish()).await;
    let service = Service::start(&brain.url, &[]).await;
    let long = "0123456789é😀\n".repeat(900_000 / 17);
    let task = service.finish(&json!({"instruction": long})).await;
    assert_eq!(task["status"], "succeeded");
    assert_eq!(brain.seen()[0].payload()["task"], json!({"instruction": long}));
    let record: Value = service.record(task["task_id"].as_str().unwrap()).await.remove(0);
    assert_eq!(record["agent_input"]["task"]["instruction"], json!(long));
}
