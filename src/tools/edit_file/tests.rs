//! The promises of an edit that need a file: what is refused leaves no trace, and is refused at once.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::domain::Json;

fn workspace(files: &[(&str, &str)]) -> (tempfile::TempDir, Workspace) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let workspace = Workspace::open(dir.path(), None).unwrap();
    (dir, workspace)
}

fn edit(workspace: &Workspace, arguments: &serde_json::Value) -> Result<Output, String> {
    let arguments = super::super::arguments::parse(&Json::of(arguments))?;
    match plan(workspace, &arguments)?.make(workspace, &Mutex::default())? {
        Made::Done(output) => Ok(output),
        Made::Stale => Err("stale".to_owned()),
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_without_reading_it() {
    let (dir, workspace) = workspace(&[]);
    std::fs::File::create(dir.path().join("big")).unwrap().set_len(5 << 30).unwrap();
    let started = Instant::now();
    for how in [
        serde_json::json!({"file_path": "big", "new_content": "x"}),
        serde_json::json!({"file_path": "big", "new_content": "x", "replace_lines": [1, 1]}),
        serde_json::json!({"file_path": "big", "diff_patch": "@@ -1 +1 @@\n-a\n+b\n"}),
    ] {
        let error = edit(&workspace, &how).map(|_| ()).unwrap_err();
        assert_eq!(error, "big: is larger than 16777216 bytes, the most that can be edited");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn what_git_runs_is_named_before_anything_else_is_wrong() {
    let (_dir, workspace) = workspace(&[(".git/config", "[core]\n")]);
    for how in [
        serde_json::json!({"file_path": ".git/config", "new_content": "x"}),
        serde_json::json!({"file_path": ".git/config", "diff_patch": "no diff"}),
        serde_json::json!({"file_path": ".git/hooks/pre-commit", "new_content": "#!/bin/sh\n"}),
    ] {
        let error = edit(&workspace, &how).map(|_| ()).unwrap_err();
        assert!(error.contains("does not change what git runs"), "{error}");
    }
}

#[test]
fn what_was_overlooked_is_reported() {
    let (_dir, workspace) = workspace(&[("f", "\ta();\n\tb();\n")]);
    let patch = "@@ -1,2 +1,3 @@\n     a();\n+    new();\n     b();\n";
    let done = edit(&workspace, &serde_json::json!({"file_path": "f", "diff_patch": patch})).unwrap();
    assert!(
        done.message.contains("hunk 1 went to line 1 (offset +0, white space in unchanged lines"),
        "{}",
        done.message
    );
    assert_eq!(done.diff.as_deref(), Some("--- a/f\n+++ b/f\n@@ -1,2 +1,3 @@\n \ta();\n+    new();\n \tb();\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_that_fails_leaves_the_file_untouched(
        hunks in prop::collection::vec(("[0-9]", prop::collection::vec("[-+ ][abc]", 1..5)), 1..4)
    ) {
        let (dir, workspace) = workspace(&[("f", "a\nb\na\nc\nb\nb\n")]);
        let file = dir.path().join("f");
        let state = || {
            let metadata = file.metadata().unwrap();
            (metadata.ino(), metadata.mtime_nsec(), std::fs::read(&file).unwrap())
        };
        let before = state();
        let body = hunks.iter().map(|(line, lines)| format!("@@ -{line} +{line} @@\n{}\n", lines.join("\n")));
        let patch: String = body.collect();
        let done = edit(&workspace, &serde_json::json!({"file_path": "f", "diff_patch": patch}));
        prop_assert_eq!(done.is_err(), state() == before, "{}", patch);
        prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
