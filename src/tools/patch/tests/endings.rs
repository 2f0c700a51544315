//! Line endings, the last newline and the byte order mark.

use super::*;

const HUNK: &str = "@@ -4,3 +4,3 @@\n l4\n-l5\n+X\n l6\n";

#[test]
fn a_crlf_file_takes_an_lf_diff_and_stays_crlf() {
    let crlf = TEN.replace('\n', "\r\n");
    assert_eq!(patched(&crlf, HUNK), crlf.replace("l5", "X"));
    assert_eq!(placement(&crlf, HUNK).space, Space::Same);
}

#[test]
fn a_crlf_file_takes_a_crlf_diff_byte_for_byte() {
    let crlf = TEN.replace('\n', "\r\n");
    let body = HUNK.replace('\n', "\r\n");
    assert_eq!(patched(&crlf, &body), crlf.replace("l5", "X"));
    let whole = format!("{HEADER}{HUNK}").replace('\n', "\r\n");
    assert_eq!(apply(Some(&crlf), &whole, "f.txt").unwrap().text.unwrap(), crlf.replace("l5", "X"));
}

#[test]
fn an_lf_file_takes_a_crlf_diff_and_stays_lf() {
    let whole = format!("{HEADER}{HUNK}").replace('\n', "\r\n");
    assert_eq!(apply(Some(TEN), &whole, "f.txt").unwrap().text.unwrap(), TEN.replace("l5", "X"));
}

#[test]
fn a_mixed_file_keeps_every_untouched_line_and_a_new_one_takes_its_predecessors_ending() {
    let mixed = "a\r\nb\nc\r\nd\n";
    assert_eq!(patched(mixed, "@@ -1,4 +1,4 @@\n a\n-b\n+X\n c\n d\n"), "a\r\nX\nc\r\nd\n");
    assert_eq!(patched(mixed, "@@ -1,4 +1,4 @@\n a\n b\n-c\n+X\n d\n"), "a\r\nb\nX\r\nd\n");
    assert_eq!(patched(mixed, "@@ -1,2 +1,3 @@\n a\n+X\n b\n"), "a\r\nX\r\nb\nc\r\nd\n");
    assert_eq!(patched(mixed, "@@ -1,2 +1,3 @@\n+X\n a\n b\n"), "X\r\na\r\nb\nc\r\nd\n");
    assert_eq!(patched(mixed, "@@ -1,3 +1,3 @@\n a\n-b\n-c\n+X\n+Y\n d\n"), "a\r\nX\nY\r\nd\n");
}

#[test]
fn a_hunk_may_change_nothing_but_the_last_newline() {
    assert_eq!(patched("a\nb", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"), "a\nb\n");
    assert_eq!(patched("a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n+b\n\\ No newline at end of file\n"), "a\nb");
}

#[test]
fn a_missing_last_newline_stays_missing() {
    let marked = "@@ -1,3 +1,3 @@\n a\n-b\n+X\n c\n\\ No newline at end of file\n";
    assert_eq!(patched("a\nb\nc", marked), "a\nX\nc");
    // Diffs that do not speak of it, as models write them.
    assert_eq!(patched("a\nb\nc", "@@ -1,3 +1,3 @@\n a\n-b\n+X\n c\n"), "a\nX\nc");
    assert_eq!(patched("a\nb\nc", "@@ -2,2 +2,2 @@\n b\n-c\n+X\n"), "a\nb\nX");
    assert_eq!(patched("a\nb\nc", "@@ -2,2 +2,3 @@\n b\n c\n+X\n"), "a\nb\nc\nX");
    assert_eq!(patched("a\r\nb", "@@ -1,2 +1,3 @@\n a\n b\n+X\n"), "a\r\nb\r\nX");
}

#[test]
fn a_marker_ties_the_hunk_to_the_end() {
    let hunk = "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+B\n\\ No newline at end of file\n";
    assert_eq!(patched("a\nb\na\nb", hunk), "a\nb\na\nB");
    assert!(matches!(refused("a\nb\nc\n", hunk), PatchError::NotFound { hint: Hint::NotAtEnd(1), .. }));
    let within = "@@ -1,2 +1,2 @@\n-a\n\\ No newline at end of file\n-b\n+B\n";
    assert_eq!(refused("a\nb\n", within), PatchError::BadMarker { hunk: 1 });
}

#[test]
fn a_byte_order_mark_is_kept_and_does_not_hide_the_first_line() {
    let text = format!("{BOM}a\nb\n");
    assert_eq!(patched(&text, "@@ -1,2 +1,2 @@\n a\n-b\n+X\n"), format!("{BOM}a\nX\n"));
    assert_eq!(patched(&text, "@@ -1,2 +1,2 @@\n-a\n+X\n b\n"), format!("{BOM}X\nb\n"));
    assert_eq!(patched(&text, "@@ -1,2 +1,3 @@\n+X\n a\n b\n"), format!("{BOM}X\na\nb\n"));
    // A diff that shows the mark may remove it.
    assert_eq!(patched(&text, &format!("@@ -1,2 +1,2 @@\n-{BOM}a\n+a\n b\n")), "a\nb\n");
    assert_eq!(patched(&text, &format!("@@ -1,2 +1,2 @@\n {BOM}a\n-b\n+X\n")), format!("{BOM}a\nX\n"));
}

#[test]
fn a_hunk_for_the_end_of_the_file_is_not_fitted_into_the_middle_by_fuzz() {
    // Git takes it and glues the lines together: `l6l7`.
    let error = refused(TEN, "@@ -3,4 +3,4 @@\n l3\n-l4\n+X\n l5\n l6\n\\ No newline at end of file\n");
    assert!(matches!(error, PatchError::NotFound { hint: Hint::NotAtEnd(3), .. }), "{error}");
}

#[test]
fn a_newline_that_no_line_of_the_diff_removes_is_not_removed() {
    // Git takes it and cuts the newline off, patch refuses.
    let error = refused("a\nb\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+X\n c\n\\ No newline at end of file\n");
    assert!(matches!(error, PatchError::NotFound { hint: Hint::HasNewline(1), .. }), "{error}");
    assert!(error.to_string().contains("leave that line out"), "{error}");
}
