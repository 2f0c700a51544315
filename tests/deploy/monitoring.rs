//! Alerts and dashboard speak of figures that there are, and the alerts are raised when they should be.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tools::{are_there, objects, passes, read, repository, written, yaml};

/// What `/metrics` tells. A histogram has `_bucket`, `_sum` and `_count` as well.
const METRICS: &[&str] = &[
    "codex_agent_tasks",
    "codex_agent_queue_oldest_age_seconds",
    "codex_agent_capacity_tasks",
    "codex_agent_workers",
    "codex_agent_tasks_submitted_total",
    "codex_agent_tasks_ended_total",
    "codex_agent_tasks_failed_total",
    "codex_agent_iterations_total",
    "codex_agent_leases_lost_total",
    "codex_agent_tasks_requeued_total",
    "codex_agent_record_bytes_total",
    "codex_agent_brain_step_duration_seconds",
    "codex_agent_tool_call_duration_seconds",
    "codex_agent_http_request_duration_seconds",
    "codex_agent_build_info",
    "codex_agent_database_connections",
    "codex_agent_database_size_bytes",
    "codex_agent_database_wal_bytes",
];

/// What every replica tells of the whole queue: added up it would be several times the truth.
const OF_ALL: &[&str] = &[
    "codex_agent_tasks{",
    "codex_agent_queue_oldest_age_seconds",
    "codex_agent_capacity_tasks",
    "codex_agent_workers",
];

const ALERTS: &str = "deploy/components/monitoring/alerts.yaml";
const EXAMPLES: &str = "deploy/components/monitoring/rules_test.yaml";
const DASHBOARD: &str = "deploy/components/monitoring/codex-agent.json";

/// The names of this service's figures in a text.
fn figures(text: &str) -> BTreeSet<String> {
    let name = |at: usize| text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    text.match_indices("codex_agent_").map(|(at, _)| name(at)).collect()
}

/// What a rule or panel asks for.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value.as_str() {
                Some(text) if key == "expr" => vec![text.to_owned()],
                _ => expressions(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}

#[test]
fn alerts_and_dashboard_speak_of_figures_that_there_are() {
    let mut used = BTreeSet::new();
    for file in [ALERTS, EXAMPLES, DASHBOARD] {
        for figure in figures(&read(file)) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| figure.strip_suffix(end));
            let known = base.filter(|base| base.ends_with("_seconds")).unwrap_or(&figure);
            assert!(METRICS.contains(&known), "{file}: /metrics has no {figure}");
            used.insert(known.to_owned());
        }
    }
    // README.md is held to what is told by a test of its own.
    let page = read("README.md");
    let told: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `codex_agent_")?.split(['`', '{']).next()).collect();
    let known: BTreeSet<&str> = METRICS.iter().filter_map(|metric| metric.strip_prefix("codex_agent_")).collect();
    assert_eq!(known, told, "METRICS is not what README.md lists");
    for metric in METRICS {
        assert!(used.contains(*metric), "neither an alert nor the dashboard looks at {metric}");
    }
}

#[test]
fn what_every_replica_tells_alike_is_not_added_up() {
    if !are_there(&["python3", "kubernetes-validate"]) {
        return;
    }
    let alerts = yaml(&read(ALERTS));
    let expressions: Vec<String> = alerts.iter().chain([&dashboard()]).flat_map(expressions).collect();
    assert!(expressions.len() > 20, "only {} expressions were found", expressions.len());
    let mut seen = 0;
    for expression in &expressions {
        for part in expression.split(" and ") {
            if OF_ALL.iter().any(|figure| part.contains(figure)) {
                seen += 1;
                assert!(part.trim_start().starts_with("max"), "{expression}");
            }
        }
    }
    assert!(seen > 5, "only {seen} of them are of the whole queue");
}

#[test]
fn the_alerts_are_valid_and_are_raised_when_they_should_be() {
    if !are_there(&["promtool", "python3", "kubernetes-validate"]) {
        return;
    }
    let alerts = yaml(&read(ALERTS));
    let dir = written(&alerts[0]["spec"]);
    let said = passes("promtool", &["check", "rules", dir.path().join("rules.yaml").to_str().unwrap()]);
    let rules = alerts[0]["spec"]["groups"][0]["rules"].as_array().unwrap();
    assert!(said.contains(&format!("{} rules found", rules.len())), "{said}");
    let examples = dir.path().join("rules_test.yaml");
    std::fs::copy(repository(EXAMPLES), &examples).unwrap();
    passes("promtool", &["test", "rules", examples.to_str().unwrap()]);
    // One that is raised and one that is not, for each.
    let shown = yaml(&read(EXAMPLES));
    let shown: Vec<&Value> = shown[0]["tests"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    for rule in rules {
        let of_it = || shown.iter().filter(|example| example["alertname"] == rule["alert"]);
        let raised = of_it().any(|example| !example["exp_alerts"].as_array().unwrap().is_empty());
        let quiet = of_it().any(|example| example["exp_alerts"].as_array().unwrap().is_empty());
        assert!(raised && quiet, "{EXAMPLES} has no two examples for {}", rule["alert"]);
        for field in ["summary", "description"] {
            assert!(rule["annotations"][field].is_string(), "{} has no {field}", rule["alert"]);
        }
    }
}

#[test]
fn the_database_is_busy_when_all_connections_that_there_may_be_are_taken() {
    for (overlay, objects) in objects().iter().filter(|(overlay, _)| overlay.ends_with("/monitoring")) {
        let rules = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
        let rules = rules["spec"]["groups"][0]["rules"].as_array().unwrap();
        let busy = rules.iter().find(|rule| rule["alert"] == "CodexAgentDatabaseBusy").unwrap();
        let most = objects.iter().find_map(|object| object["data"]["DATABASE_CONNECTIONS"].as_str()).unwrap();
        let expression = busy["expr"].as_str().unwrap();
        assert!(expression.ends_with(&format!(" >= {most}")), "{overlay}: {expression}, and there are {most}");
    }
}

#[test]
fn the_dashboard_is_what_grafana_is_given() {
    let shown = dashboard();
    let panels = shown["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!expressions(panel).is_empty() && panel["description"].is_string(), "{panel}");
    }
    for (overlay, objects) in objects() {
        let watched = objects.iter().find(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1");
        assert_eq!(watched.is_some(), overlay.contains("monitoring"), "{overlay}");
        if let Some(map) = watched {
            let given = map["data"]["codex-agent.json"].as_str().unwrap();
            assert_eq!(serde_json::from_str::<Value>(given).unwrap(), shown, "{overlay}");
        }
    }
}
