//! What goes over a WebSocket, in both directions: one JSON object in each text frame.
//!
//! ```text
//!  question  {"task_id","iteration","payload"}             and "history" after a resync, "traceparent"
//!  answer    {"task_id","iteration","reply":{"event",…}}   or "error":{"status","message","retry_after"} in place of "reply"
//! ```
//!
//! The two numbers say what an answer belongs to, so answers come in any order. An error's status is HTTP's.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::address::traceparent;
use super::{StepRequest, excerpt};
use crate::domain::{Json, TaskId};

/// What an answer belongs to.
pub(super) type Key = (TaskId, u32);

/// An answer as it came in.
#[derive(Debug, PartialEq)]
pub(super) enum Answer<'a> {
    /// The reply's text.
    Reply(&'a str),
    /// There is none.
    Error { status: u16, message: String, retry_after: Option<f64> },
}

/// One question. It is copied once, it may be long.
pub(super) fn question(request: &StepRequest) -> String {
    let (id, iteration, payload) = (&request.task_id, request.iteration, request.payload.as_str());
    let trace = traceparent(id, iteration);
    let history = request.history.as_ref().map(|history| format!(r#","history":{}"#, Json::of(history)));
    let history = history.unwrap_or_default();
    // No character of an id needs an escape.
    format!(r#"{{"task_id":"{id}","iteration":{iteration},"payload":{payload}{history},"traceparent":"{trace}"}}"#)
}

/// Reads an answer; the error is for a person.
pub(super) fn answer(text: &str) -> Result<(Key, Answer<'_>), String> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        task_id: String,
        iteration: u32,
        #[serde(borrow)]
        reply: Option<&'a RawValue>,
        error: Option<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        status: u16,
        #[serde(default)]
        message: String,
        retry_after: Option<f64>,
    }
    let none = |why: String| format!("the brain sent a frame that is no answer ({why}): {}", excerpt(text));
    let frame: Frame<'_> =
        serde_json::from_str(text).map_err(|error| none(format!("it needs task_id, iteration and reply: {error}")))?;
    let id: TaskId = frame.task_id.parse().map_err(|error| none(format!("task_id {error}")))?;
    let answer = match (frame.reply, frame.error) {
        (Some(reply), None) => Answer::Reply(reply.get()),
        (None, Some(Error { status, message, retry_after })) => Answer::Error { status, message, retry_after },
        _ => return Err(none("it needs one of reply and error".to_owned())),
    };
    Ok(((id, frame.iteration), answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Exchange;

    fn key(id: &str, iteration: u32) -> Key {
        (id.parse().unwrap(), iteration)
    }

    #[test]
    fn a_question_bears_the_payload_as_it_is() {
        let json = |text| Json::parse(text).unwrap();
        let payload = json(r#"{"event":"x","n":1180591620717411303424,"f":1e-7}"#);
        let mut request =
            StepRequest { task_id: "t".parse().unwrap(), iteration: 7, payload, task: json("{}"), history: None };
        let trace = traceparent(&request.task_id, 7);
        let begin = r#"{"task_id":"t","iteration":7,"payload":{"event":"x","n":1180591620717411303424,"f":1e-7}"#;
        assert_eq!(question(&request), format!(r#"{begin},"traceparent":"{trace}"}}"#));
        request.history = Some(vec![Exchange { agent_input: json("{}"), mcp_reply: None }]);
        let history = r#""history":[{"agent_input":{},"mcp_reply":null}]"#;
        assert_eq!(question(&request), format!(r#"{begin},{history},"traceparent":"{trace}"}}"#));
    }

    #[test]
    fn an_answer_is_a_reply_or_an_error() {
        let reply = r#"{"iteration":2,"task_id":"a.b","reply":{"event":"finish","n":1e-7},"more":1}"#;
        assert_eq!(answer(reply), Ok((key("a.b", 2), Answer::Reply(r#"{"event":"finish","n":1e-7}"#))));
        let error = r#"{"task_id":"t","iteration":1,"error":{"status":429,"message":"later","retry_after":1.5}}"#;
        let expected = Answer::Error { status: 429, message: "later".to_owned(), retry_after: Some(1.5) };
        assert_eq!(answer(error), Ok((key("t", 1), expected)));
        for odd in [
            "",
            "<html>",
            "[]",
            r#"{"event":"finish"}"#,
            r#"{"task_id":"t","iteration":-1,"reply":{}}"#,
            r#"{"task_id":"../t","iteration":1,"reply":{}}"#,
            r#"{"task_id":"t","iteration":1}"#,
            r#"{"task_id":"t","iteration":1,"reply":{},"error":{"status":500}}"#,
        ] {
            assert!(answer(odd).is_err(), "{odd}");
        }
    }
}
