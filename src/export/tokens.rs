//! How many tokens a row has, by `o200k_base`.
//!
//! That is the vocabulary of OpenAI's models since GPT-4o. Others cut text otherwise: for them the counts are approximate,
//! by some 10 to 20 percent for English text and code. What a chat template adds around the messages is not counted.

use tiktoken_rs::CoreBPE;

use super::ExportError;
use super::chat::Message;

/// Counts tokens. One is made for each export, and gone with it: the vocabulary takes a tenth of a second and some 40 MB, which a
/// service that is at rest should not keep.
pub(super) struct Tokens {
    vocabulary: CoreBPE,
}

impl Tokens {
    pub(super) fn load() -> Result<Self, ExportError> {
        let vocabulary = tiktoken_rs::o200k_base().map_err(|error| ExportError::Tokens(error.to_string()))?;
        Ok(Self { vocabulary })
    }

    /// Of a text for itself. What looks like a special token is text.
    pub(super) fn of(&self, text: &str) -> u64 {
        self.vocabulary.count_ordinary(text) as u64
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
