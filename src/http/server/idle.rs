//! Whether an HTTP/2 connection is used: one on which nothing is asked is closed after a while, whether it has shaken
//! hands or not, as one of HTTP/1.1 is.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

/// The calls on one connection.
#[derive(Clone)]
pub(super) struct Use(Arc<Mutex<State>>);

struct State {
    calls: usize,
    since: Instant,
}

impl Use {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { calls: 0, since: Instant::now() })))
    }

    /// Returns when there has been no call for so long.
    pub(super) async fn unused(&self, limit: Duration) {
        loop {
            let (calls, since) = {
                let state = self.lock();
                (state.calls, state.since)
            };
            let end = since + limit;
            if calls == 0 && Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end.max(Instant::now() + limit / 10)).await;
        }
    }

    /// A layer around all calls: each counts until its answer has been sent to the end.
    pub(super) async fn count(self, request: Request, next: Next) -> Response {
        let call = self.begin();
        next.run(request).await.map(|body| Body::new(Counted { body, _call: call }))
    }

    fn begin(&self) -> Call {
        self.lock().calls += 1;
        Call(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way.
struct Call(Use);

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.calls -= 1;
        state.since = Instant::now();
    }
}

/// An answer with its call.
struct Counted {
    body: Body,
    _call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_unused_when_its_last_call_has_been_over_for_long_enough() {
        let (used, started) = (Use::new(), Instant::now());
        let call = used.begin();
        let both = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(call);
        };
        tokio::join!(used.unused(Duration::from_secs(30)), both);
        let took = started.elapsed();
        assert!(took >= Duration::from_secs(130) && took < Duration::from_secs(137), "{took:?}");
    }
}
