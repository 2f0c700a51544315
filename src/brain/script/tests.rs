//! Which of the three a task is done by, and what it is told otherwise.

use serde_json::{Value, json};

use super::*;
use crate::domain::Exchange;

fn brain(dir: &std::path::Path) -> ScriptBrain {
    ScriptBrain::new(ScriptSettings { replay_dir: dir.to_owned() })
}

fn request(task: &Value, iteration: u32) -> StepRequest {
    StepRequest {
        task_id: "t".parse().unwrap(),
        iteration,
        payload: Json::of(&json!({"event": "start", "task": task})),
        task: Json::of(task),
        history: None,
    }
}

async fn answer(task: Value, iteration: u32) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let answered = brain(dir.path()).step(&request(&task, iteration)).await;
    answered.map(|json| json.to_string()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn each_iteration_has_its_step_and_the_end_is_told() {
    let script = |iteration| {
        answer(json!({"instruction": "x", "script": [{"event": "a", "n": 1e-7}, {"event": "b"}]}), iteration)
    };
    assert_eq!(script(1).await.unwrap(), r#"{"event":"a","n":1e-7}"#);
    assert_eq!(script(2).await.unwrap(), r#"{"event":"b"}"#);
    assert_eq!(script(3).await.unwrap_err(), "the task's script ended after 2 steps without a finish");
}

#[tokio::test]
async fn a_script_goes_before_a_replay_and_a_replay_before_directives() {
    let line = |summary: &str| json!({"agent_input": {"event": "start", "task": {"instruction": "run: x"}}, "mcp_reply": {"event": "finish", "summary": summary}});
    let script = json!([{"event": "finish", "summary": "script"}]);
    let all = json!({"instruction": "run: x", "replay": [line("replay")], "script": script});
    assert_eq!(answer(all, 1).await.unwrap(), r#"{"event":"finish","summary":"script"}"#);
    let two = json!({"instruction": "run: x", "replay": [line("replay")], "script": null});
    assert_eq!(answer(two, 1).await.unwrap(), r#"{"event":"finish","summary":"replay"}"#);
    let one = json!({"instruction": "run: x", "replay": null});
    assert_eq!(
        answer(one, 1).await.unwrap(),
        r#"{"event":"tool_call","name":"run_command","arguments":{"command":"x"}}"#
    );
}

#[tokio::test]
async fn only_directives_ask_for_the_history_and_only_after_the_first_step() {
    let resync = r#"{"event":"resync"}"#;
    assert_eq!(answer(json!({"instruction": "run: x"}), 2).await.unwrap(), resync);
    assert!(
        answer(json!({"instruction": "run: x", "script": []}), 2).await.unwrap_err().contains("ended after 0 steps")
    );
    assert!(answer(json!({"instruction": "run: x", "replay": []}), 2).await.unwrap_err().contains("ends after line 1"));

    let dir = tempfile::tempdir().unwrap();
    let task = json!({"instruction": "run: x"});
    let first = request(&task, 1);
    let reply = brain(dir.path()).step(&first).await.unwrap();
    let result = json!({"event": "tool_result", "result": {"status": "success", "returncode": 0}});
    let history = Some(vec![Exchange { agent_input: first.payload, mcp_reply: Some(reply) }]);
    let second = StepRequest { payload: Json::of(&result), history, ..request(&task, 2) };
    let answer = brain(dir.path()).step(&second).await.unwrap();
    assert_eq!(answer.as_str(), r#"{"event":"finish","summary":"ran 1 command"}"#);
    let aborted = Json::of(&json!({"event": "agent_abort", "reason": "cancelled"}));
    let answer = brain(dir.path()).step(&StepRequest { payload: aborted, ..request(&json!({}), 3) }).await.unwrap();
    assert_eq!(answer, farewell());
}

#[tokio::test]
async fn a_task_that_is_not_understood_is_told_what_is_and_how_to_get_a_model() {
    let error = answer(json!({"instruction": "Make the tests pass."}), 1).await.unwrap_err();
    for part in ["line 1, `Make the tests pass.`", "until CMD passes", "MCP_SERVER_URL=openai:", "OPENAI_BASE_URL"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(answer(json!({"instruction": "x", "script": {}}), 1).await.unwrap_err().contains("a list of replies"));
    assert!(answer(json!({"instruction": "x", "replay": 7}), 1).await.unwrap_err().starts_with("replay: must be"));
    let odd = json!({"instruction": "x", "replay": [], "replay_mode": "loose"});
    assert!(answer(odd, 1).await.unwrap_err().contains("\"strict\" or \"lenient\""));
}

#[tokio::test]
async fn a_replay_answers_by_the_record_and_stops_where_it_differs() {
    let dir = tempfile::tempdir().unwrap();
    let result =
        |stdout: &str, ms: u32| json!({"event": "tool_result", "result": {"stdout": stdout, "duration_ms": ms}});
    let lines = [
        json!({"iteration": 1, "agent_input": {"event": "start", "task": {"instruction": "x", "script": []}}, "mcp_reply": {"event": "a", "usage": {"prompt_tokens": 9}}}),
        json!({"iteration": 2, "agent_input": result("one", 1), "mcp_reply": {"event": "b"}}),
        json!({"iteration": 3, "agent_input": {"event": "agent_abort", "reason": "cancelled"}, "mcp_reply": null}),
    ];
    let text = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    std::fs::write(dir.path().join("r.jsonl"), text + "\ntorn").unwrap();
    let ask = async |task: Value, iteration, payload: Option<Value>| {
        let mut request = request(&task, iteration);
        request.payload = payload.map_or(request.payload, |payload| Json::of(&payload));
        brain(dir.path()).step(&request).await.map(|json| json.to_string()).map_err(|error| error.to_string())
    };
    let strict = json!({"instruction": "x", "replay": "r"});
    let lenient = json!({"instruction": "y", "replay": "r.jsonl", "replay_mode": "lenient"});
    assert_eq!(ask(strict.clone(), 1, None).await.unwrap(), r#"{"event":"a"}"#);
    assert_eq!(ask(lenient.clone(), 1, None).await.unwrap(), r#"{"event":"a"}"#);
    assert_eq!(ask(strict.clone(), 2, Some(result("one", 2))).await.unwrap(), r#"{"event":"b"}"#);
    let error = ask(strict, 2, Some(result("two", 2))).await.unwrap_err();
    let expected =
        "the replay of r.jsonl stopped at iteration 2: /result/stdout was \"one\" on record and is \"two\" now";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(ask(lenient.clone(), 2, Some(result("two", 2))).await.unwrap(), r#"{"event":"b"}"#);
    let error = ask(lenient.clone(), 3, None).await.unwrap_err();
    assert!(error.starts_with("r.jsonl, line 3: has no reply"), "{error}");
    let error = ask(lenient.clone(), 4, None).await.unwrap_err();
    assert!(error.starts_with("r.jsonl, line 4: is no line of a record"), "{error}");
    let error = ask(lenient, 5, None).await.unwrap_err();
    assert_eq!(error, "r.jsonl ends after line 4 without a finish");
}

#[test]
fn a_task_that_this_brain_would_follow_is_known_by_what_stands_in_it() {
    let of = |task: Value| followed(&Json::of(&task));
    assert_eq!(of(json!({"instruction": "x", "script": []})), Some(Followed::Script));
    assert_eq!(of(json!({"instruction": "x", "replay": "t"})), Some(Followed::Replay));
    assert_eq!(of(json!({"instruction": "# make it so\nrun: make test"})), Some(Followed::Directives));
    assert_eq!(of(json!({"instruction": "Make the tests pass.\nrun: make test"})), None);
    assert_eq!(of(json!({"instruction": "x", "script": "deploy.sh"})), None);
}
