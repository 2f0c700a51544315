//! No call is made that the critic did not see, or did not let pass.

use serde_json::{Value, json};

use crate::common::Service;
use crate::model::{Model, answer, calls, error, last, roles, says, verdict};

const EVIL: (&str, &str) = ("run_command", r#"{"command":"touch EVIL"}"#);

/// A service between these answers of the main model and of the critic.
async fn between(answers: Value, critic: Value) -> Option<(Model, Service)> {
    let model = Model::with(json!({"answers": answers, "critic": critic})).await?;
    let service = model.service(&[("OPENAI_CRITIQUE_MODEL_ID", "critic")]).await;
    Some((model, service))
}

fn of_critic(requests: &[Value]) -> Vec<&Value> {
    requests.iter().filter(|request| request["model"] == "critic").collect()
}

#[tokio::test]
async fn a_call_beside_one_that_cannot_be_read_is_seen_by_the_critic() {
    let both = || calls(&[EVIL, ("run_command", "{oops")]);
    let critic = json!([verdict("revise", "no"), verdict("approve", "")]);
    let Some((model, service)) = between(json!([both(), both(), says("I stop.")]), critic).await else { return };
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(1)), "{task:#}");
    assert!(!service.home.code().join("EVIL").exists());
    let requests = model.requests();
    let seen = last(of_critic(&requests)[0]);
    assert!(seen.contains("touch EVIL") && seen.contains("which fails, for this is no object: \"{oops\""), "{seen}");
}

#[tokio::test]
async fn a_call_between_long_ones_is_seen_by_the_critic() {
    let long = format!(r#"{{"command":"true {}"}}"#, "a".repeat(8500));
    let three = calls(&[("run_command", &long), EVIL, ("run_command", &long)]);
    let critic = json!([verdict("revise", "no"), verdict("approve", "")]);
    let Some((model, service)) = between(json!([three, says("I stop.")]), critic).await else { return };
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!(task["status"], "succeeded", "{task:#}");
    assert!(!service.home.code().join("EVIL").exists());
    let requests = model.requests();
    let seen = last(of_critic(&requests)[0]);
    assert!(seen.contains("## Call 2 of 3\nCall run_command with {\"command\":\"touch EVIL\"}"), "{seen}");
    assert!(seen.contains("## Call 1 of 3, not shown whole: "), "{seen}");
}

#[tokio::test]
async fn a_call_that_the_critic_had_no_room_for_is_not_made() {
    let argument = |at| format!(r#"{{"command":"echo {at} {}"}}"#, "a".repeat(500));
    let arguments: Vec<String> = (0..20).map(argument).collect();
    let many: Vec<(&str, &str)> = arguments.iter().map(|arguments| ("run_command", arguments.as_str())).collect();
    let too_long = || error(400, "prompt is too long");
    let critic = json!([too_long(), too_long(), too_long(), verdict("approve", ""), verdict("approve", "")]);
    let Some((model, service)) = between(json!([calls(&many), says("done")]), critic).await else { return };
    let task = service.finish(&json!({"instruction": "x", "max_iterations": 60})).await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(9)), "{task:#}");
    let requests = model.requests();
    let after: Vec<&Value> = requests.iter().filter(|request| request["model"] == "main").collect();
    assert_eq!(roles(after[1]).iter().filter(|role| **role == "tool").count(), 20);
    assert!(last(after[1]).starts_with("not done: the reviewer had no room to look at so many"), "{}", last(after[1]));
    assert!(last(of_critic(&requests)[3]).contains("## Calls 9 to 20 are not shown, and not done"));
}

#[tokio::test]
async fn a_critic_that_refuses_or_says_so_without_the_form_sends_the_action_back() {
    for (no, why) in [
        (answer(&json!({"content": null, "refusal": "I will not look at this"}), "stop"), "the critic refused: I will"),
        (answer(&json!({"content": "{\"verd"}), "content_filter"), "the critic refused: the server's content filter"),
        (says("REVISE: this is harmful"), "REVISE: this is harmful"),
    ] {
        let critic = json!([no, verdict("approve", "")]);
        let Some((_model, service)) = between(json!([calls(&[EVIL]), says("I stop.")]), critic).await else { return };
        let task = service.finish(&json!({"instruction": "x"})).await;
        assert_eq!(task["status"], "succeeded", "{task:#}");
        assert!(!service.home.code().join("EVIL").exists(), "{why}");
        let record = service.record(task["task_id"].as_str().unwrap()).await;
        let critique = &record[0]["mcp_reply"]["critique"][0];
        assert_eq!(critique["verdict"], "revise");
        assert!(critique["reason"].as_str().unwrap().starts_with(why), "{critique}");
    }
}
