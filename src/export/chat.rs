//! A trajectory as a conversation: the instruction, then call and result by turns, last the summary.

use super::select::Reason;
use super::trajectory::{Trajectory, Turn};
use crate::domain::Json;

/// One message, in no dialect yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    System(String),
    User(String),
    /// The model calls a tool.
    Call(Call),
    /// What the tool answered, as JSON.
    Result {
        id: String,
        name: String,
        content: String,
    },
    /// The model says something, and calls nothing.
    Answer(String),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    /// What the model said beside it.
    pub(super) said: Option<String>,
    pub(super) name: String,
    /// A JSON object.
    pub(super) arguments: Json,
}

impl Message {
    /// Whether the model wrote it.
    pub(super) fn is_the_models(&self) -> bool {
        matches!(self, Self::Call(_) | Self::Answer(_))
    }

    /// Whether two are the same to a model: what a tool took is no difference.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Result { content: one, .. }, Self::Result { content: two, .. }) => {
                without_duration(one) == without_duration(two)
            }
            (one, two) => one == two,
        }
    }
}

/// A result without how long it took, which is never twice the same.
pub(super) fn without_duration(content: &str) -> (&str, &str) {
    let (head, tail) = content.rsplit_once(r#","duration_ms":"#).unwrap_or((content, ""));
    (head, tail.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// The whole of a trajectory. It ends on what the model wrote: a result that the model never saw the use of is left out, with
/// whatever cannot be learnt from. Why not, if it cannot be had.
pub(super) fn conversation(
    system: Option<&str>,
    trajectory: &Trajectory,
    known: impl Fn(&str) -> bool,
) -> Result<Vec<Message>, Reason> {
    let mut messages = Vec::with_capacity(2 * trajectory.turns.len() + 3);
    messages.extend(system.map(|text| Message::System(text.to_owned())));
    messages.push(Message::User(trajectory.instruction.clone()));
    for (at, turn) in trajectory.turns.iter().enumerate() {
        if !known(&turn.name) {
            return Err(Reason::UnknownTool(turn.name.clone()));
        }
        let call = call(at, turn)?;
        let id = call.id.clone();
        messages.push(Message::Call(call));
        let Some(result) = &turn.result else { break };
        messages.push(Message::Result { id, name: turn.name.clone(), content: result.as_str().to_owned() });
    }
    let summary = trajectory.finish.as_ref().and_then(|finish| finish.summary.as_deref());
    match summary.filter(|summary| !summary.trim().is_empty()) {
        Some(summary) => messages.push(Message::Answer(summary.to_owned())),
        None => {
            while messages.last().is_some_and(|message| !message.is_the_models()) {
                messages.pop();
            }
        }
    }
    if messages.is_empty() { Err(Reason::Empty) } else { Ok(messages) }
}

/// The call of a turn, the `at`-th of its conversation.
fn call(at: usize, turn: &Turn) -> Result<Call, Reason> {
    if !turn.arguments.is_object() {
        return Err(Reason::Arguments(turn.name.clone()));
    }
    Ok(Call { id: id(at), said: turn.said.clone(), name: turn.name.clone(), arguments: turn.arguments.clone() })
}

/// Nine letters and digits, which is what the strictest of the templates takes (Mistral's); the same call has the same id in
/// each export.
pub(super) fn id(at: usize) -> String {
    format!("call{:05}", at % 100_000)
}

#[cfg(test)]
mod tests {
    use super::super::trajectory::{Finish, Moment};
    use super::*;

    fn turn(name: &str, arguments: &str, result: Option<&str>) -> Turn {
        let json = |text: &str| Json::parse(text).unwrap();
        let result = result.map(json);
        Turn { said: None, name: name.into(), arguments: json(arguments), result, at: Moment::default() }
    }

    fn finished(summary: Option<&str>) -> Finish {
        Finish { summary: summary.map(str::to_owned), at: Moment::default() }
    }

    fn trajectory(turns: Vec<Turn>, finish: impl Into<Option<Finish>>) -> Trajectory {
        let finish = finish.into();
        Trajectory { instruction: "do".into(), model: None, turns, finish }
    }

    fn kinds(messages: &[Message]) -> String {
        let kind = |message: &Message| match message {
            Message::System(_) => 's',
            Message::User(_) => 'u',
            Message::Call(_) => 'c',
            Message::Result { .. } => 'r',
            Message::Answer(_) => 'a',
        };
        messages.iter().map(kind).collect()
    }

    fn of(trajectory: &Trajectory) -> Result<String, Reason> {
        conversation(Some("be good"), trajectory, |name| name != "rocket").map(|messages| kinds(&messages))
    }

    #[test]
    fn a_conversation_ends_on_what_the_model_wrote() {
        let done = || turn("read_file", "{}", Some("{}"));
        let cut = || turn("read_file", "{}", None);
        assert_eq!(of(&trajectory(vec![done(), done()], finished(Some("x")))).unwrap(), "sucrcra");
        assert_eq!(of(&trajectory(vec![], finished(Some("x")))).unwrap(), "sua");
        // Without a summary there is nothing to be learnt behind the last call, nor where a task was stopped.
        assert_eq!(of(&trajectory(vec![done(), done()], finished(None))).unwrap(), "sucrc");
        assert_eq!(of(&trajectory(vec![done(), cut()], None)).unwrap(), "sucrc");
        assert_eq!(of(&trajectory(vec![], finished(Some(" ")))), Err(Reason::Empty));
    }

    #[test]
    fn what_no_model_should_learn_is_refused() {
        let odd = trajectory(vec![turn("rocket", "{}", Some("{}"))], finished(Some("x")));
        assert_eq!(of(&odd), Err(Reason::UnknownTool("rocket".into())));
        let odd = trajectory(vec![turn("read_file", "[1]", Some("{}"))], finished(Some("x")));
        assert_eq!(of(&odd), Err(Reason::Arguments("read_file".into())));
    }

    #[test]
    fn how_long_a_command_took_is_no_difference() {
        let result = |content: &str| Message::Result { id: id(0), name: "run_command".into(), content: content.into() };
        assert!(
            result(r#"{"stdout":"a","duration_ms":7}"#).says_the_same(&result(r#"{"stdout":"a","duration_ms":12}"#))
        );
        assert!(
            !result(r#"{"stdout":"a","duration_ms":7}"#).says_the_same(&result(r#"{"stdout":"b","duration_ms":7}"#))
        );
        assert!(!result(r#"{"stdout":"a"}"#).says_the_same(&result(r#"{"stdout":"b"}"#)));
    }
}
