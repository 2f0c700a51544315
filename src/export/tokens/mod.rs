//! How many tokens a row has, by `o200k_base`.
//!
//! That is the vocabulary of OpenAI's models since GPT-4o. Others cut text otherwise: for them the counts are approximate,
//! by some 10 to 20 percent for English text and code. What a chat template adds around the messages is not counted.

mod vocabulary;

use tiktoken_rs::CoreBPE;

use super::ExportError;
use super::chat::Message;

/// Counts tokens. One is made for each export, and gone with it: the vocabulary takes a tenth of a second and some 40 MB, which a
/// service that is at rest should not keep.
pub(super) struct Tokens {
    /// None where nobody wants to know.
    vocabulary: Option<CoreBPE>,
}

impl Tokens {
    pub(super) fn load() -> Result<Self, ExportError> {
        Ok(Self { vocabulary: Some(vocabulary::load()?) })
    }

    /// Counts nothing: most of the work of an export is to count.
    pub(super) fn uncounted() -> Self {
        Self { vocabulary: None }
    }

    /// Of a text for itself. What looks like a special token is text.
    pub(super) fn of(&self, text: &str) -> u64 {
        let Some(vocabulary) = &self.vocabulary else { return 0 };
        if text.len() <= LONGEST_RUN {
            return vocabulary.count_ordinary(text) as u64;
        }
        bearable(text).map(|piece| vocabulary.count_ordinary(piece) as u64).sum()
    }

    /// Of what a message says: its content, and of a call the name and the arguments as JSON.
    pub(super) fn of_message(&self, message: &Message) -> u64 {
        match message {
            Message::System(text) | Message::User(text) | Message::Answer(text) => self.of(text),
            Message::Result { content, .. } => self.of(content),
            Message::Call(call) => {
                let said = call.said.as_deref().map_or(0, |said| self.of(said));
                said + self.of(&call.name) + self.of(call.arguments.as_str())
            }
        }
    }
}

/// The longest run of spaces, of letters, of digits or of anything else that is cut into tokens as one, in bytes. The crate's
/// regular expression runs out of stack over some hundred thousand spaces, and a word of a megabyte takes it a second.
const LONGEST_RUN: usize = 64 * 1024;

/// The text in pieces that have no longer run. There are more than one only if it has: then the count may be off by a token for
/// each cut.
fn bearable(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (mut kind, mut run) = (None, 0);
        let cut = rest.char_indices().find_map(|(at, char)| {
            let next = (char.is_whitespace(), char.is_alphabetic(), char.is_numeric());
            run = if kind == Some(next) { run + char.len_utf8() } else { char.len_utf8() };
            kind = Some(next);
            (run > LONGEST_RUN).then_some(at)
        });
        let (piece, left) = rest.split_at(cut.unwrap_or(rest.len()));
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_be_counted() {
        let tokens = Tokens::load().unwrap();
        assert_eq!((tokens.of(""), tokens.of("hello world"), tokens.of("<|endoftext|>")), (0, 2, 7));
        for run in [" ", "\t", "a", "é", "^"] {
            let text = format!("x{}y", run.repeat(400_000 / run.len()));
            let pieces: Vec<&str> = bearable(&text).collect();
            assert!(pieces.len() > 5 && pieces.concat() == text, "{run:?}");
            assert!(tokens.of(&text) > 1000, "{run:?}");
        }
    }

    #[test]
    fn text_with_no_endless_run_is_one_piece() {
        let text = "fn main() { println!(\"hello\"); }\n".repeat(10_000);
        assert_eq!(bearable(&text).count(), 1);
    }
}
