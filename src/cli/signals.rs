//! SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Returns at the next SIGINT or SIGTERM.
pub(super) async fn next() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process, as they do by default.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
