//! A question as it goes over the wire.

use hyper::header::HeaderValue;

use crate::brain::StepRequest;
use crate::brain::address::traceparent;

/// What all questions to one brain have in common.
pub(super) struct Form {
    /// The lines they begin with. There are keys among them: not to be shown.
    head: Vec<u8>,
}

impl Form {
    /// Questions for `target`, a path or a whole URL, with these keys.
    pub(super) fn new(target: &str, host: &str, keys: &[(&str, Option<&HeaderValue>)]) -> Self {
        let fixed = "accept: */*\r\ncontent-type: application/json\r\n";
        let mut head = format!("POST {target} HTTP/1.1\r\nhost: {host}\r\n{fixed}").into_bytes();
        for (name, value) in keys.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
            head.extend_from_slice(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        Self { head }
    }

    /// One question. The body is exactly as the protocol has it; it is copied once, it may be long.
    pub(super) fn fill(&self, request: &StepRequest) -> Vec<u8> {
        let (id, iteration, payload) = (&request.task_id, request.iteration, request.payload.as_str());
        // No character of an id needs an escape.
        let open = format!(r#"{{"task_id":"{id}","payload":"#);
        let rest = request.history_member() + "}";
        let (length, trace) = (open.len() + payload.len() + rest.len(), traceparent(id, iteration));
        let own = format!(
            "traceparent: {trace}\r\nidempotency-key: {id}/{iteration}\r\ncontent-length: {length}\r\n\r\n{open}"
        );
        [&self.head, own.as_bytes(), payload.as_bytes(), rest.as_bytes()].concat()
    }
}
