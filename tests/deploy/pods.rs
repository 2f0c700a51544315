//! Every pod, wherever a template for one stands: its walls, probes, limits, and the time it has to stop.

use serde_json::{Value, json};

use crate::tools::{name, objects};

/// After SIGTERM the service waits `SHUTDOWN_GRACE` for tasks and this for answers, in seconds: `HTTP_GRACE` in src/app.rs.
const ANSWERS: u64 = 5;

/// What the service needs of a pod's memory itself, beside its commands, in bytes.
const SERVICE: u64 = 512 << 20;

/// A pod's template.
pub struct Pod {
    pub of: String,
    pub labels: Value,
    pub spec: Value,
}

impl Pod {
    pub fn container(&self) -> &Value {
        let containers = self.spec["containers"].as_array().unwrap();
        assert!(containers.len() == 1 && self.spec["initContainers"].is_null(), "{}: one container", self.of);
        &containers[0]
    }

    /// Whether it is one of the service itself.
    fn serves(&self) -> bool {
        self.container()["args"][0] == "serve"
    }

    /// The size that a volume at `path` may grow to, if it lies on the node.
    fn size_at(&self, path: &str) -> Option<u64> {
        let mounts = self.container()["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path)?;
        let volume = self.volumes().find(|volume| volume["name"] == mount["name"])?;
        volume["emptyDir"]["sizeLimit"].as_str().map(bytes)
    }

    fn volumes(&self) -> impl Iterator<Item = &Value> {
        self.spec["volumes"].as_array().into_iter().flatten()
    }
}

/// The templates in an object, at whatever depth.
pub fn pods(objects: &[Value]) -> Vec<Pod> {
    fn look(value: &Value, of: &str, found: &mut Vec<Pod>) {
        if value["spec"]["containers"].is_array() {
            let labels = value["metadata"]["labels"].clone();
            found.push(Pod { of: of.to_owned(), labels, spec: value["spec"].clone() });
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|value| look(value, of, found)),
            Value::Array(items) => items.iter().for_each(|value| look(value, of, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for object in objects {
        look(object, &name(object), &mut found);
    }
    assert!(found.len() >= 2, "an overlay without pods");
    found
}

/// A quantity as Kubernetes writes it.
fn bytes(quantity: &str) -> u64 {
    let (number, unit) = quantity.split_at(quantity.len() - 2);
    let unit = ["Ki", "Mi", "Gi"].iter().position(|known| *known == unit).unwrap_or_else(|| panic!("{quantity}"));
    number.parse::<u64>().unwrap() << (10 * (unit + 1))
}

/// A setting of the `ConfigMap`, by number.
fn setting(objects: &[Value], variable: &str) -> u64 {
    let mut maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
    let value = maps.find_map(|map| map["data"][variable].as_str());
    value.unwrap_or_else(|| panic!("{variable} is not in the ConfigMap")).parse().unwrap()
}

#[test]
fn every_pod_is_an_ordinary_user_behind_walls() {
    for (overlay, objects) in objects() {
        for pod in pods(objects) {
            let (of, spec) = (format!("{overlay}: {}", pod.of), &pod.spec);
            for (field, wanted) in [
                ("/automountServiceAccountToken", json!(false)),
                ("/enableServiceLinks", json!(false)),
                ("/serviceAccountName", json!("codex-agent")),
                ("/securityContext/runAsNonRoot", json!(true)),
                ("/securityContext/runAsUser", json!(65532)),
                ("/securityContext/runAsGroup", json!(65532)),
                ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
                ("/containers/0/securityContext/allowPrivilegeEscalation", json!(false)),
                ("/containers/0/securityContext/readOnlyRootFilesystem", json!(true)),
                ("/containers/0/securityContext/capabilities/drop", json!(["ALL"])),
            ] {
                assert_eq!(spec.pointer(field), Some(&wanted), "{of}: {field}");
            }
            let added = &pod.container()["securityContext"]["capabilities"]["add"];
            assert!(added.is_null() && pod.container()["securityContext"]["privileged"].is_null(), "{of}");
            for field in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec[field].is_null(), "{of}: {field}");
            }
            let (image, tag) = pod.container()["image"].as_str().unwrap().rsplit_once(':').unwrap();
            assert_eq!((image, tag), ("codex-agent", env!("CARGO_PKG_VERSION")), "{of}: no image of this version");
            if pod.serves() {
                // Beyond loopback nobody may ask it without a token, so it must have one.
                let variables = pod.container()["env"].as_array().unwrap();
                assert!(variables.iter().any(|variable| variable["name"] == "API_TOKENS"), "{of}: no token");
            }
        }
    }
}

#[test]
fn no_pod_takes_more_than_it_says() {
    for (overlay, objects) in objects() {
        for pod in pods(objects) {
            let of = format!("{overlay}: {}", pod.of);
            for kind in ["requests", "limits"] {
                for resource in ["cpu", "memory", "ephemeral-storage"] {
                    let amount = &pod.container()["resources"][kind][resource];
                    assert!(amount.is_string(), "{of}: {kind} of {resource}");
                }
            }
            let mut on_the_node = 0;
            for volume in pod.volumes() {
                assert!(volume["hostPath"].is_null(), "{of}: {volume}");
                if !volume["emptyDir"].is_null() {
                    on_the_node +=
                        bytes(volume["emptyDir"]["sizeLimit"].as_str().unwrap_or_else(|| panic!("{of}: {volume}")));
                }
            }
            let disk = bytes(pod.container()["resources"]["limits"]["ephemeral-storage"].as_str().unwrap());
            assert!(on_the_node <= disk, "{of}: its volumes may take {on_the_node} of {disk} bytes");
            assert!(pod.size_at("/tmp").is_some(), "{of}: there is no /tmp that can be written");
        }
    }
}

#[test]
fn what_commands_may_take_fits_into_the_pod() {
    for (overlay, objects) in objects() {
        let commands = setting(objects, "MAX_COMMANDS");
        let (memory, disk) = (setting(objects, "CMD_MAX_MEMORY"), setting(objects, "CMD_MAX_DISK"));
        let runs_commands = |pod: &Pod| pod.serves() && pod.container()["args"] != json!(["serve", "--role", "api"]);
        let pods: Vec<Pod> = pods(objects).into_iter().filter(runs_commands).collect();
        assert_eq!(pods.len(), 1, "{overlay}");
        for pod in pods {
            let limit = bytes(pod.container()["resources"]["limits"]["memory"].as_str().unwrap());
            assert!(commands * memory + SERVICE <= limit, "{overlay}: {}: commands may take {limit} bytes", pod.of);
            let limit = pod.size_at("/tmp").unwrap();
            assert!(commands * disk < limit, "{overlay}: {}: a full /tmp of {limit} bytes evicts the pod", pod.of);
        }
    }
}

#[test]
fn every_pod_that_serves_has_probes_and_time_to_stop() {
    for (overlay, objects) in objects() {
        for pod in pods(objects).iter().filter(|pod| pod.spec["restartPolicy"] != "Never") {
            let (of, container) = (format!("{overlay}: {}", pod.of), pod.container());
            let ready = if pod.serves() { "/readyz" } else { "/healthz" };
            for (probe, path) in
                [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", ready)]
            {
                assert_eq!(container[probe]["httpGet"]["path"], path, "{of}: {probe}");
                assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"], "{of}: {probe}");
            }
            let grace = if pod.serves() { setting(objects, "SHUTDOWN_GRACE") + ANSWERS } else { ANSWERS };
            let before = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
            let given = pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap();
            assert!(given > before + grace, "{of}: {given} s are not more than {before} and {grace}");
        }
    }
}
