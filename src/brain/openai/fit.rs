//! How a conversation is made to fit the model's context: old results are shortened first, and it is said so.

use super::message::{Message, shortened};
use super::record::Context;

/// What a token is worth before a server has counted any: code and JSON come to three to four bytes.
const BYTES_PER_TOKEN: f64 = 3.5;

/// Counts outside these are no counts: a server that left out what it had cached, for instance.
const BELIEVED: std::ops::RangeInclusive<f64> = 1.0..=12.0;

/// Room for the answer: as much as a long edit takes, and of a small context no more than a quarter.
const ANSWER: u64 = 4096;

/// What stands around a message: its role, its marks.
const AROUND: usize = 16;

/// A shortened result keeps so many characters; where that is not enough, so many.
const KEPT: [usize; 2] = [1000, 200];

/// The last results are what the model is at work with: they stay whole as long as possible.
const RECENT: usize = 2;

/// A prompt that was refused is cut to this part of its size, in percent.
const AFTER_REFUSAL: u64 = 60;

const WHY: &str = "to fit the model's context";

/// Bytes per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate(f64);

/// A conversation that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    pub(super) messages: Vec<Message>,
    /// How many results were shortened.
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
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as above"
    )]
    fn tokens(self, bytes: usize) -> u64 {
        (bytes as f64 / self.0).ceil() as u64
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as above"
    )]
    fn bytes(self, tokens: u64) -> usize {
        (tokens as f64 * self.0) as usize
    }
}

/// How many tokens a prompt may have in a context of so many.
pub(super) fn prompt_budget(context_tokens: u32) -> u64 {
    let context = u64::from(context_tokens);
    context - ANSWER.min(context / 4)
}

/// How many a prompt may have after one of `bytes` was refused.
pub(super) fn budget_after_refusal(bytes: usize, rate: Rate) -> u64 {
    rate.tokens(bytes).saturating_mul(AFTER_REFUSAL) / 100
}

/// The conversation, shortened until it is within `budget`, as far as that can be.
pub(super) fn fit(messages: &[Message], around: usize, budget: Option<u64>, rate: Rate) -> Fitted {
    let whole = around + messages.iter().map(|message| message.bytes() + AROUND).sum::<usize>();
    let mut fitted = Fitted { messages: messages.to_vec(), shortened: 0, bytes: whole };
    let Some(room) = budget.map(|tokens| rate.bytes(tokens)) else { return fitted };
    let is_result = |at: &usize| matches!(messages[*at], Message::Tool { .. });
    let results: Vec<usize> = (0..messages.len()).filter(is_result).collect();
    let (old, recent) = results.split_at(results.len().saturating_sub(RECENT));
    let mut cut = vec![false; messages.len()];
    for (group, keep) in [(old, KEPT[0]), (old, KEPT[1]), (recent, KEPT[0]), (recent, KEPT[1])] {
        for at in group {
            if fitted.bytes <= room {
                break;
            }
            let (Message::Tool { content, .. }, Message::Tool { content: now, .. }) =
                (&messages[*at], &mut fitted.messages[*at])
            else {
                continue;
            };
            let short = shortened(content, keep, WHY);
            if short.len() < now.len() {
                fitted.bytes -= now.len() - short.len();
                *now = short;
                cut[*at] = true;
            }
        }
    }
    fitted.shortened = cut.into_iter().filter(|cut| *cut).count();
    fitted
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
        let fitted = |tokens| fit(&messages, 0, Some(tokens), Rate(1.0));
        assert_eq!(fit(&messages, 0, None, Rate(1.0)).shortened, 0);
        assert_eq!(lengths(&fitted(26_000)), [50, 50, 50, 50, 50]);
        assert_eq!(lengths(&fitted(22_000)), [10, 50, 50, 50, 50]);
        assert_eq!(lengths(&fitted(14_000)), [10, 10, 10, 50, 50]);
        assert_eq!(lengths(&fitted(11_200)), [2, 2, 2, 50, 50]);
        assert_eq!(lengths(&fitted(8_000)), [2, 2, 2, 10, 50]);
        let least = fitted(10);
        assert_eq!((lengths(&least), least.shortened), (vec![2, 2, 2, 2, 2], 5));
        assert!(least.messages[1].told().contains("[… 4800 characters left out to fit the model's context …]"));
        assert_eq!(fitted(14_000).bytes, fit(&fitted(14_000).messages, 0, None, Rate(1.0)).bytes);
    }

    #[test]
    fn a_token_is_worth_what_the_server_counted() {
        let context = |prompt_bytes, prompt_tokens| Context { prompt_bytes, prompt_tokens, ..Context::default() };
        assert_eq!(Rate::of(context(4000, Some(1000))), Some(Rate(4.0)));
        assert_eq!(Rate::of(context(4000, Some(3))), None);
        assert_eq!(Rate::of(context(4000, Some(0))), None);
        assert_eq!(Rate::of(context(4000, None)), None);
        assert_eq!((prompt_budget(128_000), prompt_budget(2048)), (123_904, 1536));
        assert_eq!(budget_after_refusal(3500, Rate::default()), 600);
    }
}
