//! What must not get out does not, and stands there where it is let out: so it would have been seen.

use std::path::Path;

use crate::check::{export, python, try_export};
use crate::common::Home;
use crate::directory::{Exported, paths};
use crate::planted::{OWN, Secret, base64, secrets, story};
use crate::world::{FIRST, Story, tell};

/// All that a format may write of a task is in one of them.
const FORMATS: &[&str] = &["openai", "hf", "atif", "records"];

/// Instruction, arguments, results, summary.
const PLACES: usize = 4;

/// Tasks that have each secret, or the same tasks with a word in its place.
async fn home(written: impl Fn(&Secret) -> String) -> Home {
    let home = Home::new();
    let stories: Vec<_> = secrets().iter().map(|secret| story(secret.kind, &written(secret))).collect();
    tell(&home, &stories, FIRST).await;
    std::fs::write(home.path().join(".env"), format!("OPENAI_API_KEY=\"{OWN}\"\n")).unwrap();
    home
}

/// How often the value stands in the files of a directory: as it is, as a string of JSON within strings of JSON has it, and in
/// base64.
fn seen(value: &str, directory: &Path) -> usize {
    let mut forms = vec![value.to_owned()];
    if value.contains('\n') {
        forms.extend((0..4).map(|depth| value.replace('\n', &format!("{}n", "\\".repeat(1 << depth)))));
    }
    // In base64 a text looks one of three ways, by where it begins; what it begins and ends with belongs to what is around it.
    forms.extend((0..3).map(|before| {
        let coded = base64(["\0".repeat(before).as_bytes(), value.as_bytes()].concat().as_slice());
        coded[if before == 0 { 0 } else { 4 }..coded.len() - 4].to_owned()
    }));
    let files = paths(directory).into_iter().map(|file| std::fs::read(file).unwrap());
    files.map(|bytes| forms.iter().map(|form| count(&bytes, form)).sum::<usize>()).sum()
}

fn count(bytes: &[u8], form: &str) -> usize {
    bytes.windows(form.len()).filter(|window| *window == form.as_bytes()).count()
}

#[tokio::test]
async fn no_secret_is_left_in_any_file_of_any_format() {
    let home = home(|secret| secret.written.clone()).await;
    for format in FORMATS {
        let directory = export(&home, format, &["--format", format]).await;
        let left: Vec<_> = secrets().iter().map(|secret| (secret.kind, seen(&secret.value, &directory))).collect();
        assert!(left.iter().all(|(_, seen)| *seen == 0), "{format}: {left:?}");
        let rows =
            paths(&directory.join("data")).iter().map(|file| count(&std::fs::read(file).unwrap(), "\n")).sum::<usize>();
        assert_eq!(rows, if *format == "records" { 3 } else { 1 } * secrets().len(), "{format}");
    }
}

#[tokio::test]
async fn secrets_are_let_out_where_that_is_said_twice() {
    let home = home(|secret| secret.written.clone()).await;
    let refused = home.path().join("refused");
    let output = try_export(&home, &refused, &["--redact", "none"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("allow-secrets"), "{said}");
    assert!(!refused.exists());
    for format in FORMATS {
        let directory = export(&home, format, &["--format", format, "--redact", "none", "--allow-secrets"]).await;
        let left: Vec<_> = secrets().iter().map(|secret| (secret.kind, seen(&secret.value, &directory))).collect();
        assert!(left.iter().all(|(_, seen)| *seen >= PLACES), "{format}: {left:?}");
    }
}

#[tokio::test]
async fn another_scanner_finds_nothing_that_it_would_not_find_without_them() {
    let (leaking, clean) = (home(|secret| secret.written.clone()).await, home(|_| "nothing".to_owned()).await);
    let let_out: &[&str] = &["--redact", "none", "--allow-secrets"];
    for format in FORMATS {
        let arguments = ["--format", format];
        let baseline = export(&clean, format, &arguments).await;
        let redacted = export(&leaking, format, &arguments).await;
        let script = "secrets_found.py";
        let Some(counts) = python(script, &["detect_secrets"], &[&redacted, &baseline]).await else { return };
        assert!(counts["new"] == 0 && counts["plugins"].as_u64() > Some(20), "{format}: {counts}");
        let open = export(&leaking, &format!("{format}-open"), &[&arguments, let_out].concat()).await;
        let counts = python(script, &["detect_secrets"], &[&open, &baseline]).await.unwrap();
        assert!(counts["kinds"].as_u64() >= Some(8), "it sees nothing: {counts}");
    }
}

#[tokio::test]
async fn each_secret_is_counted_once_in_every_format() {
    let home = Home::new();
    let token = format!("ghp_{}", "a1B2".repeat(9));
    let story = Story::new("t", &format!("Log in with {token}."));
    let story =
        story.turn("read_file", r#"{"file_path":"a"}"#, &format!(r#"{{"status":"success","content":"{token}"}}"#));
    tell(&home, &[story], FIRST).await;
    for format in ["openai", "hf", "atif", "records"] {
        let exported = Exported::read(&export(&home, format, &["--format", format]).await);
        assert_eq!(exported.manifest["redaction"]["found"], serde_json::json!({ "github": 2 }), "{format}");
    }
}
