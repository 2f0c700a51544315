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

use super::StepRequest;
use super::address::traceparent;
use crate::domain::TaskId;

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
    let history = request.history_member();
    // No character of an id needs an escape.
    format!(r#"{{"task_id":"{id}","iteration":{iteration},"payload":{payload}{history},"traceparent":"{trace}"}}"#)
}

/// Reads an answer: whose it is, as far as that can be told, and what it says. The error is for a person.
pub(super) fn answer(text: &str) -> (Option<Key>, Result<Answer<'_>, String>) {
    #[derive(Deserialize)]
    struct Whose {
        task_id: String,
        iteration: u32,
    }
    #[derive(Deserialize)]
    struct Said<'a> {
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
    let whose = serde_json::from_str::<Whose>(text).map_err(|error| error.to_string()).and_then(|whose| {
        let id: TaskId = whose.task_id.parse().map_err(|error| format!("task_id {error}"))?;
        Ok((id, whose.iteration))
    });
    let key = match whose {
        Ok(key) => key,
        Err(why) => return (None, Err(format!("it needs task_id, iteration and reply: {why}"))),
    };
    let said = serde_json::from_str::<Said<'_>>(text).map_err(|error| error.to_string());
    let answer = said.and_then(|said| match (said.reply, said.error) {
        (Some(reply), None) => Ok(Answer::Reply(reply.get())),
        (None, Some(Error { status, message, retry_after })) => Ok(Answer::Error { status, message, retry_after }),
        _ => Err("it needs one of reply and error".to_owned()),
    });
    (Some(key), answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Exchange, Json};

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
        assert_eq!(answer(reply), (Some(key("a.b", 2)), Ok(Answer::Reply(r#"{"event":"finish","n":1e-7}"#))));
        let error = r#"{"task_id":"t","iteration":1,"error":{"status":429,"message":"later","retry_after":1.5}}"#;
        let expected = Answer::Error { status: 429, message: "later".to_owned(), retry_after: Some(1.5) };
        assert_eq!(answer(error), (Some(key("t", 1)), Ok(expected)));
        let nobodys = [
            "",
            "<html>",
            "[]",
            r#"{"event":"finish"}"#,
            r#"{"task_id":"t","iteration":-1,"reply":{}}"#,
            r#"{"task_id":"../t","iteration":1}"#,
        ];
        for odd in nobodys {
            assert!(matches!(answer(odd), (None, Err(_))), "{odd}");
        }
        let wrong = [
            r#"{"task_id":"t","iteration":1}"#,
            r#"{"task_id":"t","iteration":1,"reply":{},"error":{"status":500}}"#,
            r#"{"task_id":"t","iteration":1,"error":"boom"}"#,
        ];
        for odd in wrong {
            assert!(matches!(answer(odd), (Some(_), Err(_))), "{odd}");
        }
    }
}
