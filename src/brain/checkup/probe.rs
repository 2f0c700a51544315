//! How far one comes on the way to a brain that gave no reply: its name, a connection, TLS.

use std::fmt;
use std::io;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use tokio::net::lookup_host;

use super::finding::{Peer, address};
use super::one_line;
use crate::brain::address::Address;
use crate::brain::connect::{Connector, Speaks, is_loopback};
use crate::brain::retry::{cause, causes};

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The name leads nowhere, and why.
    Name(String),
    /// Nothing listens there.
    Refused,
    /// Nothing came back within the time.
    Timeout(Duration),
    /// Another reason for which there is no connection.
    Connection(String),
    /// A certificate that this machine does not trust, and why not.
    Certificate(String),
    /// No TLS comes about, and why not.
    Tls(String),
    /// The way leads through a proxy, and cannot be looked at from here.
    Proxy,
    /// Nothing, as far as the brain's own protocol.
    None,
}

/// Goes the way that a step would go, as far as that is the same for every transport.
pub(super) async fn probe(url: &Url, patience: Duration) -> Obstacle {
    let way = async {
        match walk(url).await {
            Ok(()) => Obstacle::None,
            Err(obstacle) => obstacle,
        }
    };
    tokio::time::timeout(patience, way).await.unwrap_or(Obstacle::Timeout(patience))
}

async fn walk(url: &Url) -> Result<(), Obstacle> {
    let uri = Address::new(url.clone(), "").map_err(|error| Obstacle::Connection(error.to_string()))?.uri;
    let proxies = Matcher::from_env();
    if !is_loopback(&uri) && proxies.intercept(&uri).is_some() {
        return Err(Obstacle::Proxy);
    }
    let host = uri.host().unwrap_or_default();
    let name = (host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or_default());
    let _found = lookup_host(name).await.map_err(|error| Obstacle::Name(one_line(&error.to_string())))?;
    let speaks = if url.scheme().starts_with("grpc") { Speaks::Http2 } else { Speaks::Http1 };
    let connector = Connector::new(&uri, &proxies, speaks).map_err(|error| Obstacle::Tls(error.to_string()))?;
    connector.dial().await.map(drop).map_err(|error| match (cause(&*error), cause::<io::Error>(&*error)) {
        (Some(rustls::Error::InvalidCertificate(why)), _) => Obstacle::Certificate(why.to_string()),
        (Some(other), _) => Obstacle::Tls(one_line(&other.to_string())),
        (None, Some(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Obstacle::Refused,
        _ => Obstacle::Connection(one_line(&causes(&*error))),
    })
}

impl Obstacle {
    /// What it is and what to do about it, on the way to `url`; `said` is the service's own word.
    pub(super) fn tell(&self, f: &mut fmt::Formatter<'_>, peer: Peer, url: &Url, said: &str) -> fmt::Result {
        let variable = match peer {
            Peer::Brain => "MCP_SERVER_URL",
            Peer::Model => "OPENAI_BASE_URL",
        };
        let (host, shown) = (url.host_str().unwrap_or_default(), address(url));
        let is_here = Address::new(url.clone(), "").is_ok_and(|address| is_loopback(&address.uri));
        match self {
            Self::Name(why) => {
                write!(f, "{host} leads nowhere ({why}): check the name in {variable}, and this machine's name server")
            }
            Self::Refused => {
                write!(f, "nothing listens at {shown} (connection refused): ")?;
                if let (Peer::Brain, true, Some(port)) = (peer, is_here, url.port()) {
                    return write!(
                        f,
                        "start a brain there, such as `codex-agent brain --listen 127.0.0.1:{port}`, or set \
                         MCP_SERVER_URL=openai: to have a model asked without one",
                    );
                }
                write!(f, "start what should listen there, or correct {variable}")
            }
            Self::Timeout(time) => write!(
                f,
                "no connection to {shown} within {} s: check {variable}, and whether a firewall is in the way",
                time.as_secs()
            ),
            Self::Connection(why) => write!(f, "no connection to {shown} ({why}): check {variable} and the network"),
            Self::Certificate(why) => write!(
                f,
                "the certificate of {shown} is not trusted ({why}): add its authority to this machine's, or name a file of \
                 authorities in SSL_CERT_FILE; the name in {variable} must be one of the certificate's",
            ),
            Self::Tls(why) => write!(
                f,
                "no TLS with {shown} ({why}): if the server speaks without TLS, have {variable} say so, with http:, ws: or grpc:",
            ),
            Self::Proxy => {
                write!(f, "{said}: the way leads through a proxy, check HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
            }
            Self::None => f.write_str(said),
        }
    }
}
