//! The second opinion: what the critique model is asked.

use serde::Serialize;

use super::message::{Message, shortened};
use super::prompt;
use super::proposal::{self, Files};
use super::record::Assistant;
use super::verdict::Verdict;
use crate::brain::fields::Fields;
use crate::domain::Json;

/// The critic sees so many characters of the task, the last messages, so many of each, and so many of the action: enough
/// to judge one step, and within the context of a small model.
const TASK: usize = 8000;
const MESSAGES: usize = 8;
const MESSAGE: usize = 1500;
const ACTION: usize = 16_000;

/// Beside calls the agent's words matter less.
const WORDS: usize = 2000;

/// A call that is seen has its tool's name, and the beginning and the end of its arguments: a name has up to 64 characters.
const LEAST: usize = 240;

const WHY: &str = "to keep this short";

/// The schema of a verdict, as `strict` wants it.
const SCHEMA: &str = r#"{"type":"object","properties":{"verdict":{"type":"string","enum":["approve","revise"]},"reason":{"type":"string"}},"required":["verdict","reason"],"additionalProperties":false}"#;

/// The schema stands in the words, too: not every server takes one.
const SYSTEM: &str = "You review the next action of an agent that works on a task in a directory of files, before it is \
done. Answer with one JSON object and nothing else: {\"verdict\": \"approve\" or \"revise\", \"reason\": a sentence or two}. \
Approve an action that is a sensible next step, even if you would have done it otherwise. Say revise where it is wrong, \
does harm, or ends the task before it is done, and give as the reason what is wrong and what to do instead: the agent \
reads it. Where it is said that characters of a call are left out, the call does more than you see: say revise if that \
gives you a doubt, and ask for shorter calls.";

/// The schema of a verdict.
pub(super) fn schema() -> Json {
    // It is JSON, as a test makes sure.
    Json::parse(SCHEMA).unwrap_or_else(|_| Json::empty_object())
}

/// The messages that a critic sees of all that was said.
pub(super) fn recent(said: &[Message]) -> &[Message] {
    // The first two are the agent's own prompt and the task.
    &said[said.len().saturating_sub(MESSAGES).max(2).min(said.len())..]
}

/// What a critic is to be asked, at its full length.
pub(super) struct Question {
    task: String,
    steps: Vec<String>,
    /// What the agent says beside its calls, or at the end of the task.
    words: String,
    /// The calls that are to be done.
    calls: Vec<String>,
}

impl Question {
    /// From the task, its last messages, and what is proposed.
    pub(super) fn new(task: &Json, recent: &[Message], proposal: &Assistant, files: &Files) -> Self {
        Self {
            task: prompt::instruction(&Fields::of(task.as_str()).unwrap_or_default()),
            steps: recent.iter().map(Message::told).collect(),
            words: proposal.content.clone(),
            calls: proposal::calls(proposal, files),
        }
    }

    /// The question, and how many of the calls are in it; `less` makes it so many times shorter, for a model that refused
    /// it as too long.
    pub(super) fn asked(&self, less: usize) -> (Vec<Message>, usize) {
        let steps: Vec<String> = self.steps.iter().map(|step| shortened(step, MESSAGE / less, WHY)).collect();
        let steps = if steps.is_empty() { "(none: this is the first step)".to_owned() } else { steps.join("\n") };
        let task = shortened(&self.task, TASK / less, WHY);
        let (action, seen) = self.action(less);
        let text = format!("# The task\n{task}\n\n# The last steps\n{steps}\n\n# The proposed action\n{action}");
        (vec![Message::System(SYSTEM.to_owned()), Message::User(text)], seen)
    }

    /// The proposal in words. Each call is shortened for itself: were they cut as one text, those in the middle would be
    /// done without having been seen.
    fn action(&self, less: usize) -> (String, usize) {
        let all = self.calls.len();
        if all == 0 {
            let summary = shortened(&self.words, ACTION / less, WHY);
            return (format!("End the task, with this summary:\n{summary}"), 0);
        }
        let room = ACTION / less;
        let seen = all.min(room / LEAST);
        let lengths: Vec<usize> = self.calls[..seen].iter().map(|call| call.chars().count()).collect();
        let shares = shares(&lengths, room);
        let shown = self.calls.iter().zip(lengths.iter().zip(&shares)).enumerate();
        let shown = shown.map(|(at, (call, (length, share)))| {
            let missing = match length - share {
                0 => String::new(),
                missing => format!(", not shown whole: {missing} of its {length} characters are left out"),
            };
            let heading = match (all, missing.as_str()) {
                (1, "") => String::new(),
                _ => format!("## Call {} of {all}{missing}\n", at + 1),
            };
            format!("{heading}{}", shortened(call, *share, WHY))
        });
        let words = (!self.words.is_empty()).then(|| shortened(&self.words, WORDS / less, WHY));
        let unseen = (seen < all).then(|| format!("## Calls {} to {all} are not shown, and not done", seen + 1));
        (words.into_iter().chain(shown).chain(unseen).collect::<Vec<_>>().join("\n\n"), seen)
    }
}

/// How many characters of each call are shown: an equal part, and what short calls leave of theirs goes to the long ones.
fn shares(lengths: &[usize], room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|at| lengths[*at]);
    let (mut shares, mut left) = (vec![0; lengths.len()], room);
    for (done, at) in order.into_iter().enumerate() {
        shares[at] = lengths[at].min(left / (lengths.len() - done));
        left -= shares[at];
    }
    shares
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
    use super::super::record::Call;
    use super::*;

    fn proposal(calls: &[(&str, String)]) -> Assistant {
        let call = |(name, arguments): &(&str, String)| Call {
            id: "1".into(),
            name: (*name).into(),
            arguments: Json::parse(arguments).unwrap(),
            not_done: None,
        };
        Assistant { content: String::new(), tool_calls: calls.iter().map(call).collect() }
    }

    fn asked(proposal: &Assistant, less: usize) -> (String, usize) {
        let task = Json::parse(r#"{"instruction":"do"}"#).unwrap();
        let (messages, seen) = Question::new(&task, &[], proposal, &Files::default()).asked(less);
        let Message::User(text) = &messages[1] else { panic!("{messages:?}") };
        (text.split("# The proposed action\n").nth(1).unwrap().to_owned(), seen)
    }

    #[test]
    fn the_schema_is_json() {
        assert!(schema().as_str().contains("approve"));
    }

    #[test]
    fn every_call_is_seen_however_long_the_others_are() {
        let long = || ("run_command", format!(r#"{{"command":"true {}"}}"#, "a".repeat(8500)));
        let evil = ("run_command", r#"{"command":"touch EVIL"}"#.to_owned());
        let (text, seen) = asked(&proposal(&[long(), evil, long()]), 1);
        assert_eq!(seen, 3);
        assert!(text.contains("## Call 2 of 3\nCall run_command with {\"command\":\"touch EVIL\"}"), "{text}");
        assert!(text.contains("## Call 3 of 3, not shown whole: "), "{text}");
        let (text, _) = asked(&proposal(&[("run_command", format!(r#"{{"command":"{}"}}"#, "a".repeat(20_000)))]), 1);
        let missing =
            "## Call 1 of 1, not shown whole: 4036 of its 20036 characters are left out\nCall run_command with";
        assert!(text.starts_with(missing), "{text}");
        let (text, _) = asked(&proposal(&[("run_command", r#"{"command":"ls"}"#.to_owned())]), 1);
        assert_eq!(text, "Call run_command with {\"command\":\"ls\"}");
    }

    #[test]
    fn calls_that_there_is_no_room_for_are_said_to_be_missing() {
        let call = |at| ("run_command", format!(r#"{{"command":"echo {at} {}"}}"#, "a".repeat(500)));
        let calls: Vec<_> = (0..64).map(call).collect();
        let (text, seen) = asked(&proposal(&calls), 1);
        assert_eq!(seen, 64);
        assert!((0..64).all(|at| text.contains(&format!("echo {at} "))), "{text}");
        let (text, seen) = asked(&proposal(&calls), 8);
        assert_eq!(seen, 8);
        assert!(text.contains("echo 7 ") && !text.contains("echo 8 "), "{text}");
        assert!(text.ends_with("## Calls 9 to 64 are not shown, and not done"), "{text}");
        assert!(text.len() < 4000, "{}", text.len());
    }

    #[test]
    fn what_short_calls_leave_goes_to_long_ones() {
        assert_eq!(shares(&[500, 10, 500], 310), [150, 10, 150]);
        assert_eq!(shares(&[5, 10], 310), [5, 10]);
        assert!(shares(&[], 310).is_empty());
    }

    #[test]
    fn the_question_is_bounded() {
        let task = Json::of(&serde_json::json!({"instruction": "i".repeat(50_000)}));
        let said: Vec<Message> = (0..50).map(|_| Message::User("s".repeat(50_000))).collect();
        let proposal = Assistant { content: "p".repeat(50_000), tool_calls: Vec::new() };
        let size = |less| Question::new(&task, recent(&said), &proposal, &Files::default()).asked(less).0[1].bytes();
        assert!((36_000..38_000).contains(&size(1)), "{}", size(1));
        assert!(size(4) < 11_000, "{}", size(4));
    }
}
