//! Accepts connections and serves them until told to stop.
//!
//! `axum::serve` sets no time limit for a request's head, so that a client who sends half of one would be waited for
//! for ever; here hyper is used directly, with the limit.
//!
//! A brain is spoken to in more ways than the service is: see [`Protocols`].

mod idle;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::idle::Use;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/1.1, which may be upgraded to a WebSocket, and HTTP/2 with prior knowledge, as gRPC has it.
    Http1AndHttp2,
}

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// `HEADER_TIMEOUT`: the head of a request, from the connection's start or from the end of the answer before; so it
    /// is also how long an idle connection is kept.
    pub header: Duration,
    /// For answers that are still being sent when the service stops.
    pub grace: Duration,
}

/// Of the files this process may open, the part that is left for everything else than connections: tools, pipes, the
/// database, the brain.
const RESERVE: u64 = 2;

/// Lets this process open as many files as the system allows it to, and says how many of them may be connections.
fn connections() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A system that does not let us leaves what there was.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / RESERVE).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

/// The pause after an accept that failed, as it does when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a client with HTTP/2 is asked whether it lives, and how long it has to answer.
const PING: Duration = Duration::from_secs(10);

/// What every HTTP/2 connection begins with (RFC 9113, 3.4), as far as it is needed.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Calls on one HTTP/2 connection at a time: a worker has all its tasks on one.
const STREAMS: u32 = 16 * 1024;

/// Serves until `stop`; then no more connections are taken, and open ones have the grace to end their answers.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, patience: Patience) {
    serve_by(Protocols::Http1, listener, router, stop, patience).await;
}

/// The same for a port on which more may be spoken.
pub async fn serve_by(
    protocols: Protocols,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    patience: Patience,
) {
    let (tracker, halt) = (TaskTracker::new(), CancellationToken::new());
    let places = Arc::new(Semaphore::new(connections()));
    loop {
        // A client that comes when all places are taken waits in the system's queue.
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop, halt) = (router.clone(), stop.clone(), halt.clone());
                tracker.spawn(async move {
                    // An answer is written in one go; waiting to fill a packet would only delay it.
                    let _: io::Result<()> = stream.set_nodelay(true);
                    match protocols {
                        Protocols::Http1 => first(TokioIo::new(stream), router, stop, halt, patience.header).await,
                        Protocols::Http1AndHttp2 => either(stream, router, stop, halt, patience.header).await,
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracker.close();
    if tokio::time::timeout(patience.grace, tracker.wait()).await.is_err() {
        halt.cancel();
        tracker.wait().await;
    }
}

/// HTTP/1.1 from the first byte, which may be upgraded.
async fn first<S>(stream: S, router: Router, stop: CancellationToken, halt: CancellationToken, header: Duration)
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .serve_connection(stream, TowerToHyperService::new(router))
        .with_upgrades();
    until(served, http1::UpgradeableConnection::graceful_shutdown, stop, halt).await;
}

/// A connection whose first bytes say what is spoken: HTTP/2 begins with `PRI`, which is no method of HTTP/1.1.
async fn either(
    mut stream: TcpStream,
    router: Router,
    stop: CancellationToken,
    halt: CancellationToken,
    header: Duration,
) {
    let mut begun = Vec::with_capacity(PREFACE.len());
    let begins = async {
        while PREFACE.starts_with(&begun) && begun.len() < PREFACE.len() {
            if stream.read_buf(&mut begun).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    let known = tokio::select! {
        known = tokio::time::timeout(header, begins) => known,
        () = stop.cancelled() => return,
    };
    if !matches!(known, Ok(Ok(()))) || begun.is_empty() {
        // It said nothing in its time, or went away.
        return;
    }
    let is_http2 = begun.starts_with(PREFACE);
    // What has been read is read again by whoever speaks.
    let (reading, writing) = stream.into_split();
    let stream = TokioIo::new(tokio::io::join(io::Cursor::new(begun).chain(reading), writing));
    if !is_http2 {
        return first(stream, router, stop, halt, header).await;
    }
    let used = Use::new();
    let counting = used.clone();
    let router = router.layer(axum::middleware::from_fn(move |request, next| counting.clone().count(request, next)));
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .serve_connection(stream, TowerToHyperService::new(router));
    tokio::select! {
        () = until(served, http2::Connection::graceful_shutdown, stop, halt) => {}
        () = used.unused(header) => {}
    }
}

/// Serves a connection to its end; `stop` asks it to end by itself, and `halt` drops it.
async fn until<C, E>(served: C, end: impl FnOnce(Pin<&mut C>), stop: CancellationToken, halt: CancellationToken)
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    tokio::pin!(served);
    let mut end = Some(end);
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            () = stop.cancelled(), if end.is_some() => {
                if let Some(end) = end.take() {
                    end(served.as_mut());
                }
            }
            () = halt.cancelled() => return,
        }
    }
}
