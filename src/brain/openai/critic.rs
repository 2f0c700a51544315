//! The second opinion: what the critique model is asked, and what it says.

use serde::Serialize;

use super::answer::Answer;
use super::message::{Message, shortened};
use super::proposal::{self, Files};
use super::record::Assistant;
use super::{arguments, prompt};
use crate::brain::fields::Fields;
use crate::domain::Json;

/// The critic sees so many characters of the task, the last messages, so many of each, and so many of the action: enough
/// to judge one step, and within the context of a small model.
const TASK: usize = 8000;
const MESSAGES: usize = 8;
const MESSAGE: usize = 1500;
const ACTION: usize = 16_000;

const WHY: &str = "to keep this short";

/// The schema of a verdict, as `strict` wants it.
const SCHEMA: &str = r#"{"type":"object","properties":{"verdict":{"type":"string","enum":["approve","revise"]},"reason":{"type":"string"}},"required":["verdict","reason"],"additionalProperties":false}"#;

/// The schema stands in the words, too: not every server takes one.
const SYSTEM: &str = "You review the next action of an agent that works on a task in a directory of files, before it is \
done. Answer with one JSON object and nothing else: {\"verdict\": \"approve\" or \"revise\", \"reason\": a sentence or two}. \
Approve an action that is a sensible next step, even if you would have done it otherwise. Say revise where it is wrong, \
does harm, or ends the task before it is done, and give as the reason what is wrong and what to do instead: the agent \
reads it.";

/// What the critic thinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) revise: bool,
    pub(super) reason: String,
}

/// The schema of a verdict.
pub(super) fn schema() -> Json {
    // It is JSON, as a test makes sure.
    Json::parse(SCHEMA).unwrap_or_else(|_| Json::empty_object())
}

/// The question; `less` makes it so many times shorter, for a model that refused it as too long.
pub(super) fn question(
    task: &Json,
    said: &[Message],
    proposal: &Assistant,
    files: &Files,
    less: usize,
) -> Vec<Message> {
    let task = prompt::instruction(&Fields::of(task.as_str()).unwrap_or_default());
    // The first two messages are the agent's own prompt and the task.
    let since = said.len().saturating_sub(MESSAGES).max(2).min(said.len());
    let steps: Vec<String> =
        said[since..].iter().map(|message| shortened(&message.told(), MESSAGE / less, WHY)).collect();
    let steps = if steps.is_empty() { "(none: this is the first step)".to_owned() } else { steps.join("\n") };
    let action = shortened(&proposal::told(proposal, files), ACTION / less, WHY);
    let task = shortened(&task, TASK / less, WHY);
    let text = format!("# The task\n{task}\n\n# The last steps\n{steps}\n\n# The proposed action\n{action}");
    vec![Message::System(SYSTEM.to_owned()), Message::User(text)]
}

/// Reads a verdict. One that cannot be read holds nothing up, and is on record as what it is.
pub(super) fn verdict(answer: &Answer) -> Verdict {
    let approve = |reason: String| Verdict { revise: false, reason };
    if let Some(refusal) = &answer.refusal {
        return approve(format!("counted as approved: the critic refused: {}", shortened(refusal, MESSAGE, WHY)));
    }
    let text = answer.content.as_str();
    let inner = match (text.find('{'), text.rfind('}')) {
        (Some(from), Some(to)) if from < to => &text[from..=to],
        _ => text,
    };
    let read = arguments::read_text(text).or_else(|_| arguments::read_text(inner)).ok();
    let fields = read.as_ref().and_then(|json| Fields::of(json.as_str())).unwrap_or_default();
    let reason = fields.string("reason").unwrap_or_default();
    match fields.string("verdict").unwrap_or_default().trim().to_lowercase().as_str() {
        "approve" | "approved" => approve(reason),
        "revise" | "revised" | "reject" | "rejected" => {
            let reason = if reason.trim().is_empty() { "no reason was given".to_owned() } else { reason };
            Verdict { revise: true, reason }
        }
        _ => approve(format!("counted as approved: the verdict cannot be read: {}", shortened(text, MESSAGE, WHY))),
    }
}

/// A verdict with what it is about, for the record.
pub(super) fn record(verdict: &Verdict, proposal: &Assistant, model: &str) -> Json {
    #[derive(Serialize)]
    struct Critique<'a> {
        verdict: &'static str,
        reason: &'a str,
        proposed: &'a Assistant,
        model: &'a str,
    }
    let word = if verdict.revise { "revise" } else { "approve" };
    Json::of(&Critique { verdict: word, reason: &verdict.reason, proposed: proposal, model })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Verdict {
        verdict(&Answer { content: content.to_owned(), ..Answer::default() })
    }

    #[test]
    fn verdicts_are_read_in_every_form() {
        assert!(schema().as_str().contains("approve"));
        for text in [
            r#"{"verdict":"revise","reason":"r"}"#,
            "```json\n{\"reason\": \"r\", \"verdict\": \"Revise\"}\n```",
            "I think: {\"verdict\":\"reject\",\"reason\":\"r\"} is right.",
            r#""{\"verdict\":\"revise\",\"reason\":\"r\"}""#,
        ] {
            assert_eq!(read(text), Verdict { revise: true, reason: "r".into() }, "{text}");
        }
        assert_eq!(read(r#"{"verdict":"approve"}"#), Verdict { revise: false, reason: String::new() });
        assert_eq!(read(r#"{"verdict":"revise"}"#).reason, "no reason was given");
        for text in ["", "looks fine", "{}", "{\"verdict\":7}", "} {"] {
            let verdict = read(text);
            assert!(!verdict.revise && verdict.reason.starts_with("counted as approved"), "{text}");
        }
    }

    #[test]
    fn the_question_is_bounded() {
        let task = Json::of(&serde_json::json!({"instruction": "i".repeat(50_000)}));
        let said: Vec<Message> = (0..50).map(|_| Message::User("s".repeat(50_000))).collect();
        let proposal = Assistant { content: "p".repeat(50_000), tool_calls: Vec::new() };
        let size = |less| question(&task, &said, &proposal, &Files::default(), less)[1].bytes();
        assert!((36_000..38_000).contains(&size(1)), "{}", size(1));
        assert!(size(4) < 11_000, "{}", size(4));
    }
}
