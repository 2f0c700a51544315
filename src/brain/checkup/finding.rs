//! What was found, how bad it is, and what to do about it.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

use super::probe::Obstacle;
use super::{excerpt, one_line};
use crate::domain::{Json, Reply};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Tasks run, but somebody should know.
    Note,
    /// No task would get far.
    Fail,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A brain that answers `/step`.
    Brain,
    /// The model behind `openai:`.
    Model,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The brain is in this process and needs nothing.
    Inside,
    /// Whether there is a key for the model's server; never which.
    Key {
        /// There is one.
        set: bool,
    },
    /// The models that are asked.
    Models {
        /// `OPENAI_FINETUNED_MODEL_ID`
        main: Option<String>,
        /// `OPENAI_CRITIQUE_MODEL_ID`
        critique: Option<String>,
    },
    /// There was no reply: something stands in the way.
    Unreached {
        /// Of whom.
        peer: Peer,
        /// Where it should be.
        url: Url,
        /// What stands in the way.
        obstacle: Obstacle,
        /// How long a reply was waited for at most.
        waited: Duration,
        /// As the service would have put it.
        said: String,
    },
    /// A status in place of a reply.
    Status {
        /// Whose.
        peer: Peer,
        /// As in HTTP.
        status: u16,
        /// Whether a key was shown.
        has_key: bool,
        /// As the service would have put it, with the beginning of the answer.
        said: String,
    },
    /// An answer that is no JSON, or too long.
    NoJson {
        /// Whose.
        peer: Peer,
        /// As the service would have put it, with the beginning of the answer.
        said: String,
    },
    /// A reply to the first step.
    Start {
        /// `finish`, or which tool it calls.
        reply: String,
    },
    /// JSON, but no reply of the protocol.
    NoReply {
        /// What is wrong with it.
        why: String,
        /// Its beginning.
        said: String,
    },
    /// An event outside the protocol.
    UnknownEvent(String),
    /// It wants the history of a task that has just begun.
    ResyncAtStart,
    /// How long the one step took.
    Took(Duration),
    /// A repeated step got the same reply.
    SameReply,
    /// A repeated step got another reply.
    OtherReply {
        /// The first one.
        first: String,
        /// One that came later.
        then: String,
    },
    /// A repeated step got no reply, and why.
    NoReplyToRepeated(String),
    /// How long repeated steps took.
    Latency {
        /// How many.
        steps: usize,
        /// Half of them took no longer.
        median: Duration,
        /// The longest.
        slowest: Duration,
    },
    /// What became of a step of a task that the brain does not know.
    OfUnknown(OfUnknown),
    /// An `agent_abort` was answered.
    AbortTaken,
    /// An `agent_abort` was not, and why.
    AbortRefused(String),
}

/// What a brain makes of a task that it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfUnknown {
    /// It asks for the history.
    Resync,
    /// It goes on without.
    Reply,
    /// It refuses, and how.
    Error(String),
}

impl Finding {
    /// What the reply to the first step amounts to.
    pub fn of_start(reply: &Json) -> Self {
        match Reply::parse(reply) {
            Ok(Reply::Finish { .. }) => Self::Start { reply: "finish".to_owned() },
            Ok(Reply::ToolCall(call)) => Self::Start { reply: format!("tool_call {}", excerpt(&call.name)) },
            Ok(Reply::Resync) => Self::ResyncAtStart,
            Ok(Reply::Unknown { event }) => Self::UnknownEvent(excerpt(&event)),
            Err(error) => Self::NoReply { why: error.to_string(), said: one_line(reply.as_str()) },
        }
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        match self {
            Self::Inside
            | Self::Key { set: true }
            | Self::Models { main: Some(_), .. }
            | Self::Start { .. }
            | Self::Took(_)
            | Self::SameReply
            | Self::Latency { .. }
            | Self::OfUnknown(OfUnknown::Resync)
            | Self::AbortTaken => Level::Ok,
            Self::Key { set: false }
            | Self::Models { main: None, .. }
            | Self::OtherReply { .. }
            | Self::NoReplyToRepeated(_)
            | Self::OfUnknown(_)
            | Self::AbortRefused(_) => Level::Note,
            Self::Unreached { .. }
            | Self::Status { .. }
            | Self::NoJson { .. }
            | Self::NoReply { .. }
            | Self::UnknownEvent(_)
            | Self::ResyncAtStart => Level::Fail,
        }
    }
}

impl fmt::Display for Finding {
    /// What, and behind a colon what to do about it, if anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside => f.write_str("inside this process: there is nothing to reach"),
            Self::Key { set: true } => f.write_str("OPENAI_API_KEY is set"),
            Self::Key { set: false } => {
                f.write_str("OPENAI_API_KEY is not set: set it, unless the model's server wants none")
            }
            Self::Models { main, critique } => {
                match main {
                    Some(main) => write!(f, "model {main}")?,
                    None => f.write_str("no model is named: set OPENAI_FINETUNED_MODEL_ID")?,
                }
                critique.as_ref().map_or(Ok(()), |critique| write!(f, "; {critique} reviews what it proposes"))
            }
            Self::Unreached { obstacle: Obstacle::None, peer, url, waited, said } => write!(
                f,
                "{said}: a connection to {} comes about, so look at what the server there says, and whether it is {}; it was \
                 asked once and waited for {} s at most, tasks ask MCP_RETRIES times more and wait MCP_TIMEOUT",
                address(url),
                match peer {
                    Peer::Brain => "a brain",
                    Peer::Model => "a model's",
                },
                waited.as_secs(),
            ),
            Self::Unreached { peer, url, obstacle, said, .. } => obstacle.tell(f, *peer, url, said),
            Self::Status { peer, status, has_key, said } => {
                write!(f, "{said}: {}", what_to_do(*peer, *status, *has_key))
            }
            Self::NoJson { peer: Peer::Brain, said } => {
                write!(f, "{said}: is it a brain that listens there? Check the port and the path in MCP_SERVER_URL")
            }
            Self::NoJson { peer: Peer::Model, said } => write!(f, "{said}: check OPENAI_BASE_URL and the model"),
            Self::Start { reply } => write!(f, "start is answered with {reply}"),
            Self::NoReply { why, said } => write!(f, "{why} ({said}): have it answer with {REPLIES}"),
            Self::UnknownEvent(event) => {
                write!(f, "start is answered with the event {event:?}, which fails every task: have it answer with {REPLIES}")
            }
            Self::ResyncAtStart => f.write_str(
                "start is answered with resync, though nothing is before it: have the brain take a task up from its start",
            ),
            Self::Took(time) => write!(f, "the step took {} ms", time.as_millis()),
            Self::SameReply => f.write_str("a step that is sent again, with its key, gets the same reply"),
            Self::OtherReply { first, then } => write!(
                f,
                "a step that is sent again, with its key, gets another reply (first {first}, then {then}), so that after a \
                 lost answer the brain and the task differ in what was decided: have the brain remember the last reply of \
                 each task with its Idempotency-Key, and give it again",
            ),
            Self::NoReplyToRepeated(said) => write!(
                f,
                "a step that is sent again, with its key, gets no reply ({said}), so that a task fails after a lost answer: \
                 have the brain remember the last reply of each task with its Idempotency-Key, and give it again",
            ),
            Self::Latency { steps, median, slowest } => {
                let (median, slowest) = (median.as_millis(), slowest.as_millis());
                write!(f, "{steps} repeated steps took {median} ms in the median, {slowest} ms at most")
            }
            Self::OfUnknown(OfUnknown::Resync) => {
                f.write_str("a task that it does not know is answered with resync: it gets the history, and goes on")
            }
            Self::OfUnknown(OfUnknown::Reply) => f.write_str(
                "a task that it does not know is answered like any other, which is right for a brain that keeps no state: \
                 if yours does, have it answer {\"event\":\"resync\"}, and it gets the history",
            ),
            Self::OfUnknown(OfUnknown::Error(said)) => write!(
                f,
                "a task that it does not know gets no reply ({said}), so that tasks fail when the brain is started anew: \
                 have it answer {{\"event\":\"resync\"}}, and it gets the history",
            ),
            Self::AbortTaken => f.write_str("agent_abort is answered"),
            Self::AbortRefused(said) => write!(
                f,
                "agent_abort gets no reply ({said}); no task fails because of it: have the brain take it, and forget the task",
            ),
        }
    }
}

/// What the protocol has for an answer.
const REPLIES: &str = "{\"event\":\"tool_call\",\"name\",\"arguments\"} or {\"event\":\"finish\",\"summary\"}";

/// What to do about a status, which the text before names.
fn what_to_do(peer: Peer, status: u16, has_key: bool) -> &'static str {
    match (peer, status, has_key) {
        (Peer::Brain, 401, false) => "set OPENAI_API_KEY to one of the tokens that the brain takes",
        (Peer::Brain, 401, true) => "OPENAI_API_KEY is none of the tokens that the brain takes",
        (Peer::Brain, 403, _) => {
            "set OPENAI_API_KEY to a token that may ask, and have the brain take its name in the URL"
        }
        (Peer::Brain, 404, _) => "/step is added to MCP_SERVER_URL: leave it out there, and check the rest of the path",
        (Peer::Brain, 422 | 400, _) => "the brain is reached and cannot answer this: what it says tells why",
        (Peer::Brain, ..) => "is it a brain that listens there? Check the port and the path in MCP_SERVER_URL",
        (Peer::Model, 401 | 403, false) => "set OPENAI_API_KEY",
        (Peer::Model, 401 | 403, true) => "OPENAI_API_KEY is not taken: check it, and what it may be used for",
        (Peer::Model, 404, _) => {
            "/chat/completions is added to OPENAI_BASE_URL, which mostly ends in /v1: check it, and OPENAI_FINETUNED_MODEL_ID"
        }
        (Peer::Model, ..) => "check OPENAI_BASE_URL and OPENAI_FINETUNED_MODEL_ID",
    }
}

/// A URL as it may be shown: without what may be secret in it.
pub fn address(url: &Url) -> String {
    let mut shown = url.clone();
    // They fail only for URLs without a host, which have neither.
    let (_, _) = (shown.set_username(""), shown.set_password(None));
    shown.set_query(None);
    shown.set_fragment(None);
    shown.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_start(text: &str) -> Finding {
        Finding::of_start(&Json::parse(text).unwrap())
    }

    #[test]
    fn a_reply_to_the_first_step_is_one_of_the_protocol_or_says_what_is_wrong() {
        assert_eq!(of_start(r#"{"event":"finish"}"#), Finding::Start { reply: "finish".into() });
        let call = of_start(r#"{"event":"tool_call","name":"read_file"}"#);
        assert_eq!((call.level(), call.to_string()), (Level::Ok, "start is answered with tool_call read_file".into()));
        for (reply, named) in [
            (r#"{"event":"dance"}"#, "\"dance\""),
            (r#"{"event":"resync"}"#, "resync"),
            (r#"{"reply":"hello"}"#, "no \"event\" that is a string ({\"reply\":\"hello\"}): have it answer"),
            ("[]", "not a JSON object"),
        ] {
            let finding = of_start(reply);
            assert_eq!(finding.level(), Level::Fail, "{reply}");
            assert!(finding.to_string().contains(named), "{finding}");
        }
    }

    #[test]
    fn a_status_says_which_variable_to_look_at() {
        let told =
            |peer, status, has_key| Finding::Status { peer, status, has_key, said: "answered".into() }.to_string();
        assert!(told(Peer::Brain, 401, false).starts_with("answered: set OPENAI_API_KEY to one of the tokens"));
        assert!(told(Peer::Brain, 401, true).contains("none of the tokens"));
        assert!(told(Peer::Brain, 404, true).contains("/step is added"));
        assert!(told(Peer::Brain, 405, true).contains("is it a brain"));
        assert!(told(Peer::Model, 404, true).contains("/v1"));
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = Url::parse("https://me:secret@brain.example:8443/v1/?key=secret#secret").unwrap();
        assert_eq!(address(&url), "https://brain.example:8443/v1");
    }
}
