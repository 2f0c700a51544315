//! What a server says when it does not answer: error bodies of all styles, and what kind of trouble they tell of.

use super::bounded::first;
use super::words;
use crate::brain::fields::{Fields, string};
use crate::brain::retry::may_pass;

/// The longest message that is passed on; servers have been seen to send the whole prompt back.
const LONGEST: usize = 500;

/// No more of them go into a message of that length.
const MOST_FAULTS: usize = 100;

/// A server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The HTTP status, or the one that stands in the body of a 200.
    pub(super) status: u16,
    /// In the server's words, all of them: whoever passes them on cuts them, and the key out before.
    pub(super) message: String,
    /// Its `code` and `type`, in lower case.
    pub(super) code: String,
}

/// How servers say that a conversation is too long for the model, in lower case.
const TOO_LONG: &[&str] = &[
    "context_length_exceeded",              // OpenAI and most
    "exceed_context_size",                  // llama.cpp
    "maximum context length",               // OpenAI, vLLM, DeepSeek, llama-cpp-python
    "maximum model length",                 // vLLM
    "exceed context window",                // llama-cpp-python
    "exceeds the available context size",   // llama.cpp
    "model's context length",               // SGLang
    "greater than the context length",      // LM Studio
    "context the overflows",                // LM Studio
    "context window",                       // many gateways
    "context limit",                        // gateways
    "prompt is too long",                   // Anthropic
    "input is too long",                    // Bedrock
    "input length and `max_tokens` exceed", // Anthropic
    "too large for model with",             // Mistral
    "exceeds the maximum number of tokens", // Gemini
    "reduce the length of the messages",    // OpenAI, Groq, Cerebras
    "`max_new_tokens` must be <=",          // TGI
    "`inputs` must have less than",         // TGI
    "request too large",                    // OpenAI's limit per minute, which no waiting helps against
];

/// Signs of an account that has run out: waiting does not help.
const NO_CREDIT: &[&str] = &["insufficient_quota", "billing_hard_limit", "exceeded your current quota"];

/// What to look at where something else than a model's server seems to answer.
pub(super) const WHERE: &str =
    "; is the model's id right, and does OPENAI_BASE_URL end as the server wants it, in most cases in /v1?";

/// Codes in the body of a 200 that tell of passing trouble.
const PASSING: &[&str] = &["rate_limit", "overloaded", "server_error", "timeout", "unavailable"];

impl Problem {
    /// Reads the body of a refusal.
    pub(super) fn read(status: u16, body: &str) -> Self {
        let fields = Fields::of(body);
        let found = fields.as_ref().and_then(|fields| Self::within(status, fields));
        found.unwrap_or_else(|| Self { status, message: body.trim().to_owned(), code: String::new() })
    }

    /// The error that an object tells of, if it does.
    pub(super) fn within(status: u16, fields: &Fields<'_>) -> Option<Self> {
        let inner = fields.object("error");
        let source = inner.as_ref().unwrap_or(fields);
        let message = match (fields.get("error").and_then(string), &inner) {
            (Some(text), _) => Some(text),
            (None, Some(inner)) => words_of(inner),
            (None, None) => words_of(fields),
        };
        let words = ["code", "type"].map(|name| source.string(name).unwrap_or_default().to_lowercase());
        let number = source.number("code").or_else(|| source.number("status"));
        let told = inner.is_some() || message.is_some();
        told.then(|| Self {
            status: number.filter(|_| status == 200).and_then(http_status).unwrap_or(status),
            message: message.unwrap_or_else(|| fields.get("error").unwrap_or_default().to_owned()),
            code: words.join(" "),
        })
    }

    /// Whether the conversation was too long.
    pub(super) fn is_context(&self) -> bool {
        self.status == 413 || TOO_LONG.iter().any(|words| self.says(words))
    }

    /// Whether the same question may be answered later.
    pub(super) fn is_passing(&self) -> bool {
        let code = self.status == 200 && PASSING.iter().any(|code| self.code.contains(code));
        (may_pass(self.status) || code) && !NO_CREDIT.iter().any(|words| self.says(words)) && !self.is_context()
    }

    /// Whether words stand in the message or the code, however they are spelt.
    pub(super) fn says(&self, words: &str) -> bool {
        self.code.contains(words) || self.message.to_lowercase().contains(words)
    }

    /// What to do about it, where that is known.
    pub(super) fn advice(&self) -> &'static str {
        match self.status {
            401 | 403 => "; is OPENAI_API_KEY right for OPENAI_BASE_URL?",
            300..=399 => "; redirects are not followed: OPENAI_BASE_URL must lead there itself",
            404 | 405 => WHERE,
            _ if NO_CREDIT.iter().any(|words| self.says(words)) => "; the account behind OPENAI_API_KEY has no credit",
            _ => "",
        }
    }
}

/// The words of an error object.
fn words_of(error: &Fields<'_>) -> Option<String> {
    ["message", "detail", "error", "msg"].iter().find_map(|name| {
        let raw = error.get(name)?;
        if let Some(text) = string(raw) {
            return Some(text).filter(|text| !text.is_empty());
        }
        // FastAPI: a list of what is wrong, each with its place.
        let faults = first(raw, MOST_FAULTS, fault)?;
        Some(faults.elements.join("; ")).filter(|text| !text.is_empty())
    })
}

fn fault(raw: &str) -> Option<String> {
    let fault = Fields::of(raw)?;
    let place: Vec<String> =
        fault.list("loc").into_iter().map(|part| string(part).unwrap_or_else(|| part.to_owned())).collect();
    Some(format!("{}: {}", place.join("."), words::content(fault.get("msg")).words))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the bounds of a status")]
fn http_status(number: f64) -> Option<u16> {
    (400.0..600.0).contains(&number).then_some(number as u16)
}

/// A message as it is passed on.
pub(super) fn brief(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_every_style() {
        for (body, message) in [
            (r#"{"error":{"message":"m","type":"t","code":null}}"#, "m"),
            (r#"{"error":"m"}"#, "m"),
            (r#"{"object":"error","message":"m","code":400}"#, "m"),
            (r#"{"detail":"m"}"#, "m"),
            (r#"{"detail":[{"loc":["body","tools",0],"msg":"m"}]}"#, "body.tools.0: m"),
            (r#"{"error":{"code":7}}"#, r#"{"code":7}"#),
            ("<html>m</html>\n", "<html>m</html>"),
            ("", ""),
            (r#"["x"]"#, r#"["x"]"#),
        ] {
            assert_eq!(Problem::read(400, body).message, message, "{body}");
        }
    }

    #[test]
    fn a_status_within_a_200_counts() {
        let problem = Problem::read(200, r#"{"error":{"message":"upstream","code":502}}"#);
        assert_eq!((problem.status, problem.is_passing()), (502, true));
        assert!(Problem::read(200, r#"{"error":{"message":"x","type":"overloaded_error"}}"#).is_passing());
        assert!(!Problem::read(200, r#"{"error":{"message":"x"}}"#).is_passing());
    }

    #[test]
    fn trouble_is_told_apart() {
        let passing = |status, body| Problem::read(status, body).is_passing();
        // By the status alone it is as for every other brain.
        assert!((201..1000).all(|status| passing(status, "slow down") == may_pass(status)));
        assert!(!passing(429, r#"{"error":{"message":"m","code":"insufficient_quota"}}"#));
        assert!(!passing(400, "") && !passing(401, ""));
        for body in [
            r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000"}"#,
            r#"{"detail":"The prompt is too long: 9000 tokens"}"#,
            r#"{"error":"Please reduce the length of the messages or completion."}"#,
            "Requested tokens (2057) exceed context window of 2048",
        ] {
            assert!(Problem::read(400, body).is_context(), "{body}");
            assert!(!passing(500, body), "{body}");
        }
        assert!(!Problem::read(400, "the context of this sentence").is_context());
    }
}
