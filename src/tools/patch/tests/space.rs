//! White space that differs: overlooked in lines that stay, reported, and never where there is a choice.

use super::*;

const TABS: &str = "def a():\n\tif x:\n\t\treturn  1\n\ndef b():\n\tpass\n";

#[test]
fn unchanged_lines_may_be_indented_otherwise_and_keep_their_own() {
    let hunk = "@@ -2,3 +2,4 @@\n     if x:\n         return 1\n+        # added\n \n def b():\n";
    assert_eq!(patched(TABS, hunk), TABS.replace("1\n\n", "1\n        # added\n\n"));
    let expected = Placement { hunk: 1, line: 2, offset: 0, fuzz: 0, space: Space::Anywhere };
    assert_eq!(placement(TABS, hunk), expected);
}

#[test]
fn a_removed_line_must_stand_there_as_it_is() {
    let kept = "@@ -1,3 +1,3 @@\n def a():\n     if x:\n-\t\treturn  1\n+\t\treturn  2\n";
    assert_eq!(patched(TABS, kept), TABS.replace("  1", "  2"));
    let wrong = "@@ -1,3 +1,3 @@\n def a():\n     if x:\n-        return 1\n+        return 2\n";
    let error = refused(TABS, wrong);
    assert!(matches!(error, PatchError::NotFound { hint: Hint::Indentation, .. }), "{error}");
    assert!(error.to_string().contains("     3|\t\treturn  1"), "{error}");
    assert!(error.to_string().contains("a removed line must stand in the file as it is"), "{error}");
}

#[test]
fn two_places_that_differ_in_white_space_alone_are_refused() {
    let text = "\tfoo();\n\tbar();\nx\n  foo();\n  bar();\n";
    let error = refused(text, "@@ -1,2 +1,3 @@\n foo();\n+new();\n bar();\n");
    assert_eq!(error, PatchError::Ambiguous { hunk: 1, lines: (1, 4) });
    // One of them is above the first hunk: still a choice.
    let after = "@@ -3 +3 @@\n-x\n+y\n@@ -4,2 +4,3 @@\n    foo();\n+new();\n    bar();\n";
    assert_eq!(refused(text, after), PatchError::Ambiguous { hunk: 2, lines: (1, 4) });
}

#[test]
fn an_exact_place_comes_before_one_that_is_only_alike() {
    let text = "\tfoo();\n\tbar();\nx\nfoo();\nbar();\n";
    assert_eq!(
        patched(text, "@@ -9,2 +9,3 @@\n foo();\n+new();\n bar();\n"),
        "\tfoo();\n\tbar();\nx\nfoo();\nnew();\nbar();\n"
    );
}

#[test]
fn line_endings_and_a_missing_last_newline_stay() {
    let text = "\tfoo();\r\n\tbar();";
    assert_eq!(patched(text, "@@ -1,2 +1,3 @@\n foo();\n+new();\n bar();\n"), "\tfoo();\r\nnew();\r\n\tbar();");
    assert_eq!(patched(text, "@@ -1,2 +1,3 @@\n foo();\n bar();\n+new();\n"), "\tfoo();\r\n\tbar();\r\nnew();");
}

#[test]
fn a_difference_behind_the_quotation_is_quoted_by_itself() {
    let lines: Vec<String> = (0..30).map(|at| format!("line {at} of the file\n")).collect();
    let old = lines.concat().replace("27 of", "27 in").replace("line", " line");
    let words = refused(&lines.concat(), &format!("@@ -1,30 +1,31 @@\n{old}+x\n")).to_string();
    assert!(words.contains("first difference is at line 28: the file has\n    28|line 27 of the file\n"), "{words}");
    assert!(words.contains("\nand the patch\n    line 27 in the file"), "{words}");
}
