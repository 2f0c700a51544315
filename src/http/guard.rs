//! Who may call: the Host header, where a browser's page comes from, and the token.
//!
//! A page on some other site can make a browser send requests to a service on this machine. Two checks stop that:
//! the Host must be a name of ours (a rebound DNS name is not), and an Origin must be the very host that was called.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::linger::linger;
use super::problem::Problem;

/// The checks before any handler.
#[derive(Clone)]
pub struct Guard {
    /// Digests, so that the tokens themselves are kept nowhere and all comparisons take the same time.
    tokens: Arc<[[u8; 32]]>,
    hosts: Hosts,
}

/// Which Host headers are ours.
#[derive(Clone)]
enum Hosts {
    /// Any.
    Any,
    /// Loopback names, and those configured.
    Loopback(Arc<[String]>),
    /// Names that no public DNS can rebind (addresses, names without a dot), and those configured.
    Private(Arc<[String]>),
    /// Those configured, and addresses.
    Listed(Arc<[String]>),
}

impl Guard {
    /// Checks for a service that listens on `address`. `allowed` are names besides the address's own; `*` is any.
    pub fn new(tokens: &[String], address: IpAddr, allowed: Vec<String>) -> Self {
        let tokens: Arc<[[u8; 32]]> = tokens.iter().map(|token| Sha256::digest(token).into()).collect();
        let any = allowed.iter().any(|name| name == "*");
        let (listed, open) = (!allowed.is_empty(), tokens.is_empty());
        let allowed: Arc<[String]> = allowed.into();
        let hosts = if any {
            Hosts::Any
        } else if address.is_loopback() {
            Hosts::Loopback(allowed)
        } else if listed {
            Hosts::Listed(allowed)
        } else if open {
            Hosts::Private(allowed)
        } else {
            // A page that rebinds our name still has no token, and an ingress may give us any name.
            Hosts::Any
        };
        Self { tokens, hosts }
    }

    pub(super) async fn check(&self, request: Request, next: Next) -> Response {
        match self.refuse(&request) {
            Some(problem) => {
                let is_grpc = is_grpc(request.headers());
                linger(request.into_body()).await;
                if is_grpc { problem.into_grpc() } else { problem.into_response() }
            }
            None => next.run(request).await,
        }
    }

    fn refuse(&self, request: &Request) -> Option<Problem> {
        let headers = request.headers();
        let forbidden = |detail| Some(Problem::new(StatusCode::FORBIDDEN, detail));
        let Some(host) = host(request) else {
            return Some(Problem::new(StatusCode::BAD_REQUEST, "the request has no Host header, or not a valid one"));
        };
        if !self.hosts.has(host.host()) {
            return forbidden("the Host header names no host of this service; ALLOWED_HOSTS adds names");
        }
        if is_cross_origin(headers, &host, request.method()) {
            return forbidden("calls from pages of another origin are not taken");
        }
        // Probes bear no tokens, those of gRPC neither.
        let open = matches!(request.uri().path(), "/healthz" | "/readyz" | "/grpc.health.v1.Health/Check");
        if open || self.tokens.is_empty() {
            return None;
        }
        let Some(token) = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())) else {
            return Some(Problem::unauthorized("this call needs an Authorization header with a bearer token"));
        };
        let digest = Sha256::digest(token);
        // No early end: the time must not tell which token came near.
        let known = self.tokens.iter().fold(0u8, |known, token| known | token.ct_eq(&digest[..]).unwrap_u8());
        (known == 0).then(|| Problem::unauthorized("the token is not known here"))
    }
}

impl Hosts {
    fn has(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let local = host == "localhost" || host.ends_with(".localhost");
        match self {
            Self::Any => true,
            Self::Loopback(names) => {
                local || address.is_ok_and(|ip| ip.is_loopback()) || names.iter().any(|n| n == host)
            }
            Self::Private(names) => {
                local || address.is_ok() || !host.contains('.') || names.iter().any(|name| name == host)
            }
            Self::Listed(names) => local || address.is_ok() || names.iter().any(|name| name == host),
        }
    }
}

/// The authority that was called: the Host header's, or that of an absolute request target.
fn host(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    let mut values = request.headers().get_all(HOST).iter();
    let (first, second) = (values.next(), values.next());
    second.is_none().then_some(first)??.to_str().ok()?.parse().ok()
}

fn is_cross_origin(headers: &HeaderMap, host: &Authority, method: &Method) -> bool {
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        return !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()));
    }
    // Browsers leave Origin out of some GETs but say where those come from. Following a link to us is no call.
    let says = |name: &str, what: &[&str]| headers.get(name).is_some_and(|value| what.iter().any(|what| value == what));
    let foreign = says("sec-fetch-site", &["cross-site", "same-site"]);
    let followed_link = says("sec-fetch-mode", &["navigate"]) && method == Method::GET;
    foreign && !followed_link
}

/// Whether the caller wants the answer as gRPC has it.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(guard: &Guard, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri("/tasks").header("host", "127.0.0.1:8080");
        for (name, value) in headers {
            if *name == "host" {
                request = Request::builder().uri("/tasks");
            }
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        guard.refuse(&request).map_or(200, |problem| problem.into_response().status().as_u16())
    }

    fn guard(tokens: &[&str], address: &str, allowed: &[&str]) -> Guard {
        let owned = |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
        Guard::new(&owned(tokens), address.parse().unwrap(), owned(allowed))
    }

    #[test]
    fn a_loopback_service_is_called_by_loopback_names_only() {
        let guard = guard(&[], "127.0.0.1", &["box"]);
        for ours in ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8080", "a.localhost", "box:80"] {
            assert_eq!(status(&guard, &[("host", ours)]), 200, "{ours}");
        }
        for foreign in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example:8080"] {
            assert_eq!(status(&guard, &[("host", foreign)]), 403, "{foreign}");
        }
        assert_eq!(status(&guard, &[("host", "a b")]), 400);
    }

    #[test]
    fn an_open_service_on_the_network_takes_no_name_that_could_be_rebound() {
        let open = guard(&[], "0.0.0.0", &[]);
        assert_eq!(status(&open, &[("host", "agent:8080")]), 200);
        assert_eq!(status(&open, &[("host", "10.1.2.3")]), 200);
        assert_eq!(status(&open, &[("host", "agent.example.com")]), 403);
        let listed = guard(&["t"], "0.0.0.0", &["agent.example.com"]);
        assert_eq!(status(&listed, &[("host", "agent.example.com"), ("authorization", "Bearer t")]), 200);
        assert_eq!(status(&listed, &[("host", "other.example.com"), ("authorization", "Bearer t")]), 403);
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let guard = guard(&[], "127.0.0.1", &[]);
        assert_eq!(status(&guard, &[("origin", "http://127.0.0.1:8080")]), 200);
        for foreign in
            ["http://evil.example", "null", "http://127.0.0.1:9", "file://", "http://127.0.0.1:8080.evil.example"]
        {
            assert_eq!(status(&guard, &[("origin", foreign)]), 403, "{foreign}");
        }
        assert_eq!(status(&guard, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]), 403);
        assert_eq!(status(&guard, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]), 200);
        assert_eq!(status(&guard, &[("sec-fetch-site", "same-origin")]), 200);
    }

    #[test]
    fn a_token_is_asked_for_where_one_is_set() {
        let guard = guard(&["one", "two"], "127.0.0.1", &[]);
        assert_eq!(status(&guard, &[]), 401);
        assert_eq!(status(&guard, &[("authorization", "Bearer three")]), 401);
        assert_eq!(status(&guard, &[("authorization", "Basic one")]), 401);
        assert_eq!(status(&guard, &[("authorization", "Bearer ")]), 401);
        assert_eq!(status(&guard, &[("authorization", "bearer  two ")]), 200);
    }
}
