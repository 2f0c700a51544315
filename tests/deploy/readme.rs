//! deploy/README.md: what it shows is there, and the overlay in it is one.

use serde_json::json;

use crate::pods::pods;
use crate::tools::{TOOLS, are_there, read, rendered_in, repository, yaml};

/// A block that is shown as a file of this name.
fn shown(page: &str, file: &str) -> String {
    let (_, block) = page.split_once(&format!(" file={file}\n")).unwrap_or_else(|| panic!("the page shows no {file}"));
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn files_and_directories_that_the_page_names_exist() {
    let page = read("deploy/README.md");
    let words = page.split('`').skip(1).step_by(2).filter(|word| !word.contains([' ', '\n']));
    let roots =
        ["base/", "overlays/", "components/", "systemd/", "tests/", "cluster.env", "docker-compose.yml", "simulate"];
    let named: Vec<&str> = words.filter(|word| roots.iter().any(|root| word.starts_with(root))).collect();
    assert!(named.len() > 10, "the page has lost its map: {named:?}");
    for path in &named {
        assert!(repository(path).exists() || repository("deploy").join(path).exists(), "there is no {path}");
    }
    for kind in ["overlays", "components"] {
        for entry in std::fs::read_dir(repository("deploy").join(kind)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                page.contains(&format!("`{kind}/{name}/`")) || page.contains(&format!("`{name}`")),
                "{kind}/{name}"
            );
        }
    }
}

#[test]
fn the_overlay_that_is_shown_replaces_the_secret_and_the_image() {
    if !are_there(TOOLS) {
        return;
    }
    let page = read("deploy/README.md");
    // Beside a `deploy` that is this one, as the page has it.
    let dir = tempfile::tempdir().unwrap();
    let mine = dir.path().join("mine");
    std::fs::create_dir(&mine).unwrap();
    std::os::unix::fs::symlink(repository("deploy"), dir.path().join("deploy")).unwrap();
    for file in ["kustomization.yaml", "secret.env"] {
        std::fs::write(mine.join(file), shown(&page, &format!("mine/{file}"))).unwrap();
    }
    let objects = yaml(&rendered_in(dir.path(), "mine"));
    let empty = yaml(&read("deploy/base/secret.yaml")).remove(0);
    let secrets: Vec<_> = objects.iter().filter(|object| object["kind"] == "Secret").collect();
    assert!(secrets.len() == 1 && secrets[0]["stringData"].is_null(), "{secrets:?}");
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (mut given, mut wanted) = (keys(&secrets[0]["data"]), keys(&empty["stringData"]));
    given.sort();
    wanted.sort();
    assert_eq!(given, wanted, "the page replaces other values than there are");
    for pod in pods(&objects) {
        let image = pod.container()["image"].as_str().unwrap().to_owned();
        assert_eq!(image, concat!("registry.example/codex-agent:", env!("CARGO_PKG_VERSION")), "{}", pod.of);
    }
    let brain = objects.iter().filter(|object| object["kind"] == "ConfigMap").map(|map| &map["data"]["MCP_SERVER_URL"]);
    assert!(brain.clone().any(|url| *url == json!("openai:")), "{:?}", brain.collect::<Vec<_>>());
}
