//! How a new connection to the brain comes about, for every transport: straight, or through the proxy that the
//! environment names.

use std::error::Error;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::rt::{Read, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

use super::SetupError;
use super::retry::{self, TryError};

/// How often the other side of a connection that many tasks share is asked whether it lives.
pub(super) const PING: Duration = Duration::from_secs(10);

/// A side that has said nothing for so long, two pings included, is dead.
pub(super) const DEAD: Duration = Duration::from_secs(20);

/// A connection that has been silent for so long is asked whether the other side still lives: a step may wait for minutes,
/// and a router on the way forgets what it does not hear of.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How often it is asked again where no answer comes: one that is lost (ten thousand are asked at the same moment) is no end.
const PROBE: Duration = Duration::from_secs(3);

/// So many questions without an answer are taken for an end.
const PROBES: u32 = 5;

/// Bytes that nobody acknowledges for so long: the connection is broken. As long as all questions take: the kernel ends a
/// silent connection after this time, too, however many it has asked.
const UNACKNOWLEDGED: Duration = KEEPALIVE.saturating_add(PROBE.saturating_mul(PROBES));

/// A connection, with or without TLS.
pub(super) type Stream = Box<dyn Wire>;

/// What a connection can do.
pub(super) trait Wire: Read + Write + Socket + Send + Unpin {}

impl<T: Read + Write + Socket + Send + Unpin> Wire for T {}

/// What is below it.
pub(super) trait Socket {
    /// The socket, whatever is spoken on it.
    fn socket(&self) -> BorrowedFd<'_>;
}

impl Socket for TokioIo<TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.inner().as_fd()
    }
}

impl<T: Socket> Socket for MaybeHttpsStream<T> {
    fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Self::Http(stream) => stream.socket(),
            Self::Https(tls) => tls.inner().get_ref().0.inner().socket(),
        }
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Questions and answers by turns, which a proxy can forward.
    Http1,
    /// HTTP/1.1 until it is upgraded: a proxy has to let it through.
    Upgraded,
    /// HTTP/2 from the first byte.
    Http2,
}

/// Makes connections to one brain.
pub(super) struct Connector {
    dial: Dial,
    /// Whether questions go to a proxy, which has to be told the whole URL.
    pub(super) forwarded: bool,
    /// What a proxy that forwards wants to see.
    pub(super) proxy_authorization: Option<HeaderValue>,
}

type Dial = Box<dyn Fn() -> BoxFuture<'static, Result<Stream, Box<dyn Error + Send + Sync>>> + Send + Sync>;

impl Connector {
    /// For a brain at `uri`, which begins with http or https whatever is spoken.
    pub(super) fn new(uri: &Uri, proxies: &Matcher, speaks: Speaks) -> Result<Self, SetupError> {
        // A proxy cannot lead to a brain on this machine.
        let proxy = if is_loopback(uri) { None } else { proxies.intercept(uri) };
        let secure = uri.scheme_str() == Some("https");
        // The roots of trust, some megabytes, are not loaded for nothing.
        let forwards = !secure && speaks == Speaks::Http1;
        let dial = match &proxy {
            None if secure => dial(HttpsConnector::from((tcp(), tls(speaks)?)), uri),
            None => dial(tcp(), uri),
            Some(proxy) if forwards && proxy.uri().scheme_str() == Some("http") => dial(tcp(), proxy.uri()),
            Some(proxy) if forwards => dial(HttpsConnector::from((tcp(), tls(speaks)?)), proxy.uri()),
            Some(proxy) => {
                let tls = tls(speaks)?;
                let mut to_proxy = tls.clone();
                // It is not HTTP that is spoken with a proxy's own TLS, once the way is open.
                to_proxy.alpn_protocols.clear();
                let mut tunnel = Tunnel::new(proxy.uri().clone(), HttpsConnector::from((tcp(), to_proxy)));
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                // It adds TLS only where the brain's URL has it.
                dial(HttpsConnector::from((tunnel, tls)), uri)
            }
        };
        let forwarding = proxy.filter(|_| forwards);
        let proxy_authorization = forwarding.as_ref().and_then(|proxy| proxy.basic_auth().cloned());
        Ok(Self { dial, forwarded: forwarding.is_some(), proxy_authorization })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Stream, TryError> {
        (self.dial)().await.map_err(|error| retry::by_error(&*error))
    }

    /// The same for whoever does not ask a `TryError`.
    pub(super) fn dial(&self) -> BoxFuture<'static, Result<Stream, Box<dyn Error + Send + Sync>>> {
        (self.dial)()
    }
}

fn dial<S>(service: S, to: &Uri) -> Dial
where
    S: Service<Uri> + Clone + Send + Sync + 'static,
    S::Response: Wire + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
{
    let to = to.clone();
    Box::new(move || {
        let connecting = service.clone().oneshot(to.clone());
        Box::pin(async move {
            let stream: Stream = Box::new(connecting.await.map_err(Into::into)?);
            Ok(stream)
        })
    })
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(PROBE));
    tcp.set_keepalive_retries(Some(PROBES));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

/// TLS that trusts what this machine trusts.
fn tls(speaks: Speaks) -> Result<ClientConfig, SetupError> {
    crate::brain::install_tls();
    let mut config = ClientConfig::with_platform_verifier().map_err(SetupError::Tls)?;
    let alpn: &[u8] = if speaks == Speaks::Http2 { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// Whether it is on this machine.
pub(super) fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
