//! One line of a task's record.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Json, JsonError, Timestamp};

/// What went to the brain and what came back, as it is written to the record; the field order is the contract's.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// From 1, without gaps.
    pub iteration: u32,
    /// The payload.
    pub agent_input: &'a Json,
    /// The reply; null where the task ended before the brain had answered this payload.
    pub mcp_reply: Option<&'a Json>,
    /// When the line was written.
    pub at: Timestamp,
    /// How long the brain took, in milliseconds.
    pub step_ms: u64,
    /// How long the tool took whose result stands in `agent_input`, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_ms: Option<u64>,
}

/// A line read back: what a brain that lost the task is given as history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// The payload.
    pub agent_input: Json,
    /// The reply, if there was one.
    pub mcp_reply: Option<Json>,
}

/// A line in the store that is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not an object with the two fields.
    #[error("a line of the record cannot be read: {0}")]
    Shape(#[source] serde_json::Error),
    /// A value that is no JSON.
    #[error(transparent)]
    Value(#[from] JsonError),
    /// The task is unfinished, and nothing says how to go on with it.
    #[error("the last line of the record has no tool call, and nothing waits to be sent")]
    DeadEnd,
}

impl Line<'_> {
    /// The line with its line feed.
    pub fn render(&self) -> String {
        let mut line = Json::of(self).to_string();
        line.push('\n');
        line
    }

    /// Where the payload stands in the line, in bytes.
    pub fn payload(&self) -> Range<usize> {
        let start = format!("{{\"iteration\":{},\"agent_input\":", self.iteration).len();
        start..start + self.agent_input.as_str().len()
    }
}

impl Exchange {
    /// Reads a line of the record back.
    pub fn parse(line: &str) -> Result<Self, LineError> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            agent_input: &'a RawValue,
            #[serde(borrow)]
            mcp_reply: Option<&'a RawValue>,
        }
        let wire: Wire<'_> = serde_json::from_str(line).map_err(LineError::Shape)?;
        Ok(Self {
            agent_input: Json::reread(wire.agent_input.get())?,
            mcp_reply: wire.mcp_reply.map(|raw| Json::reread(raw.get())).transpose()?,
        })
    }
}

/// Whole milliseconds, as they stand in the record.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_in_the_order_of_the_contract_and_reads_back() {
        let input = Json::parse("{ \"event\": \"start\",\n \"task\": {\"n\": 1e-7} }").unwrap();
        let line = Line {
            iteration: 1,
            agent_input: &input,
            mcp_reply: None,
            at: Timestamp::from_millis(0),
            step_ms: 3,
            tool_ms: None,
        };
        let text = line.render();
        assert_eq!(
            text,
            "{\"iteration\":1,\"agent_input\":{\"event\":\"start\",\"task\":{\"n\":1e-7}},\"mcp_reply\":null,\
             \"at\":\"1970-01-01T00:00:00.000Z\",\"step_ms\":3}\n"
        );
        assert_eq!(&text[line.payload()], input.as_str());
        let back = Exchange::parse(&text).unwrap();
        assert_eq!((back.agent_input, back.mcp_reply), (input, None));
    }
}
