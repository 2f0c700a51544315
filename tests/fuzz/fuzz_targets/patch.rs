//! A diff and a text, both of any bytes: no panic, the same answer twice, and the promises that need no other tool.
#![no_main]

use codex_agent::tools::patch::{PatchError, Space, apply};
use libfuzzer_sys::fuzz_target;

/// The text and the diff, with this between them: a mutation of the one leaves the other alone.
const BETWEEN: &str = "\u{1}\n";

fuzz_target!(|input: &str| {
    let (text, diff) = input.split_once(BETWEEN).unwrap_or(("", input));
    let done = apply(Some(text), diff, "f.txt");
    assert_eq!(done, apply(Some(text), diff, "f.txt"));
    let _ = apply(None, diff, "f.txt").map_err(|error| error.to_string());
    match done {
        Ok(done) => {
            assert!(!done.hunks.is_empty());
            let lines = text.split_terminator('\n').count();
            for (at, hunk) in done.hunks.iter().enumerate() {
                assert_eq!(hunk.hunk, at + 1);
                assert!((1..=lines + 1).contains(&hunk.line), "{hunk:?} of {lines} lines");
                assert!(hunk.fuzz <= 2 && (hunk.fuzz == 0 || hunk.space == Space::Same));
            }
            if let Some(new) = done.text {
                only_its_lines(text, diff, &new);
            }
        }
        Err(error) => {
            let said = error.to_string();
            // A model has to read it.
            assert!(said.len() < 64 * 1024, "{} bytes of error", said.len());
            if let PatchError::Ambiguous { lines: (one, other), .. } = error {
                assert!(one < other, "{said}");
            }
        }
    }
});

/// Each line of the new text is one of the old or one that the diff adds, line endings and the mark at the start aside.
fn only_its_lines(old: &str, diff: &str, new: &str) {
    let bare = |line: &str| line.trim_start_matches('\u{feff}').trim_end_matches('\r').to_owned();
    let mut may: Vec<String> = old.split('\n').map(bare).collect();
    may.extend(diff.split('\n').filter_map(|line| line.trim_start_matches('\u{feff}').strip_prefix('+')).map(bare));
    for line in new.split_terminator('\n').map(bare) {
        assert!(may.contains(&line), "{line:?} is in neither the text nor the diff");
    }
}
