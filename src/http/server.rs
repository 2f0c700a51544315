//! Accepts connections and serves them until told to stop.
//!
//! `axum::serve` sets no time limit for a request's head, so that a client who sends half of one would be waited for
//! for ever; here hyper is used directly, with the limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

/// Serves until `stop`; then no more connections are taken, and open ones have the grace to end their answers.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, patience: Patience) {
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
                let served = connection(stream, router.clone(), stop.clone(), halt.clone(), patience.header);
                tracker.spawn(async move {
                    served.await;
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
    // An answer is written in one go; waiting to fill a packet would only delay it.
    let _: io::Result<()> = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            () = halt.cancelled() => return,
        }
    }
}
