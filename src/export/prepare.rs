//! One task's rows: what is done with a record, without a thought for the others.

use std::num::NonZeroUsize;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::atif::{self, Words};
use super::chat::{Message, conversation};
use super::options::{Examples, Format, Options, TooLong};
use super::read::{Found, Item};
use super::redact::{self, Redactor};
use super::render::{self, Dialect};
use super::select::Reason;
use super::tokens::Tokens;
use super::trajectory::{Trajectory, Unreadable};
use super::{ExportError, fit};
use crate::domain::{Json, Outcome, Task};

/// What turns records into rows. Several threads use one.
pub(super) struct Workshop {
    options: Options,
    redactor: Option<Redactor>,
    tokens: Tokens,
    /// The tools as they stand in a row, and how many tokens that is.
    tools: Json,
    tool_tokens: u64,
    known: Vec<String>,
}

/// A record that has been read, without its secrets.
pub(super) struct Attempt {
    pub(super) trajectory: Trajectory,
    pub(super) redacted: redact::Found,
}

/// What a task gives.
pub(super) struct Made {
    pub(super) rows: Rows,
    /// The same for two tasks that did the same.
    pub(super) fingerprint: [u8; 16],
    pub(super) redacted: redact::Found,
    /// Its instruction, without secrets.
    pub(super) instruction: String,
}

/// Rows of one task.
pub(super) enum Rows {
    /// As they are.
    Made(Vec<Row>),
    /// One for each message that the model wrote. Each has all that was before it: together they are many times as long as the
    /// conversation, so each is made when it is written.
    Turns(Vec<Message>),
}

/// A line of data.
pub(super) struct Row {
    pub(super) text: String,
    pub(super) tokens: u64,
}

impl Workshop {
    pub(super) fn new(
        options: &Options,
        redactor: Option<Redactor>,
        schemas: &Json,
        counted: bool,
    ) -> Result<Self, ExportError> {
        let tokens = if counted { Tokens::load()? } else { Tokens::uncounted() };
        let tools = render::tools(schemas);
        let tool_tokens = tokens.of(tools.as_str());
        Ok(Self { options: options.clone(), redactor, tokens, tools, tool_tokens, known: names(schemas) })
    }

    /// The rows of all these, in their order.
    pub(super) fn make_all(&self, items: Vec<Item>) -> Vec<(Item, Result<Made, Reason>)> {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let each = items.len().div_ceil(threads).max(1);
        let mut items = items.into_iter();
        let make = |items: Vec<Item>| items.into_iter().map(|item| self.make(item)).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            let first: Vec<Item> = items.by_ref().take(each).collect();
            let mut others = Vec::new();
            while items.len() > 0 {
                let some: Vec<Item> = items.by_ref().take(each).collect();
                others.push(scope.spawn(move || make(some)));
            }
            let mut all = make(first);
            for other in others {
                // A panic there is one here.
                all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        })
    }

    fn make(&self, mut item: Item) -> (Item, Result<Made, Reason>) {
        let found = std::mem::replace(&mut item.found, Found::Record(Vec::new()));
        let made = match (found, &item.task) {
            (Found::Rejected(reason), _) => Err(self.told(reason)),
            (Found::Record(lines), Some(task)) => self.rows(task, &lines),
            (Found::Record(_), None) => Err(Reason::Gone),
        };
        (item, made)
    }

    fn rows(&self, task: &Task, lines: &[String]) -> Result<Made, Reason> {
        let Attempt { trajectory, mut redacted } = self.read(lines)?;
        let rows = match self.options.format {
            Format::Records => {
                // Counted once: what was found in the trajectory stands in the lines.
                redacted = redact::Found::default();
                Rows::Made(self.capped(self.record(lines, &mut redacted))?)
            }
            Format::Atif => {
                let words = self.words(task, &mut redacted);
                Rows::Made(self.capped(vec![atif::document(task, &words, &trajectory, &self.tools)])?)
            }
            _ => {
                let messages = self.messages(&trajectory)?;
                match self.options.examples {
                    Examples::Trajectory => Rows::Made(vec![self.example(&messages, 0)?]),
                    Examples::Turn => Rows::Turns(messages),
                }
            }
        };
        let fingerprint = fingerprint(&trajectory);
        Ok(Made { rows, fingerprint, redacted, instruction: trajectory.instruction })
    }

    /// Makes the rows of turns one after the other. What is too long is told of: by its number of tokens.
    pub(super) fn turns<'a>(&'a self, messages: &'a [Message]) -> impl Iterator<Item = Result<Row, Reason>> + 'a {
        let ends = (0..messages.len()).filter(|at| messages[*at].is_the_models());
        ends.map(|end| self.example(&messages[..=end], end))
    }

    /// Reads a record and takes its secrets out.
    pub(super) fn read(&self, lines: &[String]) -> Result<Attempt, Reason> {
        let mut trajectory = Trajectory::read(lines).map_err(|error| match error {
            // It was cancelled before it had begun.
            Unreadable::Empty => Reason::Empty,
            error => Reason::Unreadable(self.clean(&error.to_string())),
        })?;
        let mut redacted = redact::Found::default();
        if let Some(redactor) = &self.redactor {
            let mut text = |text: &mut String| *text = redactor.text(text, &mut redacted).into_owned();
            text(&mut trajectory.instruction);
            trajectory.finish.iter_mut().filter_map(|finish| finish.summary.as_mut()).for_each(&mut text);
            for turn in &mut trajectory.turns {
                text(&mut turn.name);
                turn.said.iter_mut().for_each(&mut text);
            }
            let mut json = |json: &mut Json| {
                let clean = redactor.json(json.as_str(), &mut redacted);
                // What comes back is JSON. If it were not, what went in must not get out for it.
                *json = Json::reread(&clean).map_err(|error| Reason::Unreadable(error.to_string()))?;
                Ok(())
            };
            for turn in &mut trajectory.turns {
                json(&mut turn.arguments)?;
                turn.result.iter_mut().try_for_each(&mut json)?;
            }
        }
        Ok(Attempt { trajectory, redacted })
    }

    /// A reason as it may be told: what is said of a row that cannot be read may quote it.
    pub(super) fn told(&self, reason: Reason) -> Reason {
        match reason {
            Reason::Unreadable(detail) => Reason::Unreadable(self.clean(&detail)),
            reason => reason,
        }
    }

    /// A text without secrets, which nobody counts.
    pub(super) fn clean(&self, text: &str) -> String {
        let clean = self.redactor.as_ref().map(|redactor| redactor.text(text, &mut redact::Found::default()));
        clean.map_or_else(|| text.to_owned(), std::borrow::Cow::into_owned)
    }

    /// The conversation of a trajectory, as this format can have it.
    pub(super) fn messages(&self, trajectory: &Trajectory) -> Result<Vec<Message>, Reason> {
        let known = |name: &str| self.known.iter().any(|known| known == name);
        let messages = conversation(self.options.system.as_deref(), trajectory, known)?;
        if self.dialect() == Dialect::HuggingFace {
            for message in &messages {
                if let Message::Call(call) = message
                    && let Some(number) = too_big(call.arguments.as_str())
                {
                    return Err(Reason::Number(number.to_owned()));
                }
            }
        }
        Ok(messages)
    }

    /// A preference as a row; the number of its tokens, if they are too many.
    pub(super) fn preference(&self, said: &[Message], better: &Message, worse: &Message) -> Result<Row, Reason> {
        let messages = said.iter().chain([better, worse]);
        let tokens = self.tool_tokens + messages.map(|message| self.tokens.of_message(message)).sum::<u64>();
        if self.is_too_long(tokens) {
            return Err(Reason::Tokens(tokens));
        }
        Ok(Row { text: render::preference(self.dialect(), said, better, worse, &self.tools), tokens })
    }

    fn dialect(&self) -> Dialect {
        match self.options.format {
            Format::HuggingFace | Format::DpoHuggingFace => Dialect::HuggingFace,
            _ => Dialect::OpenAi,
        }
    }

    /// Messages as an example: those from `learnt` on are to be learnt, those before it are their context.
    fn example(&self, messages: &[Message], learnt: usize) -> Result<Row, Reason> {
        let tokens = self.tool_tokens + messages.iter().map(|message| self.tokens.of_message(message)).sum::<u64>();
        let (said, tokens) = self.fitting(messages, tokens).ok_or(Reason::Tokens(tokens))?;
        let turn = self.options.examples == Examples::Turn;
        let text = match (self.dialect(), said.split_last()) {
            // What is learnt is told by where it stands: trainers know no weights there.
            (Dialect::HuggingFace, Some((last, said))) if turn => render::completion(said, last, &self.tools),
            (dialect, _) => render::example(dialect, &said, learnt, &self.tools),
        };
        Ok(Row { text, tokens })
    }

    /// The messages as they are, or shortened, if that is wanted and helps.
    fn fitting<'a>(&self, messages: &'a [Message], tokens: u64) -> Option<(std::borrow::Cow<'a, [Message]>, u64)> {
        if !self.is_too_long(tokens) {
            return Some((messages.into(), tokens));
        }
        let most = self.options.max_tokens.filter(|_| self.options.too_long == TooLong::TruncateObservations)?;
        let mut shorter = messages.to_vec();
        let fits = fit::truncate(&mut shorter, self.tool_tokens, most, &self.tokens);
        let tokens = || self.tool_tokens + shorter.iter().map(|message| self.tokens.of_message(message)).sum::<u64>();
        fits.then(tokens).map(|tokens| (shorter.into(), tokens))
    }

    /// Rows that are taken as they are, or not at all.
    fn capped(&self, rows: Vec<String>) -> Result<Vec<Row>, Reason> {
        let counted = rows.into_iter().map(|text| {
            let tokens = self.tokens.of(text.trim_end_matches('\n'));
            if self.is_too_long(tokens) { Err(Reason::Tokens(tokens)) } else { Ok(Row { text, tokens }) }
        });
        counted.collect()
    }

    fn is_too_long(&self, tokens: u64) -> bool {
        self.options.max_tokens.is_some_and(|most| tokens > most)
    }

    /// The lines of a record.
    fn record(&self, lines: &[String], redacted: &mut redact::Found) -> Vec<String> {
        let Some(redactor) = &self.redactor else { return lines.to_vec() };
        let clean = |line: &String| {
            let mut line = redactor.json(line.trim_end_matches('\n'), redacted).into_owned();
            line.push('\n');
            line
        };
        lines.iter().map(clean).collect()
    }

    fn words(&self, task: &Task, redacted: &mut redact::Found) -> Words {
        let error = match task.state.outcome() {
            Some(Outcome::Failed(error)) => Some(error.message.as_str()),
            _ => None,
        };
        let note = task.verdict.as_ref().and_then(|verdict| verdict.note.as_deref());
        let mut clean = |text: &str| match &self.redactor {
            Some(redactor) => redactor.text(text, redacted).into_owned(),
            None => text.to_owned(),
        };
        Words { error: error.map(&mut clean), note: note.map(&mut clean) }
    }
}

/// The names of the tools.
fn names(schemas: &Json) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Tool {
        name: String,
    }
    let tools: Vec<&RawValue> = serde_json::from_str(schemas.as_str()).unwrap_or_default();
    let name = |tool: &RawValue| serde_json::from_str::<Tool>(tool.get()).map(|tool| tool.name).ok();
    tools.into_iter().filter_map(name).collect()
}

/// What a task did, in a hash: the instruction, the calls, what they led to, the end. Not when, nor how long it took.
pub(super) fn fingerprint(trajectory: &Trajectory) -> [u8; 16] {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        // Each with its length, so that two texts are never read as two others.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    add(&trajectory.instruction);
    for turn in &trajectory.turns {
        add(turn.said.as_deref().unwrap_or_default());
        add(&turn.name);
        add(turn.arguments.as_str());
        let (head, tail) = super::chat::without_duration(turn.result.as_ref().map_or("", Json::as_str));
        add(head);
        add(tail);
    }
    add(trajectory.finish.as_ref().and_then(|finish| finish.summary.as_deref()).unwrap_or_default());
    half(hash)
}

/// Half of a hash: enough to tell a million of millions apart.
pub(super) fn half(hash: Sha256) -> [u8; 16] {
    let whole: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

/// A number that Arrow's JSON reader, by which Hugging Face's library loads data, cannot hold: it would refuse the whole file, or
/// make a null of it.
fn too_big(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let (mut at, mut in_string) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let number =
                    json[at..].split(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).next()?;
                let whole = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
                let real = number.contains(['.', 'e', 'E']) && number.parse::<f64>().is_ok_and(f64::is_finite);
                if !whole && !real {
                    return Some(number);
                }
                at += number.len();
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_readers_cannot_hold_are_found_outside_strings_alone() {
        for fine in [
            r#"{"a":[1,-2.5e3,18446744073709551615,-9223372036854775808]}"#,
            r#"{"a":"1e999 \" 99999999999999999999"}"#,
        ] {
            assert_eq!(too_big(fine), None, "{fine}");
        }
        assert_eq!(too_big(r#"{"a":"x","b":[0,18446744073709551616]}"#), Some("18446744073709551616"));
        assert_eq!(too_big(r#"{"a":1e400}"#), Some("1e400"));
        assert_eq!(too_big("[-9223372036854775809]"), Some("-9223372036854775809"));
    }
}
