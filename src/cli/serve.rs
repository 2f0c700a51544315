//! `codex-agent serve`

use anyhow::Context;
use tokio::net::TcpListener;

use super::logging::{self, To};
use super::{Exit, signals};
use crate::app;
use crate::config::Config;
use crate::http::Guard;

/// Serves until SIGTERM or SIGINT; a second one ends the grace period.
pub(super) async fn serve(config: Config) -> anyhow::Result<Exit> {
    let listen = config.listen_at(Config::SERVE_PORT);
    let guard = Guard::new(&config.tokens()?, listen.ip(), config.allowed_host_names());
    // First: a port that is taken must not leave a new database behind.
    let listener = TcpListener::bind(listen).await.with_context(|| format!("LISTEN: {listen}"))?;
    let app = app::build(&config, None).await?;
    let _logging = logging::start(&config, To::Stdout, true, "info")?;
    let address = listener.local_addr()?;
    // Whoever reads that it listens may stop it at once.
    let (stopped, first) = (signals::next(), signals::next());
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening on http://{address}");
    let status = app.sandbox_status();
    if status.missing.is_empty() {
        tracing::info!(mode = %status.mode, layers = ?status.layers, "commands run in a sandbox");
    } else {
        let (missing, weaknesses) = (&status.missing, &status.weaknesses);
        tracing::warn!(mode = %status.mode, layers = ?status.layers, ?missing, ?weaknesses, "parts of the sandbox are missing");
    }
    let halt = app.halt_handle();
    let second_signal = async {
        first.await;
        signals::next().await;
        halt.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = app::run(app, listener, &guard, stopped) => ended?,
        () = second_signal => {}
    }
    tracing::info!("stopped");
    Ok(Exit::Done)
}
