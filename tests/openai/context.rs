//! Conversations that are longer than the model takes.

use serde_json::{Value, json};

use crate::model::{Model, calls, message, says};

/// Reads one long file again and again, and then is done.
fn reading(times: usize) -> Value {
    let read = calls(&[("read_file", r#"{"file_path":"long.txt"}"#)]);
    let mut answers = vec![read; times];
    answers.push(says("I have read it."));
    json!(answers)
}

async fn run(model: &Model, variables: &[(&str, &str)]) -> (Value, Vec<Value>) {
    let service = model.service(variables).await;
    std::fs::write(service.home.code().join("long.txt"), "0123456789\n".repeat(350)).unwrap();
    let task = service.finish(&json!({"instruction": "Read.", "max_iterations": 20})).await;
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    (task, record)
}

#[tokio::test]
async fn a_server_that_refuses_a_long_conversation_gets_a_shorter_one_and_no_second_refusal() {
    let script = json!({"answers": reading(8), "refuse": {"context": 24_000}});
    let Some(model) = Model::with(script).await else { return };
    let (task, record) = run(&model, &[]).await;
    assert_eq!(task["status"], "succeeded", "{task:#}");
    model.requests();
    let refused = model.asked().iter().filter(|one| one["refused"] == true).count();
    assert_eq!(refused, 1, "what was found out is on record, and used in the steps behind it");
    let context = &record.last().unwrap()["mcp_reply"]["context"];
    assert!(context["shortened"].as_u64().unwrap() > 0 && context["room"].as_u64().unwrap() > 0, "{context}");
    let asked = model.requests();
    let results: Vec<&str> = asked.last().unwrap()["messages"].as_array().unwrap()[2..]
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert!(results[0].contains("characters left out to fit the model's context"), "{}", results[0]);
    assert!(results[results.len() - 2..].iter().all(|result| !result.contains("left out")), "the last two are whole");
}

#[tokio::test]
async fn where_the_context_is_known_nothing_is_refused() {
    // The stand-in counts 100 tokens whatever it gets, which nobody believes: a token is taken for 3.5 bytes.
    let script = json!({"answers": reading(8), "refuse": {"context": 40_000}});
    let Some(model) = Model::with(script).await else { return };
    let (task, record) = run(&model, &[("OPENAI_CONTEXT_TOKENS", "8000")]).await;
    assert_eq!(task["status"], "succeeded", "{task:#}");
    assert_eq!(model.asked().iter().filter(|one| one["refused"] == true).count(), 0);
    assert!(record.last().unwrap()["mcp_reply"]["context"]["shortened"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_task_that_cannot_fit_ends_with_the_servers_words() {
    let Some(model) = Model::with(json!({"answers": reading(1), "refuse": {"context": 2000}})).await else { return };
    let (task, _) = run(&model, &[]).await;
    assert_eq!(task["error"]["code"], "brain_protocol");
    assert!(message(&task).starts_with("the task does not fit the model's context"), "{}", message(&task));
    assert!(message(&task).ends_with("The server said: too much"), "{}", message(&task));
    assert_eq!(model.requests().len(), 1, "what cannot be made shorter is not sent again");
}
