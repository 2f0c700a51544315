//! A whole task: parallel calls, a malformed argument, a busy server, a critic that sends an edit back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::model::{KEY, Model, calls, last, roles, says, verdict};

#[tokio::test]
async fn a_task_of_six_steps_goes_through_everything_that_may_happen() {
    let busy = json!({"status": 429, "headers": {"retry-after": "1"}, "body": {"error": {"message": "slow down"}}});
    let nulls = r#"{"file_path":"notes.txt","new_content":"one\ntwo\n","diff_patch":null,"insert_after_line":null,"replace_lines":null,"expected_sha256":null}"#;
    let answers = json!([
        // Steps 1 and 2: two calls in one answer.
        calls(&[("edit_file", nulls), ("run_command", r#"{"command":"ls","workdir":null,"timeout":null}"#)]),
        // Step 3: the server is busy, then the arguments are no JSON.
        busy,
        calls(&[("read_file", r#"{"file_path": "notes.txt",}"#)]),
        calls(&[("read_file", r#"{"file_path":"notes.txt","start":null,"end":null}"#)]),
        // Step 4: an edit that the critic sends back.
        calls(&[("edit_file", r#"{"file_path":"notes.txt","new_content":"two\n"}"#)]),
        calls(&[("edit_file", r#"{"file_path":"notes.txt","new_content":"three\n","insert_after_line":1}"#)]),
        // Steps 5 and 6.
        calls(&[("run_command", r#"{"command":"cat notes.txt"}"#)]),
        says("I wrote three lines."),
    ]);
    let yes = || verdict("approve", "fine");
    let critic = json!([yes(), yes(), verdict("revise", "it loses the first line"), yes(), yes()]);
    let Some(model) = Model::with(json!({"answers": answers, "critic": critic})).await else { return };
    let service = model.service(&[("OPENAI_CRITIQUE_MODEL_ID", "critic"), ("OPENAI_SEED", "7")]).await;
    let started = Instant::now();
    let task =
        service.finish(&json!({"instruction": "Write three lines.", "max_iterations": 9, "style": "plain"})).await;

    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(6)), "{task:#}");
    assert_eq!(task["summary"], "I wrote three lines.");
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not waited for");
    assert_eq!(std::fs::read_to_string(service.home.code().join("notes.txt")).unwrap(), "one\ntwo\nthree\n");
    // Seven answers of the main model (the busy one has none), five of the critic.
    assert_eq!(task["usage"], json!({"prompt_tokens": 1200, "completion_tokens": 120, "cached_tokens": 720}));

    let record = service.record(task["task_id"].as_str().unwrap()).await;
    checks_record(&record);
    checks_requests(&model.requests());
    for request in &model.requests()[6..9] {
        println!("step 4: {request:#}");
    }
}

fn checks_record(record: &[Value]) {
    let reply = |iteration: usize| &record[iteration - 1]["mcp_reply"];
    // What was null is left out, and the second call costs nothing.
    assert_eq!(reply(1)["arguments"], json!({"file_path": "notes.txt", "new_content": "one\ntwo\n"}));
    assert_eq!(reply(1)["assistant"]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(
        reply(2),
        &json!({"event": "tool_call", "name": "run_command", "arguments": {"command": "ls"}, "call": 1})
    );
    assert_eq!(record[2]["agent_input"]["result"]["stdout"], "notes.txt\n");
    assert!(reply(3)["corrections"][0].as_str().unwrap().contains("not valid JSON"), "{}", reply(3));
    let critique = reply(4)["critique"].as_array().unwrap();
    assert_eq!(critique.len(), 1);
    assert_eq!(
        (&critique[0]["verdict"], &critique[0]["reason"]),
        (&json!("revise"), &json!("it loses the first line"))
    );
    assert_eq!(critique[0]["proposed"]["tool_calls"][0]["arguments"]["new_content"], "two\n");
    assert_eq!(reply(6)["critique"][0]["verdict"], "approve");
    assert_eq!(reply(6)["model"], "main-2026");
}

fn checks_requests(requests: &[Value]) {
    let (main, critic): (Vec<&Value>, Vec<&Value>) = requests.iter().partition(|request| request["model"] == "main");
    assert_eq!((main.len(), critic.len()), (8, 5));
    assert!(main.iter().all(|request| request["seed"] == 7 && request.get("temperature").is_none()));
    assert!(main[0]["tools"].as_array().unwrap().iter().all(|tool| tool["function"]["strict"] == true));
    assert!(critic.iter().all(|request| request["response_format"]["json_schema"]["strict"] == true));
    assert_eq!(roles(main[0]), ["system", "user"]);
    assert_eq!(last(main[0]), "Write three lines.\n\nThe task also has:\n{\"style\":\"plain\"}");
    // Both results, then the correction, which is gone from the conversation in the step after it.
    assert_eq!(roles(main[2]), ["system", "user", "assistant", "tool", "tool"]);
    assert_eq!(roles(main[3])[5..], ["assistant", "tool"]);
    assert!(last(main[3]).starts_with("not done: the arguments are not valid JSON"), "{}", last(main[3]));
    assert!(last(main[3]).contains("You wrote \"{\\\"file_path\\\": \\\"notes.txt\\\",}\""), "{}", last(main[3]));
    assert_eq!(roles(main[4])[5..], ["assistant", "tool"]);
    assert_eq!(last(main[5]), "not done: the reviewer sent it back: it loses the first line");
    // The critic saw a diff against what had been read.
    assert!(last(critic[2]).contains("@@ -1,2 +1 @@\n-one\n two\n"), "{}", last(critic[2]));
    assert!(!requests.iter().any(|request| request.to_string().contains(KEY)));
}

#[tokio::test]
async fn two_hundred_tasks_at_once_each_have_their_own_conversation() {
    let answers: Vec<Value> = (0..200).map(|_| says("done")).collect();
    let Some(model) = Model::start(json!(answers)).await else { return };
    let service = model.service(&[]).await;
    let mut ids = Vec::new();
    for number in 0..200 {
        ids.push(service.submit(&json!({"instruction": format!("task {number}")})).await);
    }
    for id in &ids {
        assert_eq!(service.ended(id).await["status"], "succeeded");
    }
    let mut asked: Vec<String> = model.requests().iter().map(|request| last(request).to_owned()).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 200);
}

#[tokio::test]
async fn a_worker_without_a_model_does_not_start_and_says_which_variable_is_missing() {
    for verb in [&["serve"][..], &["run", "--task_file", "task.json"]] {
        let home = crate::common::Home::new();
        std::fs::write(home.path().join("task.json"), r#"{"instruction":"x"}"#).unwrap();
        let mut command = home.command(verb);
        command.env("MCP_SERVER_URL", "openai:").env("LISTEN", "127.0.0.1:0");
        let output = command.output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{verb:?}: {said}");
        assert_eq!(
            said,
            "codex-agent: OPENAI_FINETUNED_MODEL_ID: must name the model that MCP_SERVER_URL=openai: asks\n"
        );
    }
}
