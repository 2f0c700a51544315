//! Servers that are compatible in their own way, and answers that are none.

use serde_json::{Value, json};

use crate::model::{Model, answer, calls, error, last, message, roles, says, verdict};

/// Runs a task against these answers; the ended task and the requests.
async fn with(answers: Value) -> Option<(Value, Vec<Value>)> {
    let model = Model::start(answers).await?;
    let task = model.service(&[]).await.finish(&json!({"instruction": "x"})).await;
    Some((task, model.requests()))
}

#[tokio::test]
async fn fields_that_a_server_does_not_take_are_given_up_and_those_that_it_names_are_remembered() {
    let words = json!({
        "strict": "body.tools.0.function.strict: Extra inputs are not permitted",
        "json_schema": "unsupported response_format",
        "temperature": "no",
    });
    let status = json!({"json_schema": 500});
    let script = json!({
        "answers": [calls(&[("run_command", r#"{"command":"echo hi"}"#)]), says("done")],
        "critic": [verdict("approve", ""), says("I see nothing wrong with it.")],
        "refuse": {"words": words, "status": status, "lists": true},
    });
    let Some(model) = Model::with(script).await else { return };
    let variables = [("OPENAI_CRITIQUE_MODEL_ID", "critic"), ("OPENAI_TEMPERATURE", "0.5"), ("OPENAI_SEED", "3")];
    let service = model.service(&variables).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!(task["status"], "succeeded", "{task:#}");
    model.requests();
    let asked = model.asked();
    let refused =
        |model: &str| asked.iter().filter(|one| one["request"]["model"] == model && one["refused"] == true).count();
    // The field that is named goes alone, and is learnt; what is not named takes all that is left with it, in each step.
    assert_eq!((refused("main"), refused("critic")), (3, 3));
    let last_one = |model: &str| asked.iter().rfind(|one| one["request"]["model"] == model).unwrap()["request"].clone();
    let fields = |request: &Value| request.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(&last_one("main")), ["messages", "model", "stream", "tools"]);
    assert_eq!(fields(&last_one("critic")), ["messages", "model", "stream"]);
    // The schema is in the words.
    assert!(last_one("critic")["messages"][0]["content"].as_str().unwrap().contains("{\"verdict\":"));
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    let critique = &record[1]["mcp_reply"]["critique"][0];
    assert_eq!(critique["verdict"], "approve");
    assert!(critique["reason"].as_str().unwrap().starts_with("counted as approved: the verdict cannot be read: I see"));
}

#[tokio::test]
async fn a_refusal_that_names_nothing_costs_the_other_steps_no_field() {
    let answers = json!([
        error(400, "cannot parse the request"),
        calls(&[("run_command", r#"{"command":"echo hi"}"#)]),
        says("done"),
    ]);
    let Some(model) = Model::start(answers).await else { return };
    let service = model.service(&[("OPENAI_TEMPERATURE", "0.5"), ("OPENAI_SEED", "3")]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!(task["status"], "succeeded", "{task:#}");
    let requests = model.requests();
    let has = |request: &Value| {
        let strict = request["tools"][0]["function"]["strict"] == true;
        (request["temperature"] == 0.5, request["seed"] == 3, request["tool_choice"] == "auto", strict)
    };
    assert_eq!(
        requests.iter().map(has).collect::<Vec<_>>(),
        [(true, true, true, true), (false, false, false, false), (true, true, true, true)]
    );
}

#[tokio::test]
async fn what_a_model_does_not_take_is_known_by_its_id_and_not_by_its_part() {
    let script = json!({
        "answers": [says("done")],
        "critic": [verdict("approve", "")],
        "refuse": {"words": {"temperature": "temperature is not supported"}},
    });
    let Some(model) = Model::with(script).await else { return };
    let service = model.service(&[("OPENAI_CRITIQUE_MODEL_ID", "main"), ("OPENAI_TEMPERATURE", "0.5")]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!(task["status"], "succeeded", "{task:#}");
    assert_eq!(model.asked().iter().filter(|one| one["refused"] == true).count(), 1);
}

#[tokio::test]
async fn a_complaint_that_nothing_helps_against_is_told_with_the_servers_words() {
    let complaint = || error(400, "main does not support tools");
    let Some((task, requests)) = with(json!([complaint(), complaint(), says("never")])).await else { return };
    assert_eq!(task["error"]["code"], "brain_protocol");
    assert!(
        message(&task).ends_with("/v1/chat/completions answered 400: main does not support tools"),
        "{}",
        message(&task)
    );
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn refusals_of_a_server_say_what_to_do() {
    let unpaid = json!({"status": 429, "body": {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}});
    for (refusal, told) in [
        (
            json!({"status": 401, "body": {"error": "who are you?"}}),
            "answered 401: who are you?; is OPENAI_API_KEY right",
        ),
        (unpaid, "has no credit"),
        (
            json!({"status": 308, "headers": {"location": "http://127.0.0.1:9/"}, "raw": "moved"}),
            "answered 308: moved; redirects are not followed",
        ),
        (json!({"raw": "<html>hello</html>"}), "with a body that is no JSON object: <html>hello"),
        (json!({"body": {"error": "no such model"}}), "answered 200: no such model"),
        (
            answer(&json!({"content": null, "refusal": "I cannot help with that."}), "stop"),
            "the model refused: I cannot help",
        ),
        (answer(&json!({"content": "I wi"}), "content_filter"), "the model refused: the server's content filter"),
    ] {
        // An error in a 200 may be about an optional field: it is asked once more.
        let Some((task, requests)) = with(json!([refusal, refusal])).await else { return };
        assert_eq!(task["error"]["code"], "brain_protocol", "{refusal}");
        assert!(message(&task).contains(told), "{}", message(&task));
        assert!(requests.len() <= 2);
    }
}

#[tokio::test]
async fn trouble_that_passes_is_waited_out() {
    let answers = json!([
        {"status": 503, "headers": {"retry-after-ms": "20"}, "raw": "loading the model"},
        {"body": {"error": {"message": "upstream", "code": 502}}, "headers": {"retry-after-ms": "20"}},
        says("done"),
    ]);
    let Some((task, requests)) = with(answers).await else { return };
    assert_eq!((&task["status"], requests.len()), (&json!("succeeded"), 3), "{task:#}");
    let down = || json!({"status": 500, "headers": {"retry-after-ms": "20"}, "body": {"detail": "out of memory"}});
    let Some((task, requests)) = with(json!([down(), down(), down()])).await else { return };
    assert_eq!((&task["error"]["code"], requests.len()), (&json!("brain_unreachable"), 3));
    assert!(
        message(&task).ends_with("no reply after 3 tries, the last: answered 500: out of memory"),
        "{}",
        message(&task)
    );
}

#[tokio::test]
async fn an_answer_that_comes_to_nothing_is_asked_for_once_more() {
    for (nothing, told) in [
        (says("<think>hm</think>"), "Your answer was empty."),
        (json!({"body": {"choices": []}}), "Your answer was empty."),
        (answer(&json!({"content": "I will now"}), "length"), "Your answer was cut off"),
    ] {
        let Some((task, requests)) = with(json!([nothing, says("done")])).await else { return };
        assert_eq!((&task["status"], requests.len()), (&json!("succeeded"), 2), "{task:#}");
        assert!(last(&requests[1]).starts_with(told), "{}", last(&requests[1]));
        let Some((task, requests)) = with(json!([nothing, nothing, says("never")])).await else { return };
        assert_eq!((&task["error"]["code"], requests.len()), (&json!("brain_protocol"), 2));
        assert!(message(&task).starts_with("the model's answer "), "{}", message(&task));
    }
}

#[tokio::test]
async fn arguments_that_stay_malformed_are_a_failure_that_the_model_is_told() {
    let oops = || calls(&[("run_command", "ls -l"), ("run_command", r#"{"command":"echo two"}"#)]);
    let Some(model) = Model::start(json!([oops(), oops(), says("I give up.")])).await else { return };
    let service = model.service(&[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(3)), "{task:#}");
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    assert_eq!(record[0]["mcp_reply"]["arguments"], "ls -l");
    assert_eq!(record[1]["agent_input"]["result"]["status"], "failure");
    assert_eq!(record[2]["agent_input"]["result"]["stdout"], "two\n");
    let requests = model.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(roles(&requests[2]), ["system", "user", "assistant", "tool", "tool"]);
}

#[tokio::test]
async fn an_answer_that_was_cut_off_in_its_last_call_is_done_up_to_there() {
    let mut cut = calls(&[("run_command", r#"{"command":"echo one"}"#), ("edit_file", r#"{"file_path":"a","new_con"#)]);
    cut["body"]["choices"][0]["finish_reason"] = json!("length");
    let Some((task, requests)) = with(json!([cut, says("done")])).await else { return };
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(2)), "{task:#}");
    assert_eq!(last(&requests[1]), "not done: the answer was cut off within this call");
}

#[tokio::test]
async fn a_tool_is_found_by_what_the_model_meant_and_an_unknown_one_is_a_failure() {
    let answers = json!([
        calls(&[("functions.run_command", r#"{"command":"echo hi"}"#)]),
        calls(&[("format disk", r#"{"all":true}"#)]),
        says("done"),
    ]);
    let Some((task, requests)) = with(answers).await else { return };
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(3)), "{task:#}");
    assert!(last(&requests[1]).contains("hi\\n"), "{}", last(&requests[1]));
    assert!(last(&requests[2]).contains("unknown tool"), "{}", last(&requests[2]));
    // Servers refuse a name with a space in it.
    assert_eq!(requests[2]["messages"][4]["tool_calls"][0]["function"]["name"], "format_disk");
}

#[tokio::test]
async fn calls_written_in_tags_are_made_with_the_types_that_the_tools_want() {
    let value = |name: &str, value: &str| format!("<parameter={name}>\n{value}\n</parameter>\n");
    let call = |name: &str, values: &[String]| format!("<function={name}>\n{}</function>\n", values.concat());
    let write = call("edit_file", &[value("file_path", "7"), value("new_content", "  42\n\"x\"")]);
    let insert = [value("file_path", "7"), value("new_content", "behind"), value("insert_after_line", "0")];
    let answers = json!([
        says(&format!("I write.\n<tool_call>\n{write}</tool_call>")),
        says(&call("edit_file", &insert)),
        says("done"),
    ]);
    let Some(model) = Model::start(answers).await else { return };
    let service = model.service(&[]).await;
    let task = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!((&task["status"], &task["iteration"]), (&json!("succeeded"), &json!(3)), "{task:#}");
    let text = std::fs::read_to_string(service.home.code().join("7")).unwrap();
    assert_eq!(text.trim_end(), "  42\nbehind\n\"x\"");
    model.requests();
}

#[tokio::test]
async fn of_a_hundred_calls_in_one_answer_those_are_made_that_the_task_has_steps_for() {
    let hundred = || calls(&[("run_command", r#"{"command":"echo hi"}"#); 100]);
    let Some(model) = Model::start(json!([hundred(), says("done"), hundred(), says("done")])).await else { return };
    let service = model.service(&[]).await;
    let few = service.finish(&json!({"instruction": "x", "max_iterations": 4})).await;
    assert_eq!((&few["status"], &few["iteration"]), (&json!("succeeded"), &json!(4)), "{few:#}");
    let many = service.finish(&json!({"instruction": "x", "max_iterations": 90})).await;
    assert_eq!((&many["status"], &many["iteration"]), (&json!("succeeded"), &json!(65)), "{many:#}");
    let requests = model.requests();
    assert_eq!(requests.len(), 4);
    for request in [&requests[1], &requests[3]] {
        assert_eq!(roles(request).iter().filter(|role| **role == "tool").count(), 64);
    }
    assert!(last(&requests[1]).starts_with("not done: the task has no steps left"), "{}", last(&requests[1]));
    assert!(last(&requests[3]).contains("hi\\n"), "{}", last(&requests[3]));
}

#[tokio::test]
async fn words_that_ran_on_to_the_greatest_length_are_not_sent_back_whole() {
    let long = answer(&json!({"content": "x".repeat(50_000)}), "length");
    let Some((task, requests)) = with(json!([long, says("done")])).await else { return };
    assert_eq!(task["status"], "succeeded", "{task:#}");
    let again = requests[1]["messages"][2]["content"].as_str().unwrap();
    assert!(again.len() < 3000 && again.contains("48000 characters left out"), "{again}");
}

#[tokio::test]
async fn an_endless_answer_and_a_silent_server_are_not_waited_for() {
    let Some(model) = Model::start(json!([says(&"x".repeat(5000)), {"silent": true}, {"silent": true}])).await else {
        return;
    };
    let variables = [("MAX_REPLY_BYTES", "1000"), ("MCP_TIMEOUT", "1"), ("MCP_RETRIES", "1")];
    let service = model.service(&variables).await;
    let long = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!(long["error"]["code"], "brain_protocol");
    assert!(message(&long).ends_with("the answer is over 1000 bytes"), "{}", message(&long));
    let silent = service.finish(&json!({"instruction": "x"})).await;
    assert_eq!(silent["error"]["code"], "brain_unreachable");
    assert!(
        message(&silent).ends_with("no reply after 2 tries, the last: operation timed out"),
        "{}",
        message(&silent)
    );
    assert_eq!(model.requests().len(), 3);
}
