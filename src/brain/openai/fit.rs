//! How a conversation is made to fit the model's context: old results are shortened first, then what old edits wrote, and
//! at the very end the last results. It is said so where something is missing.

use super::message::{Called, Message, shortened};
use super::record::Context;
use crate::brain::fields::{Fields, object, quoted, string};

/// What a token is worth before a server has counted any: code and JSON come to three to four bytes.
const BYTES_PER_TOKEN: f64 = 3.5;

/// Counts outside these are no counts: a server that left out what it had cached, for instance.
const BELIEVED: std::ops::RangeInclusive<f64> = 1.0..=12.0;

/// Room for the answer: as much as a long edit takes, and of a small context no more than a quarter.
const ANSWER: u32 = 4096;

/// What stands around a message: its role, its marks.
const AROUND: usize = 16;

/// A shortened result keeps so many characters; where that is not enough, so many.
const KEPT: [usize; 2] = [1000, 200];

/// The last results are what the model is at work with: they stay whole as long as possible.
const RECENT: usize = 2;

/// A prompt that was refused is cut to this part of its size, in percent.
const AFTER_REFUSAL: usize = 60;

const WHY: &str = "to fit the model's context";

/// Bytes per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate(f64);

/// A conversation that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    pub(super) messages: Vec<Message>,
    /// How many messages were shortened.
    pub(super) shortened: usize,
    /// Its size, with the tools' descriptions.
    pub(super) bytes: usize,
}

impl Default for Rate {
    fn default() -> Self {
        Self(BYTES_PER_TOKEN)
    }
}

impl Rate {
    /// From a prompt that a server has counted.
    #[expect(clippy::cast_precision_loss, reason = "sizes of prompts are far below 2^52")]
    pub(super) fn of(context: Context) -> Option<Self> {
        let rate = context.prompt_bytes as f64 / context.prompt_tokens? as f64;
        BELIEVED.contains(&rate).then_some(Self(rate))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative; too much is no harm"
    )]
    fn bytes(self, tokens: u32) -> usize {
        (f64::from(tokens) * self.0) as usize
    }
}

/// How many bytes a prompt may have in a context of so many tokens.
pub(super) fn room_in(context_tokens: u32, rate: Rate) -> usize {
    rate.bytes(context_tokens - ANSWER.min(context_tokens / 4))
}

/// How many bytes a prompt may have after one of `bytes` was refused.
pub(super) fn room_after_refusal(bytes: usize) -> usize {
    bytes / 100 * AFTER_REFUSAL
}

/// The conversation, shortened until it has no more than `room` bytes, as far as that can be.
pub(super) fn fit(messages: &[Message], around: usize, room: Option<usize>) -> Fitted {
    let whole = around + messages.iter().map(|message| message.bytes() + AROUND).sum::<usize>();
    let mut fitted = Fitted { messages: messages.to_vec(), shortened: 0, bytes: whole };
    let Some(room) = room else { return fitted };
    let places =
        |is_one: fn(&Message) -> bool| (0..messages.len()).filter(|at| is_one(&messages[*at])).collect::<Vec<_>>();
    let results = places(|message| matches!(message, Message::Tool { .. }));
    let calls = places(|message| matches!(message, Message::Assistant { .. }));
    let (old, recent) = results.split_at(results.len().saturating_sub(RECENT));
    let old_calls = &calls[..calls.len().saturating_sub(1)];
    for (group, keep) in [old, old_calls, recent].iter().flat_map(|group| KEPT.map(|keep| (group, keep))) {
        for at in *group {
            if fitted.bytes <= room {
                break;
            }
            let short = shorter(&messages[*at], keep);
            let now = &mut fitted.messages[*at];
            if short.bytes() < now.bytes() {
                fitted.bytes -= now.bytes() - short.bytes();
                *now = short;
            }
        }
    }
    fitted.shortened = messages.iter().zip(&fitted.messages).filter(|(whole, sent)| whole != sent).count();
    fitted
}

/// A message with so many characters of each long text in it: a result, the model's words, or what an edit was to write.
fn shorter(message: &Message, keep: usize) -> Message {
    match message {
        Message::Tool { id, content } => Message::Tool { id: id.clone(), content: shortened(content, keep, WHY) },
        Message::Assistant { content, calls } => {
            let call = |call: &Called| Called { arguments: shorter_arguments(&call.arguments, keep), ..call.clone() };
            let content = shortened(content, keep, WHY);
            Message::Assistant { content, calls: calls.iter().map(call).collect() }
        }
        other => other.clone(),
    }
}

/// Arguments stay an object: the strings in it are shortened.
fn shorter_arguments(arguments: &str, keep: usize) -> String {
    let fields = Fields::of(arguments).unwrap_or_default();
    let shorter = |raw: &str| string(raw).map_or_else(|| raw.to_owned(), |text| quoted(&shortened(&text, keep, WHY)));
    let members: Vec<(&str, String)> = fields.0.iter().map(|(name, raw)| (name.as_str(), shorter(raw.get()))).collect();
    object(members.iter().map(|(name, value)| (*name, value.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(results: usize) -> Vec<Message> {
        let result = |n| Message::Tool { id: format!("c{n}"), content: "x".repeat(5000) };
        std::iter::once(Message::User("do".into())).chain((0..results).map(result)).collect()
    }

    fn lengths(fitted: &Fitted) -> Vec<usize> {
        fitted.messages.iter().skip(1).map(|message| message.bytes() / 100).collect()
    }

    #[test]
    fn the_oldest_results_are_shortened_first_and_the_last_two_at_the_very_end() {
        let messages = conversation(5);
        let fitted = |room| fit(&messages, 0, Some(room));
        assert_eq!(fit(&messages, 0, None).shortened, 0);
        assert_eq!(lengths(&fitted(26_000)), [50, 50, 50, 50, 50]);
        assert_eq!(lengths(&fitted(22_000)), [10, 50, 50, 50, 50]);
        assert_eq!(lengths(&fitted(14_000)), [10, 10, 10, 50, 50]);
        assert_eq!(lengths(&fitted(11_200)), [2, 2, 2, 50, 50]);
        assert_eq!(lengths(&fitted(8_000)), [2, 2, 2, 10, 50]);
        let least = fitted(10);
        assert_eq!((lengths(&least), least.shortened), (vec![2, 2, 2, 2, 2], 5));
        assert!(least.messages[1].told().contains("[… 4800 characters left out to fit the model's context …]"));
        assert_eq!(fitted(14_000).bytes, fit(&fitted(14_000).messages, 0, None).bytes);
    }

    #[test]
    fn what_old_edits_wrote_is_shortened_behind_old_results() {
        let arguments = format!(r#"{{"n":1.0,"new_content":"{}"}}"#, "x".repeat(5000));
        let call = Called { id: "c".into(), name: "edit_file".into(), arguments };
        let edit = Message::Assistant { content: String::new(), calls: vec![call] };
        let messages = [vec![edit.clone()], conversation(3), vec![edit]].concat();
        let fitted = fit(&messages, 0, Some(17_000));
        let sizes: Vec<usize> = fitted.messages.iter().map(|message| message.bytes() / 100).collect();
        assert_eq!((sizes, fitted.shortened), (vec![11, 0, 2, 50, 50, 50], 2));
        let Message::Assistant { calls, .. } = &fitted.messages[0] else { panic!("{fitted:?}") };
        assert!(
            Fields::of(&calls[0].arguments)
                .unwrap()
                .string("new_content")
                .unwrap()
                .contains("4000 characters left out")
        );
        assert!(calls[0].arguments.starts_with(r#"{"n":1.0,"#));
    }

    #[test]
    fn long_words_beside_a_call_are_shortened_too() {
        let call = Called { id: "c".into(), name: "edit_file".into(), arguments: "{}".into() };
        let wordy = Message::Assistant { content: "x".repeat(100_000), calls: vec![call] };
        let messages = [vec![wordy], conversation(2), vec![Message::Assistant { content: "y".into(), calls: vec![] }]];
        let fitted = fit(&messages.concat(), 0, Some(12_000));
        assert!(fitted.bytes < 12_000, "{}", fitted.bytes);
        assert_eq!(fitted.shortened, 1);
    }

    #[test]
    fn a_token_is_worth_what_the_server_counted() {
        let context = |prompt_bytes, prompt_tokens| Context { prompt_bytes, prompt_tokens, ..Context::default() };
        assert_eq!(Rate::of(context(4000, Some(1000))), Some(Rate(4.0)));
        assert_eq!(Rate::of(context(4000, Some(3))), None);
        assert_eq!(Rate::of(context(4000, Some(0))), None);
        assert_eq!(Rate::of(context(4000, None)), None);
        assert_eq!((room_in(128_000, Rate(1.0)), room_in(2048, Rate(2.0))), (123_904, 3072));
        assert_eq!(room_after_refusal(3500), 2100);
    }
}
