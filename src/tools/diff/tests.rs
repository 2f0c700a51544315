//! The diff given back is the edit: our own engine and git make of the old text the new one.

use proptest::prelude::*;

use super::super::patch;
use super::*;

#[test]
fn a_change_has_context_and_says_where_the_last_line_feed_is_missing() {
    assert_eq!(
        unified("f", Some("a\nb\nc"), Some("a\nB\nc")),
        "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n\\ No newline at end of file\n"
    );
}

#[test]
fn a_file_that_comes_or_goes_is_named_so() {
    assert_eq!(
        unified("d/f", None, Some("x\n")),
        "diff --git a/d/f b/d/f\nnew file mode 100644\n--- /dev/null\n+++ b/d/f\n@@ -0,0 +1 @@\n+x\n"
    );
    assert_eq!(unified("f", None, Some("")), "diff --git a/f b/f\nnew file mode 100644\n");
    assert_eq!(unified("f", Some("x"), Some("x")), "");
}

#[test]
fn odd_names_are_quoted() {
    assert_eq!(name('a', "./a b"), "a/a b");
    assert_eq!(name('b', "ü\n\"x\""), "\"b/\\303\\274\\012\\\"x\\\"\"");
}

/// Texts of all kinds: few lines that repeat, any characters at all, any endings.
fn text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[ab}-]{0,2}",
        "-- a",
        "\\+\\+ b",
        "@@ -1 \\+1 @@",
        "\u{feff}a",
        "\\\\ No newline",
        " ",
        "\t",
        "\r",
        "\0é"
    ];
    let lines = prop::collection::vec((line, prop_oneof![Just("\n"), Just("\r\n")]), 0..40);
    let lines = (lines, any::<bool>()).prop_map(|(lines, ends)| {
        let text: String = lines.iter().flat_map(|(line, ending)| [line.as_str(), ending]).collect();
        if ends { text } else { text.trim_end_matches(['\r', '\n']).to_owned() }
    });
    prop_oneof![3 => lines, 1 => "(?s).{0,80}"]
}

/// What `git apply` makes of a file in an empty directory: its text, or `None` where it is gone.
#[expect(clippy::disallowed_methods, reason = "git is compared with, not run for a task")]
fn git(path: &str, old: Option<&str>, diff: &str) -> Option<String> {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(path);
    if let Some(text) = old {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let mut git = std::process::Command::new("git");
    git.args(["apply", "--whitespace=nowarn", "-"]).current_dir(dir.path()).env("GIT_CEILING_DIRECTORIES", "/");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let mut git = git.stdin(std::process::Stdio::piped()).spawn().unwrap();
    git.stdin.take().unwrap().write_all(diff.as_bytes()).unwrap();
    assert!(git.wait().unwrap().success(), "git refused:\n{diff}");
    std::fs::read_to_string(&file).ok()
}

fn edit() -> impl Strategy<Value = (Option<String>, Option<String>)> {
    (proptest::option::weighted(0.8, text()), proptest::option::weighted(0.8, text()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn our_engine_makes_of_the_old_text_the_new_one((old, new) in edit()) {
        let diff = unified("f", old.as_deref(), new.as_deref());
        // An empty file that comes or goes has no hunk.
        prop_assume!(diff.contains("@@"));
        let done = patch::apply(old.as_deref(), &diff, "f").map(|done| done.text);
        prop_assert_eq!(done, Ok(new), "{}", diff);
    }
}

proptest! {
    // Each of these starts a process.
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn git_makes_of_the_old_text_the_new_one((old, new) in edit()) {
        let diff = unified("f", old.as_deref(), new.as_deref());
        prop_assume!(!diff.is_empty());
        prop_assert_eq!(git("f", old.as_deref(), &diff), new, "{}", diff);
    }

    #[test]
    fn git_finds_files_with_odd_names(path in "[^/\0]{1,8}(/[^/\0]{1,8})?", old in prop::option::of(Just("a\n"))) {
        prop_assume!(path.split('/').all(|part| !matches!(part.to_ascii_lowercase().trim_end_matches([' ', '.']), "" | ".git")));
        prop_assume!(path.len() < 60);
        let diff = unified(&path, old, Some("b\n"));
        prop_assert_eq!(git(&path, old, &diff), Some("b\n".to_owned()), "{}", diff);
    }
}
