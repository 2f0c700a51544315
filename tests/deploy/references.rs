//! What names something else names something that is there; and who may talk to whom.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::pods::{Pod, pods};
use crate::tools::{are_there, name, objects, passes, read, yaml};

/// The program, whose own word on variables and arguments counts.
const PROGRAM: &str = env!("CARGO_BIN_EXE_codex-agent");

/// What is the system's, or only there to be part of another variable.
const NOT_OURS: &[&str] = &["HOME", "CLIENT_TOKENS", "METRICS_TOKEN"];

/// Whether a selector's `matchLabels` (or a Service's selector) fit these labels.
fn fits(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

fn of_kind<'a>(objects: &'a [Value], kind: &'static str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

#[test]
fn every_selector_finds_pods() {
    for (overlay, objects) in objects() {
        let pods = pods(objects);
        let finds = |object: &Value, selector: &Value| {
            let found = pods.iter().any(|pod| fits(selector, &pod.labels));
            // Alone, the base has no pods that answer clients: an overlay adds them.
            let later = overlay == "deploy/base" && selector["codex-agent/answers"] == "clients";
            assert!(found || later, "{overlay}: {} selects nothing", name(object));
        };
        for object in objects {
            match object["kind"].as_str().unwrap() {
                "Service" => finds(object, &object["spec"]["selector"]),
                "NetworkPolicy" => finds(object, &object["spec"]["podSelector"]["matchLabels"]),
                "Deployment" | "StatefulSet" | "PodDisruptionBudget" => {
                    finds(object, &object["spec"]["selector"]["matchLabels"]);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn what_pods_refer_to_is_there() {
    for (overlay, objects) in objects() {
        let there = |kind: &'static str, called: &Value| {
            of_kind(objects, kind).find(|object| object["metadata"]["name"] == *called)
        };
        for pod in pods(objects) {
            let of = format!("{overlay}: {}", pod.of);
            for variable in pod.container()["env"].as_array().into_iter().flatten() {
                let secret = &variable["valueFrom"]["secretKeyRef"];
                if !secret.is_null() {
                    let key = secret["key"].as_str().unwrap();
                    let found = there("Secret", &secret["name"]).is_some_and(|it| it["stringData"][key].is_string());
                    assert!(found, "{of}: {variable}");
                }
            }
            for map in pod.container()["envFrom"].as_array().into_iter().flatten() {
                assert!(there("ConfigMap", &map["configMapRef"]["name"]).is_some(), "{of}: {map}");
            }
            for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
                let claim = &volume["persistentVolumeClaim"]["claimName"];
                assert!(claim.is_null() || there("PersistentVolumeClaim", claim).is_some(), "{of}: {volume}");
            }
            assert!(there("ServiceAccount", &pod.spec["serviceAccountName"]).is_some(), "{of}");
        }
        let brain = of_kind(objects, "ConfigMap")
            .find_map(|map| map["data"]["MCP_SERVER_URL"].as_str().filter(|url| url.starts_with("grpc")));
        let service = there("Service", &json!("codex-agent-brain")).unwrap();
        let port = &service["spec"]["ports"][0]["port"];
        assert_eq!(brain, Some(&*format!("grpc://codex-agent-brain:{port}")), "{overlay}");
    }
}

/// The ports that a pod may be asked at, or may ask others at: nobody else's, where a policy applies at all.
fn ports(objects: &[Value], pod: &Pod, direction: &str) -> Option<BTreeSet<u64>> {
    let (kind, rules) = if direction == "out" { ("Egress", "egress") } else { ("Ingress", "ingress") };
    let policies = of_kind(objects, "NetworkPolicy").filter(|policy| {
        let applies = policy["spec"]["policyTypes"].as_array().unwrap().contains(&json!(kind));
        applies && fits(&policy["spec"]["podSelector"]["matchLabels"], &pod.labels)
    });
    let mut found = None;
    for policy in policies {
        let ports: &mut BTreeSet<u64> = found.get_or_insert_default();
        for rule in policy["spec"][rules].as_array().into_iter().flatten() {
            let to = rule["to"].as_array().or(rule["from"].as_array());
            assert!(to.is_some_and(|to| !to.is_empty()), "{}: anybody", name(policy));
            let listed = rule["ports"].as_array().unwrap_or_else(|| panic!("{}: any port", name(policy)));
            ports.extend(listed.iter().map(|port| port["port"].as_u64().unwrap()));
        }
    }
    found
}

#[test]
fn pods_reach_what_they_need_and_nobody_else() {
    for (overlay, objects) in objects() {
        let monitored = overlay.contains("monitoring");
        for pod in pods(objects) {
            let asked = |ports: &[u64]| -> BTreeSet<u64> { ports.iter().copied().collect() };
            let http: &[u64] = if monitored { &[8080] } else { &[] };
            // DNS is 53, the brain 8000, PostgreSQL 5432, the model's server 443.
            let (out, r#in) = match pod.labels["app.kubernetes.io/component"].as_str().unwrap() {
                // The base does not know yet where the database is.
                "worker" if overlay == "deploy/base" => (asked(&[53, 8000]), asked(http)),
                "worker" => (asked(&[53, 8000, 5432]), asked(http)),
                "agent" => (asked(&[53, 8000]), asked(&[8080])),
                "api" => (asked(&[53, 5432]), asked(&[8080])),
                "export" => (asked(&[53, 5432]), asked(&[])),
                "brain" => (asked(&[53, 443]), asked(&[8000])),
                other => panic!("{overlay}: {other} is new; what may it reach?"),
            };
            assert_eq!(ports(objects, &pod, "out"), Some(out), "{overlay}: {}", pod.of);
            assert_eq!(ports(objects, &pod, "in"), Some(r#in), "{overlay}: {}", pod.of);
        }
    }
}

#[test]
fn the_models_key_is_with_the_brain_alone() {
    for (overlay, objects) in objects() {
        for pod in pods(objects) {
            let text = pod.spec.to_string();
            let is_brain = pod.labels["app.kubernetes.io/component"] == "brain";
            assert_eq!(text.contains("MODEL_API_KEY"), is_brain, "{overlay}: {}", pod.of);
            assert_eq!(text.contains("\"DATABASE_URL\""), pod.labels["codex-agent/stores"] == "database", "{overlay}");
        }
    }
}

#[test]
fn the_autoscaler_counts_on_what_a_worker_takes() {
    let mut scaled = 0;
    for (overlay, objects) in objects() {
        let Some(object) = of_kind(objects, "ScaledObject").next() else { continue };
        scaled += 1;
        let map = of_kind(objects, "ConfigMap").find(|map| map["data"]["MAX_RUNNING"].is_string()).unwrap();
        let trigger = &object["spec"]["triggers"][0];
        let told = &trigger["metadata"];
        let target = if trigger["type"] == "postgresql" {
            assert_eq!(told["query"], "SELECT unfinished FROM codex_agent_load", "{overlay}");
            &told["targetQueryValue"]
        } else {
            assert_eq!((&trigger["type"], &told["valueLocation"]), (&json!("metrics-api"), &json!("unfinished")));
            &told["targetValue"]
        };
        assert_eq!(*target, map["data"]["MAX_RUNNING"], "{overlay}: a worker takes another number than is counted on");
        assert_eq!(trigger["metricType"], "AverageValue", "{overlay}: else the number of workers is not divided by");
        assert_eq!(object["spec"]["minReplicaCount"], 0, "{overlay}");
        let worker = of_kind(objects, "Deployment")
            .find(|it| it["metadata"]["name"] == object["spec"]["scaleTargetRef"]["name"]);
        assert!(worker.unwrap()["spec"]["replicas"].is_null(), "{overlay}: each `apply` would set the number back");
        let keys = of_kind(objects, "TriggerAuthentication")
            .find(|it| it["metadata"]["name"] == trigger["authenticationRef"]["name"]);
        let key = keys.unwrap()["spec"]["secretTargetRef"][0]["key"].as_str().unwrap();
        let secret = of_kind(objects, "Secret").next().unwrap();
        assert!(secret["stringData"][key].is_string(), "{overlay}: {key} is not in the Secret");
    }
    // Where the tools are missing there are no overlays at all.
    assert!(scaled >= 3 || objects().is_empty(), "only {scaled} overlays scale by themselves");
}

/// Fails unless the help has the variable. Its lines are as long as a terminal's, so that a name may stand on the next one.
fn is_known(help: &str, variable: &str, place: &str) {
    let mut words = help.split_whitespace().zip(help.split_whitespace().skip(1));
    let is_it = |word: &str| word.strip_prefix(variable).is_some_and(|rest| rest.starts_with(['=', ']']));
    let known = NOT_OURS.contains(&variable) || words.any(|(before, word)| before == "[env:" && is_it(word));
    assert!(known, "{place}: the program has no variable {variable}");
}

#[test]
fn the_program_knows_every_setting_that_it_is_given() {
    let help = passes(PROGRAM, &["--help"]);
    let unit = read("deploy/systemd/codex-agent.service");
    let set = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    set.for_each(|(variable, _)| is_known(&help, variable, "the unit"));
    for (overlay, objects) in objects() {
        for map in of_kind(objects, "ConfigMap").filter(|map| map["data"]["LISTEN"].is_string()) {
            let set = map["data"].as_object().unwrap().keys();
            set.for_each(|variable| is_known(&help, variable, &format!("{overlay}: {}", name(map))));
        }
        for pod in pods(objects) {
            for variable in pod.container()["env"].as_array().unwrap() {
                is_known(&help, variable["name"].as_str().unwrap(), &format!("{overlay}: {}", pod.of));
            }
            // The arguments, too; a shell's are its own.
            if pod.container()["command"].is_null() {
                let arguments =
                    pod.container()["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
                passes(PROGRAM, &arguments.chain(["--help"]).collect::<Vec<_>>());
            }
        }
    }
    if !are_there(&["python3", "kubernetes-validate"]) {
        return;
    }
    let compose = yaml(&read("docker-compose.yml")).remove(0);
    for service in ["agent", "worker", "brain"] {
        let set = compose["services"][service]["environment"].as_object().unwrap().keys();
        set.for_each(|variable| is_known(&help, variable, service));
    }
}
