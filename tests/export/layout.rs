//! How an export lies in its directory: the same each time, whole or not there, and added to without touching what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use codex_agent::domain::{Timestamp, hex};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::check::{export, try_export};
use crate::common::{Home, eventually};
use crate::directory::{Exported, paths};
use crate::stories::{self, ordinary, repaired, tried_twice};
use crate::world::{FIRST, Story, tell};

const FORMATS: &[&str] = &["openai", "hf", "dpo-openai", "dpo-hf", "atif", "records"];

/// Two of five, so that of few groups some are on each side.
const SPLIT: &[&str] = &["--validation-percent", "40"];

/// A day after the first tasks.
const LATER: Timestamp = Timestamp::from_millis(FIRST.millis() + 86_400_000);

async fn home() -> (Home, Vec<Story>) {
    let (home, stories) = (Home::new(), stories::all());
    tell(&home, &stories, FIRST).await;
    (home, stories)
}

fn arguments<'a>(format: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--format", format], SPLIT, more].concat()
}

/// The tasks that have ended, none of which may be passed over in silence.
fn ended(stories: &[Story]) -> BTreeSet<&str> {
    stories.iter().filter(|story| story.has_ended()).map(|story| story.id.as_str()).collect()
}

#[tokio::test]
async fn the_same_tasks_give_the_same_bytes() {
    let (home, _) = home().await;
    for format in FORMATS {
        let first = Exported::read(&export(&home, &format!("{format}-1"), &arguments(format, &[])).await);
        let second = Exported::read(&export(&home, &format!("{format}-2"), &arguments(format, &[])).await);
        assert_eq!(first.files.keys().collect::<Vec<_>>(), second.files.keys().collect::<Vec<_>>());
        for (path, bytes) in &first.files {
            assert!(bytes == &second.files[path], "{format}: {} differs", path.display());
        }
        assert!(first.rows("").len() >= 10, "{format}: {} rows", first.rows("").len());
    }
}

#[tokio::test]
async fn every_ended_task_is_in_the_data_or_left_out_with_a_reason() {
    let (home, stories) = home().await;
    for format in FORMATS {
        let exported = Exported::read(&export(&home, format, &arguments(format, &[])).await);
        assert_eq!(exported.told(), ended(&stories), "{format}");
        assert!(exported.rejected.iter().all(|rejected| !rejected.reason.is_empty()));
        assert_eq!(exported.reason("scripted"), "script_brain", "{format}");
        let counts = &exported.manifest["tasks"];
        assert_eq!(
            (&counts["exported"], &counts["rejected"]),
            (&json!(exported.index.len()), &json!(exported.rejected.len()))
        );
    }
    let reasons = Exported::read(&home.path().join("hf"));
    for (task, reason) in [
        ("unknown-tool", "unknown_tool"),
        ("a-list-as-arguments", "bad_arguments"),
        ("nothing-at-all", "empty"),
        ("unreachable", "status"),
        ("cancelled-at-once", "status"),
        ("twice-0-bad", "status"),
    ] {
        assert_eq!(reasons.reason(task), reason, "{task}");
    }
    // A number that no reader of JSON in Arrow can hold would cost the whole file.
    assert!(reasons.told().contains("big-number") && reasons.index.iter().all(|entry| entry.task_id != "big-number"));
    assert!(Exported::read(&home.path().join("openai")).entry("big-number").rows == 1);
}

#[tokio::test]
async fn the_manifest_and_the_index_say_what_is_there() {
    let (home, _) = home().await;
    for format in FORMATS {
        let exported = Exported::read(&export(&home, format, &arguments(format, &[])).await);
        let listed = exported.manifest["files"].as_array().unwrap();
        let names: BTreeSet<&Path> = listed.iter().map(|file| Path::new(file["path"].as_str().unwrap())).collect();
        let there =
            exported.files.keys().map(std::path::PathBuf::as_path).filter(|path| *path != Path::new("manifest.json"));
        assert_eq!(names, there.collect(), "{format}");
        for file in listed {
            let bytes = &exported.files[Path::new(file["path"].as_str().unwrap())];
            assert_eq!(file["sha256"], hex(&Sha256::digest(bytes)), "{format}: {file}");
            assert_eq!(file["bytes"], bytes.len(), "{format}: {file}");
            if file["path"] != "README.md" {
                let text = std::str::from_utf8(bytes).unwrap();
                assert_eq!(file["lines"], text.matches('\n').count(), "{format}: {file}");
            }
        }
        for entry in exported.index.iter().filter(|entry| entry.file.is_some()) {
            let first = exported.rows_of(entry).first().copied().unwrap_or_default().to_owned();
            assert!(entry.file.as_ref().unwrap().starts_with(&format!("data/{}-", entry.split)), "{entry:?}");
            // Of formats that name the task.
            if matches!(*format, "records" | "atif") {
                let id = format!(r#""{}""#, entry.task_id);
                let begins = *format == "atif" || first.starts_with(r#"{"iteration":1,"#);
                assert!(first.contains(&id) && begins, "{format}: {entry:?} is not at {first}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_added_later_moves_nothing_and_leaves_the_old_files_alone() {
    let (home, mut stories) = home().await;
    // One was tried once so far.
    let [once, then] = tried_twice(20);
    tell(&home, std::slice::from_ref(&once), LATER).await;
    stories.push(once);
    for format in FORMATS {
        export(&home, format, &arguments(format, &[])).await;
    }
    let more: Vec<Story> = (100..130)
        .map(ordinary)
        .chain((0..3).map(another_try))
        .chain((10..16).flat_map(tried_twice))
        .chain((10..16).map(repaired))
        .chain([then])
        .collect();
    tell(&home, &more, Timestamp::from_millis(LATER.millis() + 1000)).await;
    stories.extend(more);
    for format in FORMATS {
        let directory = home.path().join(format);
        let before = Exported::read(&directory);
        let inodes = |exported: &Exported| -> BTreeMap<_, _> {
            exported
                .shards()
                .into_keys()
                .map(|path| (path.clone(), directory.join(path).metadata().unwrap().ino()))
                .collect()
        };
        let were = inodes(&before);
        let output = try_export(&home, &directory, &arguments(format, &["--incremental"])).await;
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        let after = Exported::read(&directory);
        for (path, bytes) in before.shards() {
            assert!(after.files[&path] == bytes, "{format}: {} is not what it was", path.display());
            assert_eq!(inodes(&after)[&path], were[&path], "{format}: {} was written again", path.display());
        }
        assert!(after.shards().len() > before.shards().len(), "{format}: nothing was added");
        assert_eq!(after.index[..before.index.len()], before.index, "{format}: the index has changed");
        assert_eq!(after.told(), ended(&stories), "{format}");
        no_group_is_on_both_sides(&after, &stories, format);
        let parent = hex(&Sha256::digest(&before.files[Path::new("manifest.json")]));
        assert_eq!(after.manifest["parent"], parent, "{format}");
        // Again there is nothing to add.
        let output = try_export(&home, &directory, &arguments(format, &["--incremental"])).await;
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(Exported::read(&directory).files == after.files, "{format}: nothing was added, and yet it has changed");
    }
}

/// A task with the instruction of an earlier one.
fn another_try(number: usize) -> Story {
    let earlier = ordinary(number);
    Story { id: format!("again-{number}"), ..earlier }
}

#[tokio::test]
async fn no_group_is_for_training_and_validation_both() {
    let home = Home::new();
    let of_group = |number: usize| {
        let story = ordinary(number);
        // Of every two groups one has a label, the other the same instruction.
        let group = number % 30;
        if group.is_multiple_of(2) {
            story.with("labels", json!({ "group": format!("group{group}") }))
        } else {
            Story { instruction: format!("Do what {group} says."), ..story }
        }
    };
    let stories: Vec<_> = (0..120).map(of_group).collect();
    tell(&home, &stories, FIRST).await;
    for format in ["openai", "atif"] {
        let exported = Exported::read(&export(&home, format, &arguments(format, &[])).await);
        assert_eq!(exported.index.len(), stories.len());
        assert!(no_group_is_on_both_sides(&exported, &stories, format) >= 30);
    }
}

/// How many groups there are, each of which is on one side.
fn no_group_is_on_both_sides(exported: &Exported, stories: &[Story], format: &str) -> usize {
    let mut sides: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in &exported.index {
        let story = stories.iter().find(|story| story.id == entry.task_id).unwrap();
        let group = story.options["labels"]["group"].as_str().unwrap_or(&story.instruction);
        let side = sides.entry(group).or_insert(&entry.split);
        assert_eq!(*side, entry.split, "{format}: {group} is on both sides");
    }
    let both: BTreeSet<_> = sides.values().collect();
    assert_eq!(both.len(), 2, "{format}: all is on one side");
    sides.len()
}

#[tokio::test]
async fn an_export_that_is_killed_leaves_what_was_there() {
    let home = Home::new();
    let long = "a line of output that is not short\\n".repeat(2000);
    let result = format!(r#"{{"status":"success","stdout":"{long}"}}"#);
    let stories: Vec<_> =
        (0..80).map(|number| ordinary(number).turn("run_command", r#"{"command":"seq"}"#, &result)).collect();
    tell(&home, &stories[..10], FIRST).await;
    let old = export(&home, "old", &arguments("openai", &[])).await;
    let was = Exported::read(&old).files;
    tell(&home, &stories[10..], LATER).await;
    for (name, more) in [("new", None), ("old", Some("--incremental")), ("old", Some("--overwrite"))] {
        let directory = home.path().join(name);
        kill_half_way(&home, &directory, more).await;
        if more.is_some() {
            assert!(Exported::read(&directory).files == was, "{more:?}: what was there is not what it was");
        } else {
            assert!(!directory.exists(), "a part is visible");
        }
        // What is left of it is in nobody's way, and goes.
        let output = try_export(&home, &directory, &arguments("openai", &more.into_iter().collect::<Vec<_>>())).await;
        assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(Exported::read(&directory).told(), ended(&stories), "{more:?}");
        let left = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|file| file.to_string_lossy().contains("partial")).collect();
        assert!(left.is_empty(), "{left:?}");
        if more == Some("--incremental") {
            std::fs::remove_dir_all(&directory).unwrap();
            for (path, bytes) in &was {
                std::fs::create_dir_all(directory.join(path).parent().unwrap()).unwrap();
                std::fs::write(directory.join(path), bytes).unwrap();
            }
        }
    }
}

/// Kills an export as soon as a row of it is on disk somewhere.
async fn kill_half_way(home: &Home, directory: &Path, more: Option<&str>) {
    let before: BTreeMap<_, _> = sizes(home.path());
    let mut command = home.command(&["export", "-q", "--to"]);
    command.arg(directory).args(arguments("openai", &[])).args(more).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    eventually("a row is on disk", async || {
        assert!(child.try_wait().unwrap().is_none(), "it was over before it could be killed");
        let grown = |(path, size): (std::path::PathBuf, u64)| size > 0 && before.get(&path) != Some(&size);
        sizes(home.path()).into_iter().filter(|(path, _)| path.parent().unwrap().ends_with("data")).any(grown)
    })
    .await;
    child.kill().await.unwrap();
}

fn sizes(directory: &Path) -> BTreeMap<std::path::PathBuf, u64> {
    let sized = |path: std::path::PathBuf| path.metadata().ok().map(|metadata| (path, metadata.len()));
    paths(directory).into_iter().filter_map(sized).collect()
}
