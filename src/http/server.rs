//! Accepts connections and serves them until told to stop.
//!
//! `axum::serve` sets no time limit for a request's head, so that a client who sends half of one would be waited for
//! for ever; here hyper is used directly, with the limit.
//!
//! A brain is spoken to in more ways than the service is: see [`Protocols`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
                        Protocols::Http1 => connection(stream, router, stop, halt, patience.header).await,
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

async fn connection(
    stream: TcpStream,
    router: Router,
    stop: CancellationToken,
    halt: CancellationToken,
    header: Duration,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    until(served, http1::UpgradeableConnection::graceful_shutdown, stop, halt).await;
}

/// A connection whose first bytes say what is spoken: HTTP/2 begins with `PRI`, which is no method of HTTP/1.1.
async fn either(stream: TcpStream, router: Router, stop: CancellationToken, halt: CancellationToken, header: Duration) {
    let is_http2 = tokio::select! {
        known = tokio::time::timeout(header, begins_with(&stream, b"PRI")) => known,
        () = stop.cancelled() => return,
    };
    match is_http2 {
        Ok(Ok(true)) => {
            let served = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .max_concurrent_streams(STREAMS)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            until(served, http2::Connection::graceful_shutdown, stop, halt).await;
        }
        Ok(Ok(false)) => connection(stream, router, stop, halt, header).await,
        // It said nothing in its time, or went away.
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Whether the first bytes are these; they are left where they are.
async fn begins_with(stream: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
    let mut seen = [0; 8];
    let mut count = 0;
    loop {
        let now = stream.peek(&mut seen[..bytes.len()]).await?;
        if now == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if now == bytes.len() || seen[..now] != bytes[..now] {
            return Ok(seen[..now] == *bytes);
        }
        if now == count {
            // Nothing new: what is there keeps the socket readable, so that peeking does not wait.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        count = now;
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
