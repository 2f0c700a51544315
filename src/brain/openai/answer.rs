//! A model's answer, read from whatever the server sends.

use super::arguments::{self, Malformed};
use super::bounded::{MOST_CALLS, first};
use super::problem::Problem;
use super::tags::Tagged;
use super::words::{self, Written};
use crate::brain::fields::Fields;
use crate::domain::Json;

/// What a model said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its words, without its thoughts.
    pub(super) content: String,
    /// The tools it calls; of very many, the first.
    pub(super) calls: Vec<Asked>,
    /// It does not want to, or is not let; in whose words there are.
    pub(super) refusal: Option<String>,
    /// Whether it was cut off, at the longest answer the server gives or that is read here.
    pub(super) cut: bool,
    /// What it cost, where the server says.
    pub(super) tokens: Option<Tokens>,
    /// Who answered, where the server says.
    pub(super) model: Option<String>,
}

/// A call as the model made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The server's id for it; some give none.
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) arguments: Result<Json, Malformed>,
    /// Whether all its values are text, whose types only the tool's schema knows.
    pub(super) untyped: bool,
}

/// What went in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    pub(super) cached: Option<u64>,
}

/// Why a body is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The server refuses, with the status of success.
    Refused(Problem),
    /// It is something else.
    Unreadable(&'static str),
}

impl Tokens {
    /// The sum of two answers.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        let cached = match (self.cached, other.cached) {
            (None, None) => None,
            (one, another) => Some(one.unwrap_or(0).saturating_add(another.unwrap_or(0))),
        };
        let (prompt, completion) =
            (self.prompt.saturating_add(other.prompt), self.completion.saturating_add(other.completion));
        Self { prompt, completion, cached }
    }
}

/// Reads the body of a 200.
pub(super) fn read(body: &str) -> Result<Answer, NoAnswer> {
    let fields = Fields::of(body).ok_or(NoAnswer::Unreadable("is no JSON object"))?;
    if fields.get("error").is_some() {
        let problem = Problem::within(200, &fields);
        return Err(problem.map_or(NoAnswer::Unreadable("has an error without words"), NoAnswer::Refused));
    }
    if fields.0.iter().all(|(name, _)| name != "choices") {
        let problem = Problem::within(200, &fields);
        return Err(problem.map_or(NoAnswer::Unreadable("has no \"choices\""), NoAnswer::Refused));
    }
    let choices = fields.get("choices").and_then(|raw| first(raw, 1, Some)).unwrap_or_default();
    let choice = choices.elements.first().and_then(|choice| Fields::of(choice)).unwrap_or_default();
    if let Some(problem) = choice.get("error").and_then(|_| Problem::within(200, &choice)) {
        return Err(NoAnswer::Refused(problem));
    }
    let said = choice.object("message").unwrap_or_default();
    let said_in = words::content(said.get("content"));
    let listed = said.get("tool_calls").and_then(|raw| first(raw, MOST_CALLS, called)).unwrap_or_default();
    let (mut calls, mut more) = (listed.elements, listed.more);
    let legacy = said.object("function_call").map(|legacy| function(None, &legacy));
    // An empty one is how some say that there is none.
    if calls.is_empty() {
        calls.extend(legacy.filter(|call| !call.name.is_empty()));
    }
    let mut content = words::without_thoughts(&said_in.words);
    if calls.is_empty() {
        let (rest, within) = words::calls_within(&content);
        content = rest;
        more = within.more;
        calls.extend(within.elements.into_iter().map(written));
    }
    if more {
        tracing::info!(most = MOST_CALLS, "the model's calls beyond are left out");
    }
    let reason = choice.string("finish_reason").unwrap_or_default().to_lowercase();
    let filtered = (reason == "content_filter").then(|| "the server's content filter stopped the answer".to_owned());
    let refusal = said.string("refusal").or(said_in.refusal).filter(|words| !words.trim().is_empty()).or(filtered);
    let is_at_limit = matches!(reason.as_str(), "length" | "max_tokens" | "model_length");
    // The last call is whole where others follow.
    let cut = (is_at_limit || said_in.is_cut) && !more;
    Ok(Answer { content, calls, refusal, cut, tokens: tokens(&fields), model: fields.string("model") })
}

/// An entry of `tool_calls`; its `type` and `index` say nothing that is needed.
fn called(raw: &str) -> Option<Asked> {
    let entry = Fields::of(raw)?;
    let id = entry.string("id").filter(|id| !id.is_empty());
    // Some leave the layer between out.
    let inner = entry.object("function").unwrap_or_else(|| entry.clone());
    Some(function(id, &inner))
}

fn function(id: Option<String>, function: &Fields<'_>) -> Asked {
    let raw = function.get("arguments").or_else(|| function.get("parameters"));
    Asked { id, name: function.string("name").unwrap_or_default(), arguments: arguments::read(raw), untyped: false }
}

/// A call that was written into the words.
fn written(call: Written) -> Asked {
    let text = match call {
        Written::Object(text) => text,
        Written::Tagged(Tagged { name, arguments }) => return Asked { id: None, name, arguments, untyped: true },
    };
    let escaped = arguments::with_escapes(&text);
    if let Some(fields) = Fields::of(&text).or_else(|| Fields::of(&escaped)) {
        return function(None, &fields);
    }
    // Not JSON: the name may still be read, so that the model can be told what is wrong with which call.
    let name = text.split("\"name\"").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or_default();
    Asked { id: None, name: name.to_owned(), arguments: arguments::read_text(&text), untyped: false }
}

fn tokens(fields: &Fields<'_>) -> Option<Tokens> {
    let usage = fields.object("usage")?;
    let (prompt, completion) = (usage.count("prompt_tokens"), usage.count("completion_tokens"));
    let details = usage.object("prompt_tokens_details");
    let cached = details.and_then(|details| details.count("cached_tokens"));
    let counted = prompt.is_some() || completion.is_some();
    counted.then(|| Tokens {
        prompt: prompt.unwrap_or(0),
        completion: completion.unwrap_or(0),
        // DeepSeek's own name for it.
        cached: cached.or_else(|| usage.count("prompt_cache_hit_tokens")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(message: &str) -> Answer {
        read(&format!(r#"{{"choices":[{{"message":{message},"finish_reason":"stop"}}]}}"#)).unwrap()
    }

    fn calls(answer: &Answer) -> Vec<(&str, String)> {
        let arguments =
            |call: &Asked| call.arguments.as_ref().map_or_else(|bad| format!("! {}", bad.text), Json::to_string);
        answer.calls.iter().map(|call| (call.name.as_str(), arguments(call))).collect()
    }

    #[test]
    fn words_are_read_in_every_form() {
        for (said, expected) in [
            (r#"{"role":"assistant","content":"hi"}"#, "hi"),
            (r#"{"content":"hi","tool_calls":null,"function_call":null,"refusal":null,"annotations":[]}"#, "hi"),
            (r#"{"content":[{"type":"text","text":"hi"}],"tool_calls":[]}"#, "hi"),
            (r#"{"content":"<think>\nx\n</think>\n\nhi","reasoning_content":"x"}"#, "hi"),
            (r#"{"content":null,"reasoning_content":"only thoughts"}"#, ""),
            (r#"{"content":"hi","function_call":{"name":"","arguments":""}}"#, "hi"),
            ("{}", ""),
            ("null", ""),
            ("[]", ""),
        ] {
            let answer = message(said);
            assert_eq!((answer.content.as_str(), answer.calls.len()), (expected, 0), "{said}");
        }
    }

    #[test]
    fn calls_are_read_in_every_form() {
        let ls = "{\"command\":\"ls\"}";
        for said in [
            r#"{"content":null,"tool_calls":[{"id":"x","type":"function","function":{"name":"run_command","arguments":"{\"command\":\"ls\"}"}}]}"#,
            r#"{"content":"","tool_calls":[{"index":0,"function":{"name":"run_command","arguments":{"command":"ls"}}}]}"#,
            r#"{"tool_calls":[{"id":"","function":{"name":"run_command","arguments":"\"{\\\"command\\\":\\\"ls\\\"}\""}}]}"#,
            r#"{"tool_calls":[{"name":"run_command","arguments":"{\"command\":\"ls\"}"}]}"#,
            r#"{"content":null,"function_call":{"name":"run_command","arguments":"{\"command\":\"ls\"}"}}"#,
            r#"{"content":"<tool_call>\n{\"name\": \"run_command\", \"arguments\": {\"command\": \"ls\"}}\n</tool_call>"}"#,
            r#"{"content":"I look.\n<tool_call>\n<function=run_command>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>"}"#,
            r#"{"content":"<think>x</think><tool_call>{\"name\":\"run_command\",\"arguments\":{\"command\":\"ls\"}}"}"#,
        ] {
            assert_eq!(calls(&message(said)), [("run_command", ls.to_owned())], "{said}");
        }
        let lines = message(r#"{"content":"<tool_call>{\"name\":\"x\",\"arguments\":{\"a\":\"1\n2\"}}</tool_call>"}"#);
        assert_eq!(calls(&lines), [("x", r#"{"a":"1\u000a2"}"#.to_owned())]);
        let bad = message(r#"{"content":"<tool_call>{\"name\":\"x\", \"arguments\": {oops}}</tool_call>"}"#);
        assert_eq!(calls(&bad)[0].0, "x");
        assert!(bad.calls[0].arguments.is_err());
        let odd = message(r#"{"tool_calls":[null,7,{"function":{"arguments":""}}]}"#);
        assert_eq!(calls(&odd), [("", "{}".to_owned())]);
    }

    #[test]
    fn of_very_many_calls_the_first_are_read_and_none_of_them_counts_as_cut_off() {
        let call = r#"{"function":{"name":"a","arguments":"{}"}}"#;
        let body = |count: usize| {
            let calls = vec![call; count].join(",");
            format!(r#"{{"choices":[{{"message":{{"tool_calls":[null,{calls}]}},"finish_reason":"length"}},{{}}]}}"#)
        };
        let answer = |count| read(&body(count)).unwrap();
        assert_eq!((answer(64).calls.len(), answer(64).cut), (64, true));
        assert_eq!((answer(70_000).calls.len(), answer(70_000).cut), (64, false));
        let parts = message(&format!(r#"{{"content":[{}"b"]}}"#, "\"a\",".repeat(250_000)));
        assert!(parts.cut && parts.content.len() == 10_000);
    }

    #[test]
    fn refusals_and_cuts_are_seen() {
        assert_eq!(message(r#"{"content":null,"refusal":"I cannot"}"#).refusal.unwrap(), "I cannot");
        let reason =
            |reason| read(&format!(r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":{reason}}}]}}"#));
        assert!(reason("\"content_filter\"").unwrap().refusal.unwrap().contains("filter"));
        assert!(reason("\"length\"").unwrap().cut && !reason("\"stop\"").unwrap().cut);
        for odd in ["null", "7", "\"eos_token\"", "\"tool_calls\"", "{}"] {
            let answer = reason(odd).unwrap();
            assert_eq!((answer.content.as_str(), answer.cut, answer.refusal), ("a", false, None), "{odd}");
        }
    }

    #[test]
    fn usage_is_read_in_every_form() {
        let tokens = |usage| read(&format!(r#"{{"choices":[],"usage":{usage}}}"#)).unwrap().tokens;
        assert_eq!(tokens("null"), None);
        assert_eq!(tokens("{}"), None);
        assert_eq!(tokens("[1]"), None);
        let exact = Tokens { prompt: 7, completion: 2, cached: None };
        assert_eq!(tokens(r#"{"prompt_tokens":7.0,"completion_tokens":2,"prompt_tokens_details":null}"#), Some(exact));
        let cached = r#"{"prompt_tokens":7,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":5}}"#;
        assert_eq!(tokens(cached), Some(Tokens { cached: Some(5), ..exact }));
        assert_eq!(tokens(r#"{"prompt_tokens":7,"completion_tokens":null}"#), Some(Tokens { completion: 0, ..exact }));
        assert_eq!(
            exact.and(Tokens { cached: Some(5), ..exact }),
            Tokens { prompt: 14, completion: 4, cached: Some(5) }
        );
    }

    #[test]
    fn a_200_that_is_no_answer_is_told_apart() {
        assert_eq!(read(r#"{"choices":[]}"#).unwrap(), Answer::default());
        assert_eq!(read(r#"{"choices":null}"#).unwrap(), Answer::default());
        let refused = |body| match read(body).unwrap_err() {
            NoAnswer::Refused(problem) => problem.message,
            NoAnswer::Unreadable(why) => panic!("{why}"),
        };
        assert_eq!(refused(r#"{"error":{"message":"m","code":502}}"#), "m");
        assert_eq!(refused(r#"{"error":"m","choices":[]}"#), "m");
        assert_eq!(refused(r#"{"choices":[{"error":{"message":"m"},"finish_reason":"error"}]}"#), "m");
        assert_eq!(refused(r#"{"detail":"m"}"#), "m");
        for body in ["<html>", "[]", "{}", "data: {\"choices\":[]}"] {
            assert!(matches!(read(body), Err(NoAnswer::Unreadable(_))), "{body}");
        }
    }
}
