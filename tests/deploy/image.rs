//! Outside Kubernetes: the image, docker-compose.yml, and the systemd unit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::tools::{are_there, passes, read, run, yaml};

const UNIT: &str = "deploy/systemd/codex-agent.service";

/// Exposure by `systemd-analyze security`, times ten: what is left open is explained in the unit.
const MOST_EXPOSED: &str = "--threshold=35";

#[test]
fn the_dockerfile_is_clean_and_its_bases_are_pinned() {
    let file = read("Dockerfile");
    let bases: Vec<&str> = file
        .lines()
        .filter(|line| line.starts_with("ARG "))
        .filter_map(|line| line.split_once('=')?.1.split_once(':').map(|at| at.1))
        .collect();
    assert_eq!(bases.len(), 2, "{bases:?}");
    for tag in bases {
        let version = tag.split('-').next().unwrap();
        assert!(version.matches('.').count() >= 1 && tag.contains('-'), "{tag} moves with every release");
    }
    for wanted in
        ["\nUSER 65532:65532\n", "\nHEALTHCHECK ", "org.opencontainers.image.version=", "--locked", "\nENTRYPOINT ["]
    {
        assert!(file.contains(wanted), "the Dockerfile has no {wanted:?}");
    }
    if are_there(&["hadolint"]) {
        passes("hadolint", &["--failure-threshold", "style", "Dockerfile"]);
    }
}

#[test]
fn compose_has_sqlite_as_it_is_and_a_cluster() {
    if !are_there(&["python3", "kubernetes-validate", "check-jsonschema"]) {
        return;
    }
    passes("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]);
    let file = yaml(&read("docker-compose.yml")).remove(0);
    let services = file["services"].as_object().unwrap();
    let of_profile = |profile: Option<&str>| -> Vec<&String> {
        let is_of = |service: &Value| service["profiles"] == profile.map_or(Value::Null, |profile| json!([profile]));
        services.iter().filter(|(_, service)| is_of(service)).map(|(name, _)| name).collect()
    };
    // Without a profile there is what always was.
    assert_eq!(of_profile(None), ["agent", "brain"]);
    assert_eq!(of_profile(Some("cluster")), ["postgres", "worker"]);
    assert_eq!(services["worker"]["deploy"]["replicas"], 3);
    assert!(services["postgres"]["image"].as_str().unwrap().starts_with("postgres:17."), "pinned");
    for (name, service) in services {
        assert!(service["user"].is_string() && service["user"] != "root", "{name}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
    }
    let key =
        services.iter().filter(|(_, service)| service.to_string().contains("MODEL_API_KEY")).map(|(name, _)| name);
    assert_eq!(key.collect::<Vec<_>>(), ["brain"], "the model's key is in one container");
    // The database is reached by those that keep tasks in it.
    let reach = services.iter().filter(|(_, service)| service["networks"].to_string().contains("database"));
    assert_eq!(reach.map(|(name, _)| name).collect::<Vec<_>>(), ["agent", "postgres", "worker"]);
    assert_eq!(file["networks"]["database"]["internal"], true);
}

#[test]
fn the_clusters_settings_are_all_that_makes_a_cluster() {
    let settings = read("deploy/cluster.env");
    let settings: BTreeMap<&str, &str> =
        settings.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once('=').unwrap()).collect();
    assert_eq!((settings["COMPOSE_PROFILES"], settings["AGENT_ROLE"]), ("cluster", "api"));
    assert!(settings["AGENT_DATABASE_URL"].starts_with("postgres://"), "{settings:?}");
    assert!(settings["AGENT_DATABASE_URL"].contains("${DATABASE_PASSWORD:?"), "a password is nobody's but the user's");
    let compose = read("docker-compose.yml");
    for name in settings.keys().filter(|name| **name != "COMPOSE_PROFILES") {
        assert!(compose.contains(&format!("${{{name}:-")), "docker-compose.yml has no use for {name}");
    }
}

#[test]
fn systemd_takes_the_unit() {
    let unit = read(UNIT);
    for wanted in ["KillMode=mixed", "OOMPolicy=continue", "NoNewPrivileges=yes", "ProtectSystem=strict"] {
        assert!(unit.lines().any(|line| line == wanted), "{UNIT} has no {wanted}");
    }
    let stop: u64 = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse().unwrap();
    assert!(stop > 25 + 5, "{stop} s are not more than SHUTDOWN_GRACE and the answers");
    if !are_there(&["systemd-analyze"]) {
        return;
    }
    // It wants to see the program, which lies elsewhere here.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("codex-agent.service");
    let here = unit.replace("/usr/local/bin/codex-agent", env!("CARGO_BIN_EXE_codex-agent"));
    assert_ne!(here, unit, "the unit starts another program");
    std::fs::write(&file, here).unwrap();
    let path = file.to_str().unwrap();
    // What it does not know it leaves out, with a line and a good exit code.
    assert_eq!(passes("systemd-analyze", &["verify", path]), "");
    passes("systemd-analyze", &["security", "--offline=true", MOST_EXPOSED, path]);
    // So it does see mistakes.
    std::fs::write(&file, unit.replace("OOMPolicy", "OomPolicy")).unwrap();
    let said = run("systemd-analyze", &["verify", path]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("OomPolicy"), "{}", String::from_utf8_lossy(&said));
}
