//! Where a brain is, for every transport: what goes out of its URL into connections, headers and messages.

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::SetupError;
use crate::domain::{TaskId, hex};

/// A brain's address.
#[derive(Debug)]
pub(super) struct Address {
    /// Where connections lead; it begins with http or https, whatever is spoken, and bears no password.
    pub(super) uri: Uri,
    /// As a Host header has it.
    pub(super) host: String,
    /// The URL as it may be shown: without a password, and without a query, which may bear a key.
    pub(super) name: String,
    /// What stood before the host.
    pub(super) password: Option<HeaderValue>,
}

impl Address {
    /// Of the brain at `url`; `below` is added to its path.
    pub(super) fn new(mut url: Url, below: &str) -> Result<Self, SetupError> {
        let path = format!("{}{below}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let host = host(&url);
        let name = format!("{}://{host}{}", url.scheme(), url.path());
        let password = password(&url);
        // They fail only for URLs without a host, which have neither.
        let (_, _) = (url.set_username(""), url.set_password(None));
        let secure = matches!(url.scheme(), "https" | "wss" | "grpcs");
        let (_, rest) = url.as_str().split_once(':').unwrap_or_default();
        let uri = format!("{}:{rest}", if secure { "https" } else { "http" });
        Ok(Self { uri: uri.parse().map_err(SetupError::Url)?, host, name, password })
    }

    /// The path with the query.
    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

/// The host, with the port if it is not the scheme's own.
fn host(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// What stands before the host in the URL, as a header has it. The matcher of proxies knows how that is written.
fn password(url: &Url) -> Option<HeaderValue> {
    let user = format!("{}:{}", url.username(), url.password().unwrap_or_default());
    let matcher = Matcher::builder().all(format!("http://{user}@localhost")).build();
    let header = matcher.intercept(&Uri::from_static("http://localhost"))?.basic_auth().cloned();
    header.filter(|_| user != ":")
}

/// W3C trace context made from the names alone, so that a step sent again belongs to the same trace.
pub(super) fn traceparent(task_id: &TaskId, iteration: u32) -> String {
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

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let address = |url: &str| Address::new(url.parse().unwrap(), "/step").unwrap();
        let of = |url: &str| (address(url).uri.to_string(), address(url).name);
        let pair = |uri: &str, name: &str| (uri.to_owned(), name.to_owned());
        assert_eq!(of("http://u:p@h:1/a/?q=1"), pair("http://h:1/a/step?q=1", "http://h:1/a/step"));
        assert_eq!(of("wss://u:p@[::1]:9"), pair("https://[::1]:9/step", "wss://[::1]:9/step"));
        assert_eq!(of("grpc://h:9"), pair("http://h:9/step", "grpc://h:9/step"));
        assert_eq!(address("ws://u:p@h").password.unwrap(), "Basic dTpw");
        assert_eq!(address("ws://h").password, None);
    }
}
