//! The body of a request, with as many of the optional fields as the server takes.

use std::sync::Arc;

use serde::Serialize;

use super::message::Message;
use super::problem::Problem;
use super::toolset::Toolset;
use crate::domain::Json;

/// What is to be asked. It owns what it has, so that a long one can be written out on another thread.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) model: String,
    pub(super) messages: Arc<[Message]>,
    /// For the main model.
    pub(super) tools: Option<Arc<Toolset>>,
    /// For the critic: the schema of its answer.
    pub(super) schema: Option<Json>,
    pub(super) temperature: Option<f64>,
    pub(super) seed: Option<i64>,
}

/// Optional fields, as bits: those that a server does not take are given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features(pub(super) u8);

/// Each with the words by which servers speak of it, in lower case.
const FEATURES: &[(Features, &[&str])] = &[
    (STRICT, &["strict", "invalid schema for function"]),
    (SCHEMA, &["response_format", "json_schema", "structured output", "guided"]),
    (TEMPERATURE, &["temperature"]),
    (SEED, &["seed"]),
    (CHOICE, &["tool_choice", "tool choice"]),
];

const STRICT: Features = Features(1);
const SCHEMA: Features = Features(2);
const TEMPERATURE: Features = Features(4);
const SEED: Features = Features(8);
const CHOICE: Features = Features(16);

/// The role `system`, which some models' templates do not know. It is no field that can be left out, so it is given up only
/// where the server names it.
const SYSTEM: Features = Features(32);

const SYSTEM_WORDS: &[&str] = &["system role", "role system", "role 'system'", "role: system", "system message"];

impl Features {
    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Their names, for the log.
    pub(super) fn names(self) -> String {
        let names = FEATURES.iter().filter(|(feature, _)| self.has(*feature)).map(|(_, words)| words[0]);
        let system = self.has(SYSTEM).then_some(SYSTEM_WORDS[0]);
        names.chain(system).collect::<Vec<_>>().join(", ")
    }
}

impl Draft {
    /// How many bytes of messages there are.
    pub(super) fn bytes(&self) -> usize {
        self.messages.iter().map(Message::bytes).sum()
    }

    /// The body, without the features that were given up.
    pub(super) fn body(&self, without: Features) -> Json {
        #[derive(Serialize)]
        struct Body<'a> {
            model: &'a str,
            messages: &'a [Message],
            #[serde(skip_serializing_if = "Option::is_none")]
            tools: Option<&'a Json>,
            #[serde(skip_serializing_if = "Option::is_none")]
            tool_choice: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            response_format: Option<Format<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            temperature: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            seed: Option<i64>,
            stream: bool,
        }
        #[derive(Serialize)]
        struct Format<'a> {
            r#type: &'static str,
            json_schema: Named<'a>,
        }
        #[derive(Serialize)]
        struct Named<'a> {
            name: &'static str,
            strict: bool,
            schema: &'a Json,
        }
        let merged;
        let messages = if without.has(SYSTEM) {
            merged = without_system(&self.messages);
            &merged[..]
        } else {
            &self.messages[..]
        };
        let format =
            |schema| Format { r#type: "json_schema", json_schema: Named { name: "verdict", strict: true, schema } };
        Json::of(&Body {
            model: &self.model,
            messages,
            tools: self.tools.as_ref().map(|tools| tools.described(!without.has(STRICT))),
            tool_choice: self.tools.as_ref().filter(|_| !without.has(CHOICE)).map(|_| "auto"),
            response_format: self.schema.as_ref().filter(|_| !without.has(SCHEMA)).map(format),
            temperature: self.temperature.filter(|_| !without.has(TEMPERATURE)),
            seed: self.seed.filter(|_| !without.has(SEED)),
            stream: false,
        })
    }

    /// What a complaint names, of that which is used.
    pub(super) fn named(&self, problem: &Problem, without: Features) -> Option<Features> {
        let left = self.left(without);
        let says = |words: &[&str]| words.iter().any(|words| problem.says(words));
        let field = FEATURES.iter().find(|(feature, words)| left.has(*feature) && says(words));
        let system = (!without.has(SYSTEM) && says(SYSTEM_WORDS)).then_some(SYSTEM);
        field.map(|(feature, _)| *feature).or(system)
    }

    /// The optional fields that are used and not given up.
    pub(super) fn left(&self, without: Features) -> Features {
        let used = [
            (self.tools.is_some(), STRICT.and(CHOICE)),
            (self.schema.is_some(), SCHEMA),
            (self.temperature.is_some(), TEMPERATURE),
            (self.seed.is_some(), SEED),
        ];
        let used = used.iter().filter(|(used, _)| *used).fold(Features::default(), |all, (_, one)| all.and(*one));
        Features(used.0 & !without.0)
    }
}

/// What the system was to say stands before the first words of the user.
fn without_system(messages: &[Message]) -> Vec<Message> {
    let mut said = String::new();
    let mut merged = Vec::new();
    for message in messages {
        match message {
            Message::System(text) => said = format!("{said}{text}\n\n"),
            Message::User(text) => merged.push(Message::User(std::mem::take(&mut said) + text)),
            other => merged.push(other.clone()),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(message: &str) -> Problem {
        Problem::read(400, message)
    }

    #[test]
    fn what_a_server_names_is_told_from_what_is_left() {
        let tools = Toolset::new(&Json::parse("[]").unwrap());
        let messages = [Message::System("be".into()), Message::User("do".into())];
        let draft = Draft {
            model: "m".into(),
            messages: messages.into(),
            tools: Some(Arc::new(tools)),
            schema: None,
            temperature: Some(0.5),
            seed: None,
        };
        let none = Features::default();
        let named = |message, without| draft.named(&complaint(message), without);
        assert_eq!(named("unknown field `strict`", none), Some(STRICT));
        assert_eq!(named("unknown field `strict`", STRICT), None);
        assert_eq!(named("Unsupported value: 'temperature'", none), Some(TEMPERATURE));
        // What is not in the request is not at fault.
        assert_eq!(named("seed", none), None);
        assert_eq!(named("System role not supported", none), Some(SYSTEM));
        assert_eq!(draft.left(none), STRICT.and(TEMPERATURE).and(CHOICE));
        assert_eq!(draft.left(STRICT.and(TEMPERATURE).and(CHOICE)), none);
        assert_eq!(STRICT.and(SYSTEM).names(), "strict, system role");
    }

    #[test]
    fn a_body_has_only_what_is_wanted() {
        let messages = [Message::System("be".into()), Message::User("do".into())];
        let schema = Json::parse("{}").unwrap();
        let draft = Draft {
            model: "m".into(),
            messages: messages.into(),
            tools: None,
            schema: Some(schema),
            temperature: None,
            seed: Some(-1),
        };
        assert_eq!(
            draft.body(Features::default()).as_str(),
            r#"{"model":"m","messages":[{"role":"system","content":"be"},{"role":"user","content":"do"}],"response_format":{"type":"json_schema","json_schema":{"name":"verdict","strict":true,"schema":{}}},"seed":-1,"stream":false}"#
        );
        assert_eq!(
            draft.body(SYSTEM.and(SEED).and(SCHEMA)).as_str(),
            r#"{"model":"m","messages":[{"role":"user","content":"be\n\ndo"}],"stream":false}"#
        );
    }
}
