//! Every overlay renders, and every object in it is valid by its schema.

use serde_json::Value;

use crate::tools::{TOOLS, are_there, name, objects, overlays, passes, rendered, yaml};

/// Kinds of others, which Kubernetes' own schemas do not know. Nothing else may go unchecked.
const FOREIGN: &[&str] = &["ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule"];

#[test]
fn every_overlay_renders_and_each_object_is_valid() {
    if !are_there(TOOLS) {
        return;
    }
    for overlay in overlays() {
        let text = rendered(&overlay);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("objects.yaml");
        std::fs::write(&file, &text).unwrap();
        let said = passes("kubernetes-validate", &["--strict", file.to_str().unwrap()]);
        let objects = yaml(&text);
        assert!(objects.len() > 10, "{overlay} has only {} objects", objects.len());
        for object in &objects {
            let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
            let passed = format!(" passed for resource {}/{name} ", kind.to_lowercase());
            let unknown = format!("Couldn't find schema for kind {kind} ");
            let ok = if FOREIGN.contains(&kind) { said.contains(&unknown) } else { said.contains(&passed) };
            assert!(ok, "{overlay}: {kind} {name} was not checked: {said}");
        }
    }
}

#[test]
fn everything_lies_in_one_namespace_under_one_name() {
    for (overlay, objects) in objects() {
        for object in objects {
            if object["kind"] != "Namespace" {
                assert_eq!(object["metadata"]["namespace"], "codex-agent", "{overlay}: {}", name(object));
            }
            let called = object["metadata"]["name"].as_str().unwrap();
            assert!(called.starts_with("codex-agent"), "{overlay}: {called}");
        }
        let namespace = objects.iter().find(|object| object["kind"] == "Namespace").unwrap();
        assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted", "{overlay}");
    }
}

#[test]
fn the_secret_has_no_value_that_would_work() {
    for (overlay, objects) in objects() {
        let secrets: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Secret").collect();
        assert_eq!(secrets.len(), 1, "{overlay}");
        assert!(secrets[0]["data"].is_null(), "{overlay}");
        for (key, value) in secrets[0]["stringData"].as_object().unwrap() {
            assert_eq!(value, "", "{overlay}: {key} has a value that somebody may forget to replace");
        }
    }
}

#[test]
fn sqlite_has_one_process_and_postgres_has_many() {
    for (overlay, objects) in objects() {
        let kinds = |kind: &str| -> Vec<String> {
            let of_kind = objects.iter().filter(|object| object["kind"] == kind);
            of_kind.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        if overlay.ends_with("sqlite") {
            assert_eq!(kinds("Deployment"), ["codex-agent-brain"], "{overlay}");
            let set = objects.iter().find(|object| object["kind"] == "StatefulSet").unwrap();
            assert_eq!(set["spec"]["replicas"], 1, "{overlay}");
            let claims = set["spec"]["volumeClaimTemplates"].as_array().unwrap();
            assert_eq!(claims.len(), 2, "{overlay}: the files and the database");
        } else if overlay != "deploy/base" {
            assert_eq!(
                kinds("Deployment"),
                ["codex-agent-api", "codex-agent-brain", "codex-agent-worker"],
                "{overlay}"
            );
            assert!(kinds("StatefulSet").is_empty(), "{overlay}");
        }
    }
}
