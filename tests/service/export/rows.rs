//! What `GET /export` answers.

use std::collections::BTreeSet;

use serde_json::json;

use super::{FORMATS, planned, printed, rows, run, stories, task};
use crate::common::brain::{call, finish};
use crate::common::{Service, send};

#[tokio::test]
async fn the_rows_over_http_are_those_that_the_command_prints() {
    let brain = planned().await;
    let service = Service::start(&brain.url, &[]).await;
    stories(&service).await;
    for format in FORMATS {
        let answer = service.get(&format!("/export?format={format}")).await;
        assert!(!rows(&answer).is_empty(), "{format}");
        assert_eq!(answer.text(), printed(&service.home, &["-q", "--format", format], &[]).await, "{format}");
    }
    for (query, flags) in [
        ("", "-q"),
        ("examples=turn&system=Be+brief.", "-q --examples turn --system Be\u{a0}brief."),
        ("include_scripted=true&status=succeeded,failed", "-q --include-scripted --status succeeded,failed"),
        (
            "max_per_group=1&dedupe=true&redact=none&allow_secrets=true",
            "-q --max-per-group 1 --dedupe --redact none --allow-secrets",
        ),
        ("split=train&validation_percent=50", "-q --split train --validation-percent 50"),
        ("split=validation&validation_percent=50", "-q --split validation --validation-percent 50"),
    ] {
        let flags: Vec<_> = flags.split(' ').map(|flag| flag.replace('\u{a0}', " ")).collect();
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let answer = service.get(&format!("/export?{query}")).await;
        rows(&answer);
        assert_eq!(answer.text(), printed(&service.home, &flags, &[]).await, "{query}");
    }
    // A script is followed by no model, so only the one answer of those above has it.
    let scripted = service.get("/export?format=atif&include_scripted=true").await;
    assert_eq!(rows(&scripted).len(), rows(&service.get("/export?format=atif").await).len() + 1);
}

#[tokio::test]
async fn each_row_is_in_one_part_and_those_of_a_group_are_in_the_same() {
    let brain = planned().await;
    let service = Service::start(&brain.url, &[]).await;
    for n in 0..24 {
        service.finish(&task(&format!("t{n}"), &format!("Do {}.", n / 2), &[finish()])).await;
    }
    let part = async |part: &str| -> BTreeSet<String> {
        let answer = service.get(&format!("/export?format=records&validation_percent=50&split={part}")).await;
        let tasks = rows(&answer).into_iter().map(|row| row["agent_input"]["task"]["task_id"].clone());
        tasks.map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    let (train, validation) = (part("train").await, part("validation").await);
    assert!(train.is_disjoint(&validation) && !train.is_empty() && !validation.is_empty());
    assert_eq!(train.len() + validation.len(), 24);
    for pair in 0..12 {
        let here = |n: u32| train.contains(&format!("t{n}"));
        assert_eq!(here(2 * pair), here(2 * pair + 1), "{pair}");
    }
    assert_eq!(rows(&service.get("/export?validation_percent=0&split=validation").await).len(), 0);
}

#[tokio::test]
async fn a_parameter_at_fault_is_named() {
    let service = Service::start("script:", &[]).await;
    for (query, pointer, detail) in [
        ("format=xml", "?format", "must be one of openai, hf, dpo-openai, dpo-hf, atif, records"),
        ("format=hf&format=hf", "?format", "is given more than once"),
        ("format=", "?format", "must be one of openai,"),
        ("split=test", "?split", "must be train or validation"),
        ("split=train&split=train", "?split", "is given more than once"),
        ("max_tokens=0", "?max_tokens", "0 is not in 1.."),
        ("max_per_group=many", "?max_per_group", "invalid digit"),
        ("validation_percent=101", "?validation_percent", "101 is not in 0..=100"),
        ("since=yesterday", "?since", "must be a time as in"),
        ("since=2026-02-01&until=2026-02-01", "?until", "must be later than since"),
        ("status=queued", "?status", "queued tasks have no record"),
        ("status=succeeded,running", "?status", "running tasks have not ended"),
        ("outcome=good", "?outcome", "must be accepted or rejected"),
        ("label==x", "?label", "must be"),
        ("dedupe=yes", "?dedupe", "must be true or false"),
        ("too_long=truncate-observations", "?too_long", "needs max_tokens"),
        ("examples=turn&format=atif", "?examples", "is for the formats openai and hf"),
        ("redact=none", "?redact", "none leaves passwords and keys in the data; allow_secrets says that this is meant"),
        ("allow_secrets=true", "?allow_secrets", "goes with redact none alone"),
        // Where it would be written is nothing that a client decides.
        ("to=/tmp/x", "?to", "is not known here; known: format, examples,"),
        ("dry_run=true", "?dry_run", "is not known here"),
    ] {
        let answer = service.get(&format!("/export?{query}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (422, "application/problem+json"), "{query}");
        let told = &answer.json()["errors"][0];
        let said = told["detail"].as_str().unwrap();
        assert!(told["pointer"] == pointer && said.starts_with(detail), "{query}: {told}");
    }
    // None of them is in the way of the next one.
    assert_eq!(rows(&service.get("/export").await).len(), 0);
}

#[tokio::test]
async fn who_has_no_token_gets_nothing_and_who_has_one_does_not_get_it_back() {
    let (token, key) = ("plain-words-in-a-row", "another/plain one");
    let brain = planned().await;
    let variables = [("API_TOKENS", token), ("OPENAI_API_KEY", key)];
    let service = Service::start(&brain.url, &variables).await;
    let refused = service.get("/export?format=records").await;
    assert_eq!((refused.status, refused.header("www-authenticate").is_empty()), (401, false));

    let with_token = async |method: &str, path: &str, body: String| {
        let request = service.request(method, path).bearer_auth(token).header("content-type", "application/json");
        send(request.body(body)).await
    };
    let told = call("run_command", &json!({"command": format!("printf 'I have %s and %s' {token} '{key}'")}));
    let task = task("leak", &format!("Never say {token}."), &[told, finish()]);
    assert_eq!(with_token("POST", "/tasks", task.to_string()).await.status, 202);
    crate::common::eventually("it has ended", async || {
        with_token("GET", "/tasks/leak?wait=5", String::new()).await.json()["status"] == "succeeded"
    })
    .await;
    let record = with_token("GET", "/tasks/leak/log", String::new()).await.text();
    assert!(record.contains(&format!("I have {token} and {key}")), "{record}");

    for format in ["openai", "hf", "atif", "records"] {
        let answer = with_token("GET", &format!("/export?format={format}"), String::new()).await;
        assert!(!rows(&answer).is_empty(), "{format}");
        let text = answer.text();
        assert!(!text.contains(token) && !text.contains(key) && text.contains("I have "), "{text}");
        assert_eq!(text, printed(&service.home, &["-q", "--format", format], &variables).await);
    }
    let meant = with_token("GET", "/export?redact=none&allow_secrets=true", String::new()).await;
    assert!(meant.text().contains(token) && meant.text().contains(key));
    let refused = run(&service.home, &["--redact", "none"], &variables).await;
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0));
}

#[tokio::test]
async fn a_worker_that_answers_no_clients_exports_to_none() {
    let Some(database) = crate::postgres::Postgres::database().await else { return };
    let url = database.url();
    let worker = Service::start("script:", &[("ROLE", "worker"), ("DATABASE_URL", &url)]).await;
    assert_eq!(worker.get("/export").await.status, 404);
}
