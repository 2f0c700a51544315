//! Preferences that nobody had to label.
//!
//! ```text
//!  two attempts of a group      user ─ call A ─ result ─┬─ call B … succeeded    preferred
//!                                                       └─ call C … failed
//!  inside one attempt           … ─┬─ call A: failure        (the brain looks around: read_file alone)
//!                                  └─ call A': success       preferred
//! ```
//!
//! A pair is one message against another behind the same conversation, so that nothing else can be what is preferred.

use super::chat::{Call, Message};
use super::trajectory::{Trajectory, Turn, is_success};
use crate::domain::{Json, Members};

/// What was said, and the two ways on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) said: Vec<Message>,
    pub(super) better: Message,
    pub(super) worse: Message,
}

/// Where two attempts part, if both went on by themselves from the same place. The conversation up to there is the better
/// one's: it differs in nothing that a model can see the use of.
pub(super) fn parting(better: &[Message], worse: &[Message]) -> Option<Pair> {
    let at = better.iter().zip(worse).position(|(one, other)| !one.says_the_same(other))?;
    let (one, other) = (&better[at], &worse[at]);
    // Where tools have answered differently, whatever follows is an answer to something else. And a step that failed is no
    // example of what to do, however well the attempt ended.
    let failed = matches!(better.get(at + 1), Some(Message::Result { content, .. }) if !is_success(content));
    let both = one.is_the_models() && other.is_the_models() && !same_step(one, other) && !failed;
    both.then(|| Pair { said: better[..at].to_vec(), better: one.clone(), worse: other.clone() })
}

/// Calls that failed, each with the next call of the same tool on the same target, where that succeeded. In between the brain
/// may have read files, and nothing else: another call could have changed the world so that what failed would work by now.
pub(super) fn repairs(trajectory: &Trajectory, messages: &[Message]) -> Vec<Pair> {
    let calls: Vec<usize> = (0..messages.len()).filter(|at| matches!(messages[*at], Message::Call(_))).collect();
    // A conversation may end before its trajectory does.
    let turns = &trajectory.turns[..calls.len().min(trajectory.turns.len())];
    let repaired = |(at, failed): (usize, &Turn)| {
        let target = target(failed).filter(|_| failed.succeeded() == Some(false))?;
        let rest = turns.iter().enumerate().skip(at + 1);
        let again = |turn: &Turn| turn.name == failed.name && self::target(turn).as_ref() == Some(&target);
        let mut rest = rest.skip_while(|(_, turn)| !again(turn) && turn.name == READ_ONLY);
        let (then, repaired) = rest.next()?;
        let (one, other) = (&messages[calls[then]], &messages[calls[at]]);
        if !again(repaired) || repaired.succeeded() != Some(true) || same_step(one, other) {
            return None;
        }
        Some(Pair { said: messages[..calls[at]].to_vec(), better: renumbered(one, other), worse: other.clone() })
    };
    turns.iter().enumerate().filter_map(repaired).collect()
}

/// The tool that changes nothing.
const READ_ONLY: &str = "read_file";

/// What a call works on: a file, or the program that a command runs.
fn target(turn: &Turn) -> Option<String> {
    let (member, program) = if turn.name == "run_command" { ("command", true) } else { ("file_path", false) };
    let Members(members) = serde_json::from_str(turn.arguments.as_str()).ok()?;
    let raw = members.iter().rev().find(|(name, _)| name == member).map(|(_, raw)| raw.get())?;
    let text: String = serde_json::from_str(raw).ok()?;
    if program { shlex::Shlex::new(&text).next() } else { Some(text.trim_start_matches("./").to_owned()) }
}

/// Whether two messages ask for the same: ids are names alone, and what is said beside a call decides nothing.
fn same_step(one: &Message, other: &Message) -> bool {
    match (one, other) {
        (Message::Call(one), Message::Call(other)) => {
            one.name == other.name && same_value(&one.arguments, &other.arguments)
        }
        (one, other) => one == other,
    }
}

/// Whether two JSON values are the same, whatever the order of their members.
fn same_value(one: &Json, other: &Json) -> bool {
    let value = |json: &Json| serde_json::from_str::<serde_json::Value>(json.as_str()).ok();
    one == other || value(one).is_some_and(|one| Some(one) == value(other))
}

/// The call with the id that the other one has in its place.
fn renumbered(message: &Message, like: &Message) -> Message {
    match (message, like) {
        (Message::Call(call), Message::Call(like)) => Message::Call(Call { id: like.id.clone(), ..call.clone() }),
        _ => message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::chat::conversation;
    use super::super::trajectory::{Finish, Moment};
    use super::*;

    fn turn(name: &str, arguments: &str, ok: bool) -> Turn {
        let json = |text: &str| Json::parse(text).unwrap();
        let status = if ok { "success" } else { "failure" };
        let result = Some(json(&format!(r#"{{"status":"{status}","duration_ms":{}}}"#, arguments.len())));
        Turn { said: None, name: name.into(), arguments: json(arguments), result, at: Moment::default() }
    }

    fn edit(path: &str, text: &str, ok: bool) -> Turn {
        turn("edit_file", &format!(r#"{{"file_path":"{path}","new_content":"{text}"}}"#), ok)
    }

    fn run(command: &str, ok: bool) -> Turn {
        turn("run_command", &format!(r#"{{"command":"{command}"}}"#), ok)
    }

    fn look() -> Turn {
        turn("read_file", r#"{"file_path":"a"}"#, true)
    }

    fn attempt(turns: Vec<Turn>) -> (Trajectory, Vec<Message>) {
        let finish = Some(Finish { summary: Some("done".into()), at: Moment::default() });
        let trajectory = Trajectory { instruction: "do".into(), model: None, turns, finish };
        let messages = conversation(None, &trajectory, |_| true).unwrap();
        (trajectory, messages)
    }

    fn repaired(turns: Vec<Turn>) -> Vec<(String, String)> {
        let (trajectory, messages) = attempt(turns);
        let arguments = |message: &Message| match message {
            Message::Call(call) => call.arguments.to_string(),
            other => panic!("{other:?}"),
        };
        repairs(&trajectory, &messages).iter().map(|pair| (arguments(&pair.better), arguments(&pair.worse))).collect()
    }

    #[test]
    fn a_failed_call_and_the_one_that_repaired_it_are_a_pair() {
        let (bad, good) = (edit("a", "x", false), edit("./a", "y", true));
        let pair = (good.arguments.to_string(), bad.arguments.to_string());
        assert_eq!(repaired(vec![bad.clone(), good.clone()]), std::slice::from_ref(&pair));
        assert_eq!(repaired(vec![look(), bad.clone(), look(), good.clone()]), std::slice::from_ref(&pair));
        // Of two failures the last one was repaired.
        assert_eq!(repaired(vec![edit("a", "w", false), bad.clone(), good.clone()]), [pair]);
        let commands = repaired(vec![run("ls nowhere", false), run("ls -a", true)]);
        assert_eq!(commands.len(), 1);
    }

    #[test]
    fn what_something_else_may_have_repaired_is_no_pair() {
        let (bad, good) = (edit("a", "x", false), edit("a", "y", true));
        assert_eq!(repaired(vec![bad.clone(), run("make a", true), good.clone()]), []);
        assert_eq!(repaired(vec![bad.clone(), edit("b", "y", true)]), []);
        assert_eq!(repaired(vec![bad.clone(), edit("a", "y", false)]), []);
        assert_eq!(repaired(vec![good, bad]), []);
        // The tests failed, the code was mended, the same tests passed: the call was right both times.
        assert_eq!(repaired(vec![run("make test", false), run("make test", true)]), []);
    }

    #[test]
    fn attempts_part_where_they_went_on_by_themselves() {
        let (_, good) = attempt(vec![look(), edit("a", "y", true)]);
        let (_, bad) = attempt(vec![look(), edit("a", "x", true)]);
        let pair = parting(&good, &bad).unwrap();
        assert_eq!(pair.said.len(), 3);
        assert_eq!((&pair.better, &pair.worse), (&good[3], &bad[3]));
        assert_eq!(parting(&good, &good), None);
        // The better attempt went wrong there, and found its way later.
        let (_, stumbled) = attempt(vec![look(), run("ls nowhere", false), edit("a", "y", true)]);
        assert_eq!(parting(&stumbled, &bad), None);
        // One gave up where the other went on.
        let (_, short) = attempt(vec![look()]);
        assert_eq!(parting(&good, &short).unwrap().worse, Message::Answer("done".into()));
    }

    #[test]
    fn after_different_answers_of_a_tool_there_is_nothing_to_compare() {
        let (_, good) = attempt(vec![look(), edit("a", "y", true)]);
        let (_, bad) = attempt(vec![turn("read_file", r#"{"file_path":"a"}"#, false), edit("a", "x", true)]);
        assert_eq!(parting(&good, &bad), None);
    }
}
