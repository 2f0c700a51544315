//! An answer's text on its way to being a reply, or a part of an error: the same for all transports.

use std::borrow::Cow;

use super::retry::TryError;
use super::{AskSettings, excerpt};
use crate::domain::Json;

/// A key that is shorter is no secret, and could be a word of any reply.
const SECRET: usize = 8;

/// What stands in a key's place.
const HIDDEN: &str = "[OPENAI_API_KEY]";

impl AskSettings {
    /// The reply in `text`, if it is one.
    pub(super) fn reply(&self, text: &str) -> Result<Json, TryError> {
        if text.len() > self.max_reply_bytes {
            return Err(self.too_long(text));
        }
        let none = |error| TryError::protocol(format!("the brain's reply is {error}: {}", self.excerpt(text)));
        Json::parse(&self.hidden(text)).map_err(none)
    }

    /// Of a reply that is over the limit, this is the beginning.
    pub(super) fn too_long(&self, start: &str) -> TryError {
        let limit = self.max_reply_bytes;
        TryError::protocol(format!("the brain's reply is over {limit} bytes: {}", self.excerpt(start)))
    }

    /// The beginning of an answer, for a message.
    pub(super) fn excerpt(&self, text: &str) -> String {
        excerpt(&self.hidden(text))
    }

    /// Without the key: a brain that sends back what it was sent, as one for trying things out does, would put it on
    /// record.
    fn hidden<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let key = self.key.as_ref().and_then(|key| key.to_str().ok()).map(|key| key.trim_start_matches("Bearer "));
        match key.filter(|key| key.len() >= SECRET && text.contains(key)) {
            Some(key) => text.replace(key, HIDDEN).into(),
            None => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;

    use super::*;

    fn settings(key: &'static str) -> AskSettings {
        let key = Some(HeaderValue::from_static(key));
        AskSettings { key, timeout: Duration::from_secs(1), retries: 0, max_reply_bytes: 400 }
    }

    #[test]
    fn a_key_that_comes_back_is_in_no_reply_and_no_message() {
        let asked = settings("Bearer sk-0123456789");
        let echo = r#"{"event":"finish","headers":"Bearer sk-0123456789"}"#;
        let reply = asked.reply(echo).unwrap();
        assert_eq!(reply.as_str(), r#"{"event":"finish","headers":"Bearer [OPENAI_API_KEY]"}"#);
        // Also where the message ends within it.
        let cut = format!("{}sk-0123456789", "x".repeat(195));
        assert_eq!(asked.excerpt(&cut), format!("{}[OPEN", "x".repeat(195)));
        let TryError::Final(error) = asked.reply(&format!("{cut}{cut}")).unwrap_err() else { panic!() };
        assert!(!error.to_string().contains("sk-"), "{error}");
        assert_eq!(settings("Bearer k").reply(r#"{"k":"k"}"#).unwrap().as_str(), r#"{"k":"k"}"#);
    }
}
