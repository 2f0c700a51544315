//! The words that a task is found by: its labels and its workspace.
//!
//! ```text
//!  {"labels":{"team":"a"},"workspace":"repo"} ─► team · team=a · =workspace=repo ─► one row each
//!  ?label=team=a                              ─► team=a                          ─► the rows that have it, newest first
//! ```
//!
//! A filter is a word, too, so that one index serves all of them. No word is ambiguous: a label whose name has `=` in it, or
//! that has none, cannot be asked for, and gets no word; what begins with `=` is ours.

use sha2::{Digest, Sha256};

use crate::domain::{LabelFilter, TaskFilter, hex};

/// The longest word that is kept as it is, in bytes: far below the 2,700 that PostgreSQL's indexes take, even if it is
/// escaped, and longer than most labels. A label may be as long as a body.
const LONGEST: usize = 255;

/// The words of a task.
pub(super) fn of(labels: &[(String, String)], workspace: Option<&str>) -> Vec<String> {
    let asked_for = labels.iter().filter(|(key, _)| !key.is_empty() && !key.contains('='));
    let labels = asked_for.flat_map(|(key, value)| [label(key, None), label(key, Some(value))]);
    labels.chain(workspace.map(self::workspace)).collect()
}

/// The words that a task has to have. The first is the one that is looked up: it is likely to be had by the fewest.
pub(super) fn asked(filter: &TaskFilter) -> Vec<String> {
    let word = |LabelFilter { key, value }: &LabelFilter| label(key, value.as_deref());
    let (exact, named): (Vec<_>, Vec<_>) = filter.labels.iter().partition(|label| label.value.is_some());
    let exact = exact.into_iter().map(word).chain(filter.workspace.as_deref().map(workspace));
    exact.chain(named.into_iter().map(word)).collect()
}

fn label(key: &str, value: Option<&str>) -> String {
    kept(value.map_or_else(|| key.to_owned(), |value| format!("{key}={value}")))
}

fn workspace(path: &str) -> String {
    kept(format!("=workspace={path}"))
}

fn kept(word: String) -> String {
    if word.len() <= LONGEST { word } else { format!("=sha256={}", hex(&Sha256::digest(word))) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_task_has_the_words_of_its_labels_and_of_no_other(
            labels in prop::collection::btree_map("[ab=]{0,2}", "[ab=]{0,2}|x{300}|x{301}", 0..3),
            asked in "[ab=]{1,4}|a=x{300}|a=x{301}",
        ) {
            let Ok(label) = asked.parse::<LabelFilter>() else { return Ok(()) };
            let has = labels.get(&label.key).is_some_and(|has| label.value.as_ref().is_none_or(|value| value == has));
            let words = of(&labels.into_iter().collect::<Vec<_>>(), Some("a"));
            let filter = TaskFilter { labels: vec![label], ..TaskFilter::default() };
            prop_assert_eq!(words.contains(&super::asked(&filter)[0]), has);
            prop_assert!(words.iter().all(|word| word.len() <= LONGEST));
        }
    }

    #[test]
    fn what_says_most_is_looked_up() {
        let labels = ["a", "b=1"].map(|label| label.parse().unwrap()).to_vec();
        let filter = TaskFilter { labels, workspace: Some("w".into()), ..TaskFilter::default() };
        assert_eq!(asked(&filter), ["b=1", "=workspace=w", "a"]);
    }
}
