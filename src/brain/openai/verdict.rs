//! What the critique model says of a proposal, read from whatever it writes.

use super::answer::Answer;
use super::arguments;
use super::message::shortened;
use crate::brain::fields::Fields;

/// So many characters of what a critic says go into a reason: the main model reads it, and it is on record.
const QUOTED: usize = 1500;

const WHY: &str = "to keep this short";

/// A word is looked for in so many characters of a text that is not in its form: a verdict has a sentence or two.
const LOOKED_AT: usize = 10_000;

/// The words that may stand before the one that decides, and that one, have no more characters.
const FIRST: usize = 200;

/// Words that may stand before the one that decides: `{"verdict": …`, "**Verdict:** …", "I would …", "this should be …".
const BEFORE: &[&str] = &[
    "a",
    "action",
    "answer",
    "be",
    "decision",
    "do",
    "have",
    "i",
    "is",
    "it",
    "json",
    "must",
    "my",
    "proposed",
    "result",
    "reviewer",
    "reviewer's",
    "should",
    "the",
    "this",
    "to",
    "verdict",
    "will",
    "would",
];

/// Turn an approval into its opposite.
const NOT: &[&str] = &["can't", "cannot", "didn't", "don't", "isn't", "never", "not", "shouldn't", "won't", "wouldn't"];

/// What words that send something back begin with: revise, rejected, denies, declined, disapproved, refuse, blocked.
const REVISE: &[&str] = &["revis", "reject", "deny", "deni", "declin", "disapprov", "refus", "block"];

const APPROVE: &str = "approv";

/// What the critic thinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) revise: bool,
    pub(super) reason: String,
}

/// Reads a verdict. A critic that will not look at an action does not approve of it; a verdict that cannot be read holds
/// nothing up, and is on record as what it is.
pub(super) fn read(answer: &Answer) -> Verdict {
    if let Some(refusal) = &answer.refusal {
        return Verdict { revise: true, reason: format!("the critic refused: {}", shortened(refusal, QUOTED, WHY)) };
    }
    let text = answer.content.as_str();
    let inner = match (text.find('{'), text.rfind('}')) {
        (Some(from), Some(to)) if from < to => &text[from..=to],
        _ => text,
    };
    let read = arguments::read_text(text).or_else(|_| arguments::read_text(inner)).ok();
    let fields = read.as_ref().and_then(|json| Fields::of(json.as_str())).unwrap_or_default();
    let reason = fields.string("reason").unwrap_or_default();
    let quoted = || shortened(text, QUOTED, WHY);
    match fields.string("verdict").and_then(|word| leading(&word)) {
        Some(true) if reason.trim().is_empty() => Verdict { revise: true, reason: "no reason was given".to_owned() },
        Some(revise) => Verdict { revise, reason },
        // Without its form, or broken off within it: a word may still be there.
        None if unstructured(text) == Some(true) => Verdict { revise: true, reason: quoted() },
        None => {
            let reason = format!("counted as approved: the verdict cannot be read: {}", quoted());
            Verdict { revise: false, reason }
        }
    }
}

/// What a text says that is no object: its first words count, and what follows a "verdict" in it.
fn unstructured(text: &str) -> Option<bool> {
    let lower = shortened(text, LOOKED_AT, WHY).to_lowercase();
    let behind = lower.match_indices("verdict").map(|(at, word)| leading(&lower[at + word.len()..]));
    let said = behind.chain([leading(&lower)]).flatten();
    // Where both are said, the text may speak of a verdict that the action itself brings along.
    said.max()
}

/// Whether the word that a text begins with sends something back; nothing, if it begins with other words.
fn leading(text: &str) -> Option<bool> {
    let text = text.chars().take(FIRST).collect::<String>().to_lowercase().replace('’', "'");
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    let mut is_denied = false;
    for word in words.map(|word| word.trim_matches('\'')).filter(|word| !word.is_empty()) {
        if NOT.contains(&word) {
            is_denied = true;
        } else if word.starts_with(APPROVE) {
            return Some(is_denied);
        } else if REVISE.iter().any(|begins| word.starts_with(begins)) {
            return (!is_denied).then_some(true);
        } else if !BEFORE.contains(&word) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(content: &str) -> Verdict {
        read(&Answer { content: content.to_owned(), ..Answer::default() })
    }

    #[test]
    fn verdicts_are_read_in_every_form() {
        for text in [
            r#"{"verdict":"revise","reason":"r"}"#,
            "```json\n{\"reason\": \"r\", \"verdict\": \"Revise\"}\n```",
            "I think: {\"verdict\":\"reject\",\"reason\":\"r\"} is right.",
            r#""{\"verdict\":\"revise\",\"reason\":\"r\"}""#,
            r#"{"verdict":"Not approved.","reason":"r"}"#,
            r#"{"verdict":"REVISE: harmful","reason":"r"}"#,
        ] {
            assert_eq!(verdict(text), Verdict { revise: true, reason: "r".into() }, "{text}");
        }
        assert_eq!(verdict(r#"{"verdict":"approve"}"#), Verdict { revise: false, reason: String::new() });
        assert_eq!(verdict(r#"{"verdict":"revise"}"#).reason, "no reason was given");
    }

    #[test]
    fn a_word_that_sends_back_counts_without_its_form() {
        for text in [
            "REVISE: this is harmful",
            "**Verdict:** Reject",
            "# Verdict\n\nrevise\n",
            "Denied.",
            "I do not approve of this.",
            "I can’t approve this",
            "This should not be approved",
            "{\"verdict\": \"revise\", \"reason\": \"it writes \"x\" into",
            "The action brings \"verdict\":\"approve\" along. My verdict: revise",
            "{\"reason\": \"a \"b\" c\", \"verdict\": \"revise\"}",
        ] {
            let verdict = verdict(text);
            assert_eq!((verdict.revise, verdict.reason.as_str()), (true, text), "{text}");
        }
    }

    #[test]
    fn a_verdict_that_cannot_be_read_is_an_approval_with_its_words_on_record() {
        for text in ["", "looks fine", "{}", "{\"verdict\":7}", "} {", "No need to revise this.", "I'd not reject it"] {
            let verdict = verdict(text);
            assert!(!verdict.revise && verdict.reason.starts_with("counted as approved"), "{text}");
        }
        // In no more than a moment.
        assert!(!verdict(&"verdict ".repeat(100_000)).revise);
        assert!(!verdict("Approve: it is not to be rejected").revise);
    }

    #[test]
    fn a_critic_that_refuses_does_not_approve() {
        let refusal = Some("I will not look at this".to_owned());
        let content = r#"{"verdict":"approve","reason":""}"#.to_owned();
        let verdict = read(&Answer { content, refusal, ..Answer::default() });
        assert_eq!(verdict, Verdict { revise: true, reason: "the critic refused: I will not look at this".into() });
    }
}
