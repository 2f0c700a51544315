//! What the module promises, rule by rule. `shape` holds the forms of a diff, `endings` the last byte of each line,
//! `space` differences in white space, `any_input` what holds for random texts.

use super::*;

mod any_input;
mod endings;
mod shape;
mod space;

const TEN: &str = "l1\nl2\nl3\nl4\nl5\nl6\nl7\nl8\nl9\nl10\n";
const HEADER: &str = "--- a/f.txt\n+++ b/f.txt\n";

/// Applies hunks with a header to a text, and gives the new text.
fn patched(text: &str, hunks: &str) -> String {
    apply(Some(text), &format!("{HEADER}{hunks}"), "f.txt").unwrap().text.unwrap()
}

/// The first placement.
fn placement(text: &str, hunks: &str) -> Placement {
    apply(Some(text), &format!("{HEADER}{hunks}"), "f.txt").unwrap().hunks[0]
}

fn refused(text: &str, hunks: &str) -> PatchError {
    apply(Some(text), &format!("{HEADER}{hunks}"), "f.txt").unwrap_err()
}

#[test]
fn a_hunk_goes_to_the_stated_line() {
    let hunk = "@@ -4,3 +4,3 @@\n l4\n-l5\n+X\n l6\n";
    assert_eq!(patched(TEN, hunk), TEN.replace("l5", "X"));
    assert_eq!(placement(TEN, hunk), Placement { hunk: 1, line: 4, offset: 0, fuzz: 0, space: Space::Same });
}

#[test]
fn the_stated_line_wins_over_a_lookalike() {
    let text = "a\nx\nb\nq\na\nx\nb\nend\n";
    assert_eq!(patched(text, "@@ -5,3 +5,3 @@\n a\n-x\n+X\n b\n"), "a\nx\nb\nq\na\nX\nb\nend\n");
}

#[test]
fn a_shifted_hunk_goes_to_the_only_other_place_and_says_how_far() {
    let text = format!("n\nn\n{TEN}");
    let hunk = "@@ -4,3 +4,3 @@\n l4\n-l5\n+X\n l6\n";
    assert_eq!(patched(&text, hunk), text.replace("l5", "X"));
    assert_eq!(placement(&text, hunk), Placement { hunk: 1, line: 6, offset: 2, fuzz: 0, space: Space::Same });
}

#[test]
fn later_hunks_follow_the_offset_of_earlier_ones() {
    let text = format!("n\n{TEN}");
    let diff = format!("{HEADER}@@ -1,2 +1,3 @@\n l1\n+X\n l2\n@@ -8,3 +9,2 @@\n l8\n-l9\n l10\n");
    let done = apply(Some(&text), &diff, "f.txt").unwrap();
    assert_eq!(done.text.unwrap(), "n\nl1\nX\nl2\nl3\nl4\nl5\nl6\nl7\nl8\nl10\n");
    assert_eq!(done.hunks.iter().map(|hunk| (hunk.line, hunk.offset)).collect::<Vec<_>>(), [(2, 1), (9, 1)]);
}

#[test]
fn two_places_off_the_stated_line_are_refused_with_both_lines() {
    let text = "a\nx\nb\nq\nq\nq\na\nx\nb\nq\n";
    let error = refused(text, "@@ -4,3 +4,3 @@\n a\n-x\n+X\n b\n");
    assert_eq!(error, PatchError::Ambiguous { hunk: 1, lines: (1, 7) });
    assert!(error.to_string().contains("line 1 and also at line 7"), "{error}");
}

#[test]
fn a_lookalike_where_git_begins_to_search_is_refused() {
    // The first hunk shifts by four: patch carries that over to line 9, git begins again at line 5.
    let text = "n\nn\nn\nn\na\nx\nb\nu\na\nx\nb\nv\n";
    let error = refused(text, "@@ -4 +4 @@\n-u\n+U\n@@ -5,3 +5,3 @@\n a\n-x\n+X\n b\n");
    assert_eq!(error, PatchError::Ambiguous { hunk: 2, lines: (5, 9) });
}

#[test]
fn the_end_of_the_file_holds_a_hunk_without_trailing_context() {
    let text = "a\nb\nq\na\nb\nq\nq\na\nb\n";
    assert_eq!(patched(text, "@@ -6,2 +6,3 @@\n a\n b\n+X\n"), format!("{text}X\n"));
    // Where neither end fits, the stated line or an only place still does.
    assert_eq!(patched("a\nb\nn\n", "@@ -1,2 +1,3 @@\n a\n b\n+X\n"), "a\nb\nX\nn\n");
}

#[test]
fn the_start_of_the_file_holds_a_hunk_for_line_one() {
    assert_eq!(patched("a\nb\nq\na\nb\n", "@@ -1,2 +1,3 @@\n+X\n a\n b\n"), "X\na\nb\nq\na\nb\n");
    assert_eq!(patched("n\na\nb\nc\n", "@@ -1,2 +1,3 @@\n+X\n a\n b\n"), "n\nX\na\nb\nc\n");
}

#[test]
fn fuzz_leaves_out_outer_context_and_is_reported() {
    let one = "@@ -3,5 +3,5 @@\n zz\n l4\n-l5\n+X\n l6\n l7\n";
    assert_eq!(patched(TEN, one), TEN.replace("l5", "X"));
    assert_eq!(placement(TEN, one), Placement { hunk: 1, line: 3, offset: 0, fuzz: 1, space: Space::Same });
    let two = "@@ -2,7 +2,7 @@\n zz\n zz\n l4\n-l5\n+X\n l6\n l7\n l8\n";
    assert!(matches!(refused(TEN, "@@ -3,5 +3,5 @@\n zz\n zz\n-l5\n+X\n zz\n l7\n"), PatchError::NotFound { .. }));
    assert_eq!(placement(TEN, &two.replace("l8", "yy")).fuzz, 2);
}

#[test]
fn fuzz_never_chooses_and_never_drops_all_context() {
    let text = "p\na\nx\nb\nq\np2\na\nx\nb\nq2\n";
    let error = refused(text, "@@ -1,5 +1,5 @@\n zz\n a\n-x\n+X\n b\n zz\n");
    assert_eq!(error, PatchError::Ambiguous { hunk: 1, lines: (2, 7) });
    assert!(matches!(refused(TEN, "@@ -4,3 +4,3 @@\n zz\n-l5\n+X\n zz\n"), PatchError::NotFound { .. }));
    assert!(matches!(refused("a\n\n\nb\n", "@@ -1,4 +1,5 @@\n zz\n \n+X\n \n yy\n"), PatchError::NotFound { .. }));
}

#[test]
fn trailing_whitespace_may_differ_and_the_files_own_stays() {
    let text = "fn a() {  \n    b();\t\n}\n";
    let hunk = "@@ -1,3 +1,3 @@\n fn a() {\n-    b();\n+    c();\n }\n";
    assert_eq!(patched(text, hunk), "fn a() {  \n    c();\n}\n");
    assert_eq!(placement(text, hunk).space, Space::Trailing);
}

#[test]
fn a_shifted_exact_place_does_not_win_over_a_loose_stated_one() {
    let error = refused("a \nx\nb\nq\na\nx\nb\nq\n", "@@ -1,3 +1,3 @@\n a\n-x\n+X\n b\n");
    assert_eq!(error, PatchError::Ambiguous { hunk: 1, lines: (1, 5) });
}

#[test]
fn an_insertion_needs_context_except_at_the_end() {
    assert_eq!(refused(TEN, "@@ -3,0 +4 @@\n+X\n"), PatchError::NoContext { hunk: 1 });
    assert_eq!(refused(TEN, "@@\n+X\n"), PatchError::NoContext { hunk: 1 });
    assert_eq!(patched(TEN, "@@ -10,0 +11 @@\n+X\n"), format!("{TEN}X\n"));
}

#[test]
fn nothing_found_quotes_both_sides() {
    let text = "fn main() {\n    let total = sum(1, 2);\n    print(total);\n}\n";
    let hunk = "@@ -1,3 +1,3 @@\n fn main() {\n-    let total = sum(1, 3);\n+    let total = 3;\n     print(total);\n";
    let words = refused(text, hunk).to_string();
    assert!(
        words.contains("hunk 1 fits nowhere. It looks for\n    fn main() {\n        let total = sum(1, 3);"),
        "{words}"
    );
    assert!(words.contains("     2|    let total = sum(1, 2);"), "{words}");
    assert!(words.contains("first difference is at line 2"), "{words}");
}

#[test]
fn a_line_that_is_only_alike_is_found_for_the_quotation() {
    let text = format!("{TEN}    let value = compute_everything(input, 17);\n{TEN}");
    let words = refused(&text, "@@ -1 +1 @@\n-let values = compute_everything(inputs, 18);\n+x\n").to_string();
    assert!(words.contains("    11|    let value = compute_everything"), "{words}");
}

#[test]
fn a_likely_reason_is_given() {
    let hint = |text, hunks| match refused(text, hunks) {
        PatchError::NotFound { hint, .. } => hint,
        other => panic!("{other}"),
    };
    assert_eq!(hint("a\nX\nc\nd\n", "@@ -1,3 +1,3 @@\n a\n-b\n+X\n c\n"), Hint::Applied(1));
    let twice = "@@ -8,2 +8,2 @@\n l8\n-l9\n+X\n@@ -2,2 +2,2 @@\n l2\n-l3\n+X\n";
    assert_eq!(hint(TEN, twice), Hint::OutOfOrder(2));
    let text = "if a {\n\tlong_call();\n\tother_call();\n}\n";
    let spaces = "@@ -1,3 +1,3 @@\n if a {\n     long_call();\n-    other_call();\n+    new();\n";
    assert_eq!(hint(text, spaces), Hint::Indentation);
}

#[test]
fn a_hunk_out_of_order_is_not_fitted_elsewhere_with_fuzz() {
    let text = "p\na\nx\nb\nq\nu\nv\nw\nzz\na\nx\nb\nzz\n";
    let diff = "@@ -6,3 +6,3 @@\n u\n-v\n+V\n w\n@@ -9,5 +9,5 @@\n p\n a\n-x\n+X\n b\n q\n";
    assert!(matches!(refused(text, diff), PatchError::NotFound { hunk: 2, hint: Hint::OutOfOrder(1), .. }));
}

#[test]
fn hunks_may_share_context_but_not_changes() {
    let text = format!("n\n{TEN}");
    let shared = "@@ -2,3 +2,3 @@\n l2\n-l3\n+X\n l4\n@@ -4,3 +4,3 @@\n l4\n-l5\n+Y\n l6\n";
    assert_eq!(patched(&text, shared), text.replace("l3", "X").replace("l5", "Y"));
    let twice = "@@ -2,3 +2,3 @@\n l2\n-l3\n+X\n l4\n@@ -2,3 +2,3 @@\n l2\n-l3\n+Y\n l4\n";
    assert!(matches!(refused(TEN, twice), PatchError::NotFound { hint: Hint::OutOfOrder(2), .. }));
}

#[test]
fn whole_or_not_at_all() {
    let error = refused(TEN, "@@ -1,2 +1,2 @@\n l1\n-l2\n+X\n@@ -8,2 +8,2 @@\n l8\n-nope\n+Y\n");
    assert!(matches!(error, PatchError::NotFound { hunk: 2, .. }));
}

#[test]
fn a_file_of_one_repeated_line_ends_the_search_in_time() {
    let text = "x\n".repeat(300_000) + "y\n";
    let hunks: Vec<String> = (1..2000).map(|at| format!("@@ -{at},3 +{at},3 @@\n x\n-x\n+z\n y\n")).collect();
    assert!(matches!(refused(&text, &hunks.concat()), PatchError::NotFound { hunk: 2, .. }));
    let alternating = "x\ny\n".repeat(200_000);
    let row = " x\n y\n".repeat(20);
    let error = refused(&alternating, &format!("@@ -1,42 +1,41 @@\n{row} x\n-x\n"));
    assert!(matches!(error, PatchError::NotFound { .. } | PatchError::TooRepetitive { .. }), "{error}");
}

#[test]
fn a_quotation_from_a_file_of_like_lines_costs_little() {
    // Every line has the letters of the one that is sought, in another order.
    let letters: Vec<char> = "the quick brown fox jumps over the lazy dog and runs ".repeat(4).chars().collect();
    let turned = |at: usize| letters.iter().cycle().skip(at * 7 % 53).step_by(5).take(200).collect::<String>();
    let text: Vec<String> = (0..4000).map(|at| format!("{}{at}\n", turned(at))).collect();
    let sought: String = letters.iter().collect();
    assert!(matches!(refused(&text.concat(), &format!("@@ -9 +9 @@\n-{sought}\n+x\n")), PatchError::NotFound { .. }));
}

#[test]
fn ten_thousand_shifted_hunks_on_ten_megabytes_are_placed() {
    let lines: Vec<String> = (0..400_000).map(|at| format!("line number {at} of it\n")).collect();
    let text = "pad\n".repeat(5000) + &lines.concat();
    let hunk =
        |at: usize| format!("@@ -{0},3 +{0},3 @@\n {1}-{2}+X\n {3}", at + 1, lines[at], lines[at + 1], lines[at + 2]);
    let hunks: Vec<String> = (0..10_000).map(|at| hunk(at * 40)).collect();
    let done = patched(&text, &hunks.concat());
    assert_eq!(done.matches("\nX\n").count(), 10_000);
}
