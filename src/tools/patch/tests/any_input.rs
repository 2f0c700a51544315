//! What holds for random texts.

use proptest::prelude::*;
use similar::TextDiff;

use super::*;

/// A text of few different lines with any ending, so that lines repeat and the last newline may lack.
fn text() -> impl Strategy<Value = String> {
    let line = prop_oneof!["[ab}-]{0,2}", "-- a", "\\+\\+ b", "@@ -1 \\+1 @@", "\u{feff}a", "\\\\ No newline"];
    let lines = prop::collection::vec((line, prop_oneof![Just("\n"), Just("\r\n")]), 0..30);
    (lines, any::<bool>()).prop_map(|(lines, ends)| {
        let text: String = lines.iter().flat_map(|(line, ending)| [line.as_str(), ending]).collect();
        if ends { text } else { text.trim_end_matches(['\r', '\n']).to_owned() }
    })
}

/// The unified diff of two texts; `similar` alone would end lines at a lone carriage return too.
fn diff(old: &str, new: &str, context: usize) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let lines = TextDiff::configure().newline_terminated(true).diff_slices(&old, &new);
    lines.unified_diff().context_radius(context).header("a/f.txt", "b/f.txt").to_string()
}

/// Something like a diff, in which anything may be wrong.
fn diff_like() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[-+ \\\\@]{0,3}[ab]{0,2}\r?",
        "@@ -[0-9]{1,2},[0-9] \\+[0-9]{1,20},[0-9] @@",
        Just("--- a/f.txt".to_owned()),
        Just("+++ b/f.txt".to_owned()),
        Just("--- /dev/null".to_owned()),
        Just("diff --git a/f.txt b/f.txt".to_owned()),
        Just("\\ No newline at end of file".to_owned()),
        Just("--- \"a\\".to_owned()),
    ];
    prop::collection::vec(line, 0..25).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_diff_of_two_texts_makes_the_one_of_the_other(old in text(), new in text(), context in 1_usize..5) {
        let diff = diff(&old, &new, context);
        prop_assume!(!diff.is_empty());
        let done = apply(Some(&old), &diff, "f.txt");
        prop_assert_eq!(done.map(|done| done.text), Ok(Some(new)), "{}", diff);
    }

    #[test]
    fn an_lf_diff_of_a_crlf_text_makes_a_crlf_text(old in text(), new in text()) {
        let lf = |text: &str| text.replace("\r\n", "\n").replace('\r', "");
        let (old, new) = (lf(&old), lf(&new));
        let diff = diff(&old, &new, 3);
        prop_assume!(!diff.is_empty() && old.contains('\n'));
        let crlf = |text: &str| text.replace('\n', "\r\n");
        let done = apply(Some(&crlf(&old)), &diff, "f.txt");
        prop_assert_eq!(done.map(|done| done.text), Ok(Some(crlf(&new))), "{}", diff);
    }

    #[test]
    fn no_input_makes_it_panic(original in proptest::option::of(text()), diff in diff_like()) {
        let _ = apply(original.as_deref(), &diff, "f.txt").map_err(|error| error.to_string());
    }

    #[test]
    fn no_string_at_all_makes_it_panic(original in ".*", diff in "(?s).{0,200}", path in ".*") {
        let _ = apply(Some(&original), &diff, &path).map_err(|error| error.to_string());
    }
}
