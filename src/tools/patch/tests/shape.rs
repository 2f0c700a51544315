//! The forms in which a diff comes.

use super::*;

const HUNK: &str = "@@ -4,3 +4,3 @@\n l4\n-l5\n+X\n l6\n";

fn new_text(diff: &str) -> String {
    apply(Some(TEN), diff, "src/f.txt").unwrap().text.unwrap()
}

fn error(original: Option<&str>, diff: &str) -> PatchError {
    apply(original, diff, "src/f.txt").unwrap_err()
}

#[test]
fn headers_come_in_many_forms() {
    let wanted = TEN.replace("l5", "X");
    for header in [
        "",
        "--- a/src/f.txt\n+++ b/src/f.txt\n",
        "--- src/f.txt\n+++ src/f.txt\n",
        "--- f.txt\t2024-01-01 10:00:00\n+++ f.txt\t2024-01-01 10:00:01\n",
        "--- f.txt.orig\n+++ ./src/f.txt\n",
        "--- \"a/src/f.txt\"\n+++ \"b/src/f.t\\170t\"\n",
        "+++ b/src/f.txt\n",
        "--- a/src/f.txt\n",
        "Here is the change:\n\n```diff\n--- a/src/f.txt\n+++ b/src/f.txt\n",
        "From 1 Mon\nSubject: rename from here\n---\n f.txt | 2 +-\n\ndiff --git a/src/f.txt b/src/f.txt\n\
         index 1234567..89abcde 100644\n--- a/src/f.txt\n+++ b/src/f.txt\n",
        "--- /app/code/src/f.txt\n+++ /app/code/src/f.txt\n",
    ] {
        assert_eq!(new_text(&format!("{header}{HUNK}")), wanted, "{header}");
    }
}

#[test]
fn what_follows_the_last_hunk_is_ignored() {
    for after in ["", "\n", "\n\n\n", "```\n", "\n```\nThat is all.\n", "-- \n2.47.2\n\n", "That is all.\n"] {
        assert_eq!(new_text(&format!("{HEADER}{HUNK}{after}")), TEN.replace("l5", "X"), "{after:?}");
    }
    assert_eq!(new_text(format!("{HEADER}{HUNK}").trim_end()), TEN.replace("l5", "X"));
}

#[test]
fn counts_may_be_left_out_wrong_or_absent() {
    for numbers in ["-4,3 +4,3", "-4,2 +4,2", "-4,9 +4,9", "-4 +4", "-4,0 +4,7"] {
        let diff = HUNK.replace("-4,3 +4,3", numbers);
        assert_eq!(new_text(&format!("{diff}\n")), TEN.replace("l5", "X"), "{numbers}");
        let two = format!("{diff}@@ -9,2 +9,1 @@ fn x()\n l9\n-l10\n");
        assert_eq!(new_text(&two), TEN.replace("l5", "X").replace("l10\n", ""), "{numbers}");
    }
    assert_eq!(new_text("@@ -5 +5 @@\n-l5\n+X\n"), TEN.replace("l5", "X"));
}

#[test]
fn a_bare_hunk_header_is_placed_by_its_context_alone() {
    for header in ["@@", "@@ ... @@", "@@ fn here() @@", "@@ -x,y +x,y @@"] {
        assert_eq!(new_text(&HUNK.replace("@@ -4,3 +4,3 @@", header)), TEN.replace("l5", "X"), "{header}");
    }
    assert_eq!(refused("a\nb\na\nb\n", "@@\n a\n-b\n+X\n"), PatchError::Ambiguous { hunk: 1, lines: (1, 3) });
}

#[test]
fn an_empty_line_in_a_body_is_an_empty_context_line() {
    assert_eq!(patched("a\n\nb\n", "@@ -1,3 +1,3 @@\n a\n\n-b\n+X\n"), "a\n\nX\n");
    assert_eq!(patched("a\n\nb\n", "@@ -1,2 +1,2 @@\n a\n\n-b\n+X\n\n\n"), "a\n\nX\n");
    assert_eq!(patched("a\n\nb\n", "@@ -1,3 +1,3 @@\n-a\n+X\n\n b\n\n"), "X\n\nb\n");
}

#[test]
fn a_removed_line_may_look_like_a_header() {
    assert_eq!(patched("a\n-- a\nb\n", "@@ -1,3 +1,2 @@\n a\n--- a\n b\n"), "a\nb\n");
    let both = "@@ -1,2 +1,2 @@\n a\n--- old\n+++ new\n@@ -3 +3 @@\n-b\n+X\n";
    assert_eq!(patched("a\n-- old\nb\n", both), "a\n++ new\nX\n");
}

#[test]
fn files_are_created_and_deleted() {
    let hunk = "@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n";
    for header in [
        "--- /dev/null\n+++ b/src/f.txt\n",
        "diff --git a/src/f.txt b/src/f.txt\nnew file mode 100644\nindex 0000000..1\n--- /dev/null\n+++ b/src/f.txt\n",
        "--- a/src/f.txt\n+++ b/src/f.txt\n",
        "",
    ] {
        for original in [None, Some("")] {
            let made = apply(original, &format!("{header}{hunk}"), "src/f.txt").unwrap();
            assert_eq!(made.text.as_deref(), Some("a\nb"), "{header}");
        }
    }
    let gone = "--- a/src/f.txt\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n";
    assert_eq!(apply(Some("a\nb\n"), gone, "src/f.txt").unwrap().text, None);
    assert_eq!(apply(Some("a\nb\n"), &gone.replace("/dev/null", "b/src/f.txt"), "f.txt").unwrap().text.unwrap(), "");
}

#[test]
fn a_diff_that_does_not_suit_the_file_is_refused() {
    let path = || "src/f.txt".to_owned();
    let create = "--- /dev/null\n+++ b/src/f.txt\n@@ -0,0 +1 @@\n+a\n";
    assert_eq!(error(Some("x\n"), create), PatchError::Exists { path: path() });
    assert_eq!(error(None, HUNK), PatchError::Missing { path: path() });
    let context = "--- /dev/null\n+++ b/src/f.txt\n@@ -1 +1,2 @@\n x\n+a\n";
    assert_eq!(error(None, context), PatchError::CreatesWithContext);
    let part = "--- a/src/f.txt\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n";
    assert_eq!(error(Some("a\nb\n"), part), PatchError::DeletesInPart { path: path(), left: 1 });
}

#[test]
fn a_diff_for_another_file_is_refused_with_both_names() {
    let words = error(Some(TEN), &format!("--- a/src/g.txt\n+++ b/src/g.txt\n{HUNK}")).to_string();
    assert!(words.contains("`src/g.txt`") && words.contains("`src/f.txt`"), "{words}");
    let tail = format!("--- a/my_f.txt\n+++ b/my_f.txt\n{HUNK}");
    assert!(matches!(error(Some(TEN), &tail), PatchError::OtherFile { .. }));
}

#[test]
fn several_files_are_refused() {
    let plain = format!("{HEADER}{HUNK}--- a/g.txt\n+++ b/g.txt\n{HUNK}");
    let git = format!("diff --git a/f.txt b/f.txt\n{HEADER}{HUNK}diff --git a/g.txt b/g.txt\nold mode 100644\n");
    let wrong_counts = plain.replace("-4,3", "-4,9");
    let after_mode = format!("diff --git a/g.txt b/g.txt\nindex 1..2\ndiff --git a/f.txt b/f.txt\n{HEADER}{HUNK}");
    for diff in [plain, git, wrong_counts, after_mode] {
        assert!(matches!(error(Some(TEN), &diff), PatchError::SeveralFiles { .. }), "{diff}");
    }
}

#[test]
fn more_than_a_change_of_text_is_refused_by_name() {
    for (lines, word) in [
        ("similarity index 90%\nrename from src/e.txt\nrename to src/f.txt\n", "rename"),
        ("similarity index 90%\ncopy from src/e.txt\ncopy to src/f.txt\n", "copy"),
        ("old mode 100644\nnew mode 100755\n", "mode"),
        ("index 1..2\nGIT binary patch\nliteral 3\n", "binary"),
        ("index 1..2\nBinary files a/src/f.txt and b/src/f.txt differ\n", "binary"),
        ("new file mode 120000\n", "symbolic link"),
    ] {
        let words = error(Some(TEN), &format!("diff --git a/src/f.txt b/src/f.txt\n{lines}")).to_string();
        assert!(words.contains(word), "{words}");
    }
    let combined = "diff --cc f.txt\n--- a/f.txt\n+++ b/f.txt\n@@@ -1,1 -1,1 +1,2 @@@\n  a\n++b\n";
    assert!(matches!(error(Some(TEN), combined), PatchError::Unsupported { .. }));
}

#[test]
fn a_patch_without_a_hunk_is_refused() {
    for diff in ["", "\n", "hello\n", HEADER, "diff --git a/f.txt b/f.txt\nnew file mode 100644\nindex 0..1\n"] {
        assert_eq!(error(None, diff), PatchError::NoHunks, "{diff}");
    }
    assert_eq!(refused(TEN, "@@ -1,2 +1,2 @@\n l1\n l2\n"), PatchError::NoChange { hunk: 1 });
    assert_eq!(refused(TEN, "@@ -1,2 +1,2 @@\n"), PatchError::NoChange { hunk: 1 });
}

#[test]
fn a_line_that_lost_its_mark_is_named() {
    let error = refused(TEN, "@@ -4,3 +4,3 @@\n l4\nl5\n+X\n l6\n");
    assert_eq!(error, PatchError::BadLine { line: 5, text: "l5".to_owned() });
    let between = refused(TEN, "@@ -1,2 +1,2 @@\n l1\n-l2\n+X\nstray\n@@ -8 +8 @@\n-l8\n+Y\n");
    assert_eq!(between, PatchError::BadLine { line: 7, text: "stray".to_owned() });
}
