//! Holds the rooms of the house to their order: nobody imports from a room above.

#![expect(clippy::expect_used, reason = "a test fails aloud")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use, besides itself and `kill_point`. `domain` uses none.
const MAY_USE: &[(&str, &[&str])] = &[
    ("kill_point", &[]),
    ("domain", &[]),
    ("metrics", &["domain"]),
    ("sandbox", &["domain"]),
    ("store", &["domain", "metrics"]),
    ("tools", &["domain", "sandbox"]),
    ("brain", &["domain"]),
    ("recorder", &["domain", "store"]),
    ("export", &["domain", "store", "brain"]),
    ("run", &["domain", "metrics", "store", "recorder", "brain", "tools"]),
    ("scheduler", &["domain", "metrics", "store", "run", "export"]),
    ("config", &["sandbox", "export"]),
    ("http", &["domain", "metrics", "store", "recorder", "tools", "sandbox", "export"]),
    (
        "app",
        &[
            "domain",
            "metrics",
            "store",
            "recorder",
            "brain",
            "tools",
            "sandbox",
            "run",
            "scheduler",
            "http",
            "config",
            "export",
        ],
    ),
    ("cli", &["domain", "store", "brain", "tools", "sandbox", "http", "config", "app", "export"]),
    ("main", &["cli", "sandbox"]),
];

/// What only one room may mention.
const ONLY_IN: &[(&str, &str)] = &[
    ("sqlx::", "store"),
    ("rusqlite::", "store"),
    ("prometheus::", "metrics"),
    ("anyhow", "cli"),
    ("std::env::var", "config"),
    ("process::Command", "sandbox"),
    ("println!", "cli"),
];

#[test]
fn no_room_imports_from_a_room_above_it() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut used = 0;
    for (room, file, text) in sources() {
        let may = allowed.get(room.as_str()).unwrap_or_else(|| panic!("{room} is not in MAY_USE"));
        for (number, line) in text.lines().enumerate() {
            for other in mentioned(line) {
                used += 1;
                let ok = other == room || other == "kill_point" || may.contains(&other.as_str());
                assert!(ok, "{}:{}: {room} must not use {other}", file.display(), number + 1);
            }
        }
    }
    assert!(used > 50, "the check has found almost nothing to look at ({used})");
}

#[test]
fn what_belongs_to_one_room_is_in_no_other() {
    for (word, home) in ONLY_IN {
        let mut found = 0;
        for (room, file, text) in sources() {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| code(line).contains(word)) {
                assert!(room == *home, "{}:{}: {word} belongs to {home}: {line}", file.display(), number + 1);
                found += 1;
            }
        }
        assert!(found > 0, "{word} is nowhere; is the check still right?");
    }
}

#[test]
fn files_are_short_and_open_with_a_sentence() {
    for (_, file, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not say what it is for", file.display());
        assert!(text.lines().count() <= 450, "{} has {} lines", file.display(), text.lines().count());
    }
}

/// The rooms a line of code names by `crate::room`, braces included.
fn mentioned(line: &str) -> Vec<String> {
    let line = code(line);
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split(['{', ',', '}']).map(str::trim).map(first_name).collect(),
            None => vec![first_name(rest)],
        };
        found.extend(names.into_iter().filter(|name| MAY_USE.iter().any(|(room, _)| room == name)));
    }
    found
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Every file below src/ with its room and text; what follows `#[cfg(test)]` may do as it likes.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut dirs) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("src/ can be read").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                let text = std::fs::read_to_string(&path).expect("a source can be read");
                let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                let below = path.strip_prefix(&root).expect("below src/");
                let name = below.iter().next().map(|name| name.to_string_lossy().trim_end_matches(".rs").to_owned());
                found.extend(name.filter(|name| name != "lib").map(|name| (name, path.clone(), text)));
            }
        }
    }
    assert!(found.len() > 40, "only {} sources found", found.len());
    found
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}
