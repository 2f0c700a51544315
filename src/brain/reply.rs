//! An answer's text on its way to being a reply, or a part of an error: the same for all transports.

use super::retry::TryError;
use super::{AskSettings, excerpt, secret};
use crate::domain::Json;

impl AskSettings {
    /// The reply in `text`, if it is one.
    pub(super) fn reply(&self, text: &str) -> Result<Json, TryError> {
        if text.len() > self.max_reply_bytes {
            return Err(self.too_long(text));
        }
        let none = |error| TryError::protocol(format!("the brain's reply is {error}: {}", self.excerpt(text)));
        Json::parse(&secret::hidden(text, self.key.as_ref())).map_err(none)
    }

    /// Of a reply that is over the limit, this is the beginning.
    pub(super) fn too_long(&self, start: &str) -> TryError {
        let limit = self.max_reply_bytes;
        TryError::protocol(format!("the brain's reply is over {limit} bytes: {}", self.excerpt(start)))
    }

    /// What an answer that is an error says, for a message: the `detail` of a problem (RFC 9457), or the beginning of whatever
    /// it is.
    pub(super) fn said(&self, text: &str) -> String {
        #[derive(serde::Deserialize)]
        struct Problem {
            detail: String,
        }
        let detail = serde_json::from_str(text).ok().map(|problem: Problem| problem.detail);
        self.excerpt(detail.as_deref().unwrap_or(text).trim_end())
    }

    /// The beginning of an answer, for a message.
    pub(super) fn excerpt(&self, text: &str) -> String {
        excerpt(&secret::untold(text, self.key.as_ref()))
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
        let asked = settings("Bearer sk-0123456789abcdefgh");
        let echo = r#"{"event":"finish","headers":"Bearer sk-0123456789abcdefgh"}"#;
        let reply = asked.reply(echo).unwrap();
        assert_eq!(reply.as_str(), r#"{"event":"finish","headers":"Bearer [OPENAI_API_KEY]"}"#);
        // Also where the message ends within it.
        let cut = format!("{}sk-0123456789abcdefgh", "x".repeat(195));
        assert_eq!(asked.excerpt(&cut), format!("{}[OPEN", "x".repeat(195)));
        let TryError::Final(error) = asked.reply(&format!("{cut}{cut}")).unwrap_err() else { panic!() };
        assert!(!error.to_string().contains("sk-"), "{error}");
        // A placeholder may stand in a file.
        let dummy = r#"{"api_key":"not-needed"}"#;
        assert_eq!(settings("Bearer not-needed").reply(dummy).unwrap().as_str(), dummy);
        assert_eq!(settings("Bearer not-needed").excerpt("not-needed"), "[OPENAI_API_KEY]");
        assert_eq!(settings("Bearer k").reply(r#"{"k":"k"}"#).unwrap().as_str(), r#"{"k":"k"}"#);
    }
}
