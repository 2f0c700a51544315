//! SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Returns at the next SIGINT or SIGTERM from this call on, whenever it is waited for.
pub(super) fn next() -> impl Future<Output = ()> {
    let handlers = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = handlers else {
            // Without handlers the signals end the process, as they do by default.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
