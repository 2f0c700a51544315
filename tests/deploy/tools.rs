//! The tools, and the files as values.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::common::skip;

/// Reads YAML as the tools do, several documents or one, and writes JSON. Some files are for a person and have anchors.
const YAML_TO_JSON: &str = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";

/// What objects are looked at with; where the last one is, Python reads YAML.
pub const TOOLS: &[&str] = &["kubectl", "python3", "kubernetes-validate"];

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether all of these are installed; says so if one is not.
pub fn are_there(tools: &[&str]) -> bool {
    let is_there = |tool: &&&str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", tool]).stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    let missing: Vec<&&str> = tools.iter().filter(|tool| !is_there(tool)).collect();
    if !missing.is_empty() {
        skip(&format!("{missing:?} are not installed"));
    }
    missing.is_empty()
}

/// Runs a tool on files of the repository.
pub fn run(tool: &str, arguments: &[&str]) -> Output {
    Command::new(tool).args(arguments).current_dir(repository("")).stdin(Stdio::null()).output().unwrap()
}

/// What a tool that is content prints.
pub fn passes(tool: &str, arguments: &[&str]) -> String {
    let output = run(tool, arguments);
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{tool} {arguments:?}: {}: {said}", output.status);
    said
}

/// The documents in a YAML text.
pub fn yaml(text: &str) -> Vec<Value> {
    let mut python = Command::new("python3");
    python.args(["-c", YAML_TO_JSON]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "not YAML, or Python has no yaml: {text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A value as YAML, which JSON is as well.
pub fn written(value: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), value.to_string()).unwrap();
    dir
}

/// All directories of overlays, and the base: each is a way to run the service.
pub fn overlays() -> Vec<String> {
    let mut found = vec!["deploy/base".to_owned()];
    for entry in std::fs::read_dir(repository("deploy/overlays")).unwrap() {
        found.push(format!("deploy/overlays/{}", entry.unwrap().file_name().into_string().unwrap()));
    }
    found.sort();
    found
}

/// What `kubectl apply -k` would send to a cluster.
pub fn rendered(overlay: &str) -> String {
    rendered_in(&repository(""), overlay)
}

/// The same of an overlay that lies elsewhere.
pub fn rendered_in(directory: &Path, overlay: &str) -> String {
    let output = Command::new("kubectl").args(["kustomize", overlay]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{overlay}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Each overlay with its objects; nothing where the tools for it are missing.
pub fn objects() -> &'static [(String, Vec<Value>)] {
    // Rendered once for all tests: each rendering is two processes.
    static OBJECTS: OnceLock<Vec<(String, Vec<Value>)>> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        if !are_there(TOOLS) {
            return Vec::new();
        }
        let found: Vec<_> =
            overlays().into_iter().map(|overlay| (overlay.clone(), yaml(&rendered(&overlay)))).collect();
        assert!(found.len() >= 5, "deploy/overlays has lost some: {}", found.len());
        found
    })
}

/// `Kind name`
pub fn name(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}
