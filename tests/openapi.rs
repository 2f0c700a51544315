//! The description in `openapi/openapi.json` is the one the program gives, and a valid one.
//!
//! After a change of the API: `UPDATE=1 cargo test --test openapi`.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

#[path = "common/mod.rs"]
#[expect(dead_code, reason = "not every test file uses all of the harness")]
mod common;

use serde_json::Value;

use common::{Home, Service, skip};

#[test]
#[expect(clippy::disallowed_methods, reason = "the word of whoever runs the test")]
fn the_committed_description_is_the_programs_own() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let own = codex_agent::http::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &own).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == own, "openapi/openapi.json is out of date: UPDATE=1 cargo test --test openapi");
}

#[test]
fn every_response_has_a_description_and_every_operation_a_name_of_its_own() {
    let document: Value = serde_json::from_str(&codex_agent::http::openapi().to_json().unwrap()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let described = response["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described, "{method} {path}: {status} has no description");
            }
        }
    }
    assert_eq!(names.len(), 13);
}

#[test]
fn the_words_described_are_those_of_the_domain() {
    use codex_agent::domain::{ErrorCode, Status, VerdictOutcome};
    let document: Value = serde_json::from_str(&codex_agent::http::openapi().to_json().unwrap()).unwrap();
    let described = |name: &str| document["components"]["schemas"][name]["enum"].clone();
    let statuses: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let verdicts: Vec<_> = VerdictOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
    assert_eq!((described("Status"), described("ErrorCode")), (statuses.into(), codes.into()));
    assert_eq!(described("Verdict"), serde_json::json!(verdicts));
}

#[tokio::test]
async fn the_service_serves_the_same_description() {
    let service = Service::start("script:", &[]).await;
    let served = service.get("/openapi.json").await.json();
    let own: Value = serde_json::from_str(&codex_agent::http::openapi().to_json().unwrap()).unwrap();
    assert_eq!(served, own);
    let printed = Home::new().command(&["openapi"]).output().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&printed.stdout).unwrap(), own);
}

#[tokio::test]
async fn the_openapi_validator_finds_no_error() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let Some(output) = tool("openapi-spec-validator", &[path]).await else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn schemathesis_finds_no_failure_in_the_running_service() {
    let service = Service::start("script:", &[("MAX_RUNNING", "4")]).await;
    let url = format!("{}/openapi.json", service.url);
    // Options of an export that do not go together are refused, and no description can say which: that all it describes is taken
    // is not asked of that call.
    let export = ["--include-path", "/export", "--exclude-checks", "positive_data_acceptance"];
    for which in [&["--exclude-path", "/export"][..], &export] {
        // A seed, and few examples: the same run each time, and a short one.
        let arguments =
            ["run", &url, "--checks", "all", "--max-examples", "20", "--seed", "7", "--generation-database", "none"];
        let Some(output) = tool("schemathesis", &[&arguments[..], which].concat()).await else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
    }
    assert_eq!(service.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn the_docs_page_shows_every_call_in_a_browser() {
    let service = Service::start("script:", &[]).await;
    let profile = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", profile.path().display());
    let (url, budget) = (format!("{}/docs/", service.url), "--virtual-time-budget=10000");
    // Nothing but this page is to be fetched.
    let quiet = ["--disable-background-networking", "--disable-quic", "--no-first-run"];
    let arguments =
        [&["--headless", "--no-sandbox", "--disable-gpu", &profile, budget], &quiet[..], &["--dump-dom", &url]];
    let Some(output) = tool("chromium", &arguments.concat()).await else { return };
    let page = String::from_utf8_lossy(&output.stdout);
    for call in ["submit", "list", "get", "delete", "log", "events", "cancel", "label"] {
        assert!(page.contains(&format!("operations-tasks-{call}")), "{call} is not on the page:\n{page}");
    }
    assert!(page.contains("operations-service-readyz"), "{page}");
}

/// Runs a program that tests with, if it is there.
#[expect(clippy::disallowed_methods, reason = "the tools are run as a user runs them")]
async fn tool(name: &str, arguments: &[&str]) -> Option<std::process::Output> {
    let home = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(name);
    let output = command.args(arguments).current_dir(home.path()).env_remove("CI").output().await;
    match output {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&format!("{name} cannot be run: {error}"));
            None
        }
    }
}
