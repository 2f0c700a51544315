//! The text as a whole: Prometheus's own tool reads it, and README.md has a line for each metric.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use codex_agent::domain::{Outcome, Timestamp};
use codex_agent::metrics::{BrainOutcome, Database, Metrics, Queue, Seen, Tool, ToolStatus};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::scrape;
use crate::common::brain::finish;
use crate::common::{Service, skip};

/// Where README.md has the list, between these two lines.
const LIST: (&str, &str) = ("<!-- metrics -->\n", "<!-- /metrics -->\n");

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_text() {
    let service = Service::start("script:", &[]).await;
    service.finish(&json!({"instruction": "x", "script": [finish()]})).await;
    check(&scrape(&service).await).await;
    check(&everything()).await;
}

#[test]
fn histograms_are_cumulative_and_have_a_bucket_for_each_limit_that_is_set() {
    let metrics = Metrics::new("1", Timestamp::from_millis(1));
    for millis in [0, 1, 7, 300, 19_000, 3_600_000] {
        let took = Duration::from_millis(millis);
        metrics.brain_step(BrainOutcome::Reply, took);
        metrics.tool_call(Tool::RunCommand, ToolStatus::Success, took);
        metrics.http_request("GET", "/tasks", "200", took);
    }
    let text = metrics.text(&Seen::default());
    // MCP_TIMEOUT; CMD_TIMEOUT and CMD_TIMEOUT_MAX; the longest wait. `/healthz` is promised within 10 ms.
    for (name, labels, limits) in [
        ("brain_step", "outcome=\"reply\"", &["120"][..]),
        ("tool_call", "status=\"success\",tool=\"run_command\"", &["20", "600"]),
        ("http_request", "method=\"GET\",route=\"/tasks\",status=\"200\"", &["0.01", "300"]),
    ] {
        let prefix = format!("codex_agent_{name}_duration_seconds_bucket{{{labels},le=\"");
        let buckets: Vec<(&str, u32)> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix)?.split_once("\"} "))
            .map(|(bound, count)| (bound, count.parse().unwrap()))
            .collect();
        assert!(buckets.is_sorted_by_key(|(_, count)| *count) && buckets.len() < 20, "{name}: {buckets:?}");
        assert!(buckets.iter().any(|(_, count)| *count == 2), "no bucket parts 1 ms from 7 ms: {buckets:?}");
        assert_eq!(buckets.last(), Some(&("+Inf", 6)), "{name}");
        let bounds: Vec<_> = buckets.iter().map(|(bound, _)| *bound).collect();
        assert!(limits.iter().all(|limit| bounds.contains(limit)), "{name}: {bounds:?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the word of whoever runs the test")]
fn the_list_in_the_readme_is_that_of_the_text() {
    let page = std::fs::read_to_string("README.md").unwrap();
    let (before, rest) = page.split_once(LIST.0).unwrap();
    let (shown, after) = rest.split_once(LIST.1).unwrap();
    let list = list(&everything());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write("README.md", [before, LIST.0, &list, LIST.1, after].concat()).unwrap();
        return;
    }
    assert_eq!(shown, list, "update it with `UPDATE=1 cargo test --test service metrics`");
}

#[tokio::test]
async fn a_service_tells_all_of_the_list_that_is_of_its_database() {
    let service = Service::start("script:", &[]).await;
    let all = everything();
    let elsewhere = BTreeSet::from(["codex_agent_database_connections".to_owned()]);
    // The requests are counted when they are answered, so there is one before.
    drop(scrape(&service).await);
    assert_eq!(names(&scrape(&service).await), names(&all).difference(&elsewhere).cloned().collect());
}

/// A text with every metric there is, as no single service has it.
fn everything() -> String {
    let metrics = Metrics::new("1", Timestamp::from_millis(1));
    metrics.task_ended(&Outcome::Cancelled);
    metrics.http_request("GET", "/tasks", "200", Duration::ZERO);
    let queue = Queue { queued: 1, running: 1, oldest_age: Duration::ZERO, capacity: 1, workers: 1 };
    let whole = Seen { queue: Some(queue), database: Some(Database::File { bytes: 1, log_bytes: 1 }) };
    let elsewhere = Seen { queue: None, database: Some(Database::Pool { idle: 1, used: 1 }) };
    let connections = metrics.text(&elsewhere);
    let connections = connections.lines().filter(|line| line.contains("codex_agent_database_connections"));
    connections.fold(metrics.text(&whole), |text, line| text + line + "\n")
}

/// The rows of the table: name with labels, kind, and what is said of it.
fn list(text: &str) -> String {
    let mut table = "| metric | kind | what it is |\n| --- | --- | --- |\n".to_owned();
    for name in names(text) {
        let said = |what: &str| {
            let prefix = format!("# {what} {name} ");
            text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap()
        };
        let series = |line: &&str| line.starts_with(&name) && line[name.len()..].starts_with(['{', ' ', '_']);
        let first = text.lines().find(series).unwrap();
        let labels = first.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).filter(|name| *name != "le");
        let labels: Vec<_> = labels.collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(", ")) };
        let meaning = said("HELP").trim_end_matches('.').replace('|', "\\|");
        writeln!(table, "| `{name}{labels}` | {} | {meaning} |", said("TYPE")).unwrap();
    }
    table
}

/// Has Prometheus's own tool read the text.
#[expect(clippy::disallowed_methods, reason = "the tool is run as a user runs it")]
async fn check(text: &str) {
    let mut command = tokio::process::Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return skip(&format!("promtool cannot be run: {error}")),
    };
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// The names of all metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}
