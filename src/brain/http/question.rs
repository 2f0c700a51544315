//! A question as it goes over the wire.

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use sha2::{Digest, Sha256};

use crate::brain::StepRequest;
use crate::domain::{Json, TaskId, hex};

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
        let history = request.history.as_ref().map(|history| format!(r#","history":{}"#, Json::of(history)));
        let rest = history.unwrap_or_default() + "}";
        let (length, trace) = (open.len() + payload.len() + rest.len(), traceparent(id, iteration));
        let own = format!(
            "traceparent: {trace}\r\nidempotency-key: {id}/{iteration}\r\ncontent-length: {length}\r\n\r\n{open}"
        );
        [&self.head, own.as_bytes(), payload.as_bytes(), rest.as_bytes()].concat()
    }
}

/// The host, with the port if it is not the scheme's own.
pub(super) fn host(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// What stands before the host in the URL, as a header has it. The matcher of proxies knows how that is written.
pub(super) fn password(url: &Url) -> Option<HeaderValue> {
    let user = format!("{}:{}", url.username(), url.password().unwrap_or_default());
    let matcher = Matcher::builder().all(format!("http://{user}@localhost")).build();
    let header = matcher.intercept(&Uri::from_static("http://localhost"))?.basic_auth().cloned();
    header.filter(|_| user != ":")
}

/// W3C trace context made from the names alone, so that a step sent again belongs to the same trace.
fn traceparent(task_id: &TaskId, iteration: u32) -> String {
    let hash = Sha256::digest(task_id.as_str());
    let mut span = [0; 8];
    span.copy_from_slice(&hash[16..24]);
    let span = u64::from_be_bytes(span) ^ u64::from(iteration);
    format!("00-{}-{span:016x}-01", hex(&hash[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_its_own_span_in_the_trace_of_its_task() {
        let of = |id: &str, iteration| traceparent(&id.parse().unwrap(), iteration);
        assert_eq!((of("t", 1).len(), &of("t", 1)[..36]), (55, &of("t", 2)[..36]));
        assert_eq!(of("t", 1), of("t", 1));
        assert_ne!(of("t", 1), of("t", 2));
        assert_ne!(of("t", 1)[3..35], of("u", 1)[3..35]);
    }
}
