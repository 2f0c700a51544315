//! `codex-agent brain`

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::logging::{self, To};
use super::{Exit, signals};
use crate::app;
use crate::brain::serve::{self, Desk};
use crate::config::{BrainUrl, Config};
use crate::http::server::{self, Patience, Protocols};
use crate::http::{self, Guard};

/// Answers of a brain are short; this is for those being written.
const GRACE: Duration = Duration::from_secs(2);

pub(super) async fn brain(config: Config) -> anyhow::Result<Exit> {
    let listen = config.listen_at(Config::BRAIN_PORT);
    let _logging = logging::start(&config, To::Stdout, false, "info")?;
    let brain = app::inside(&config)?;
    let guard = Guard::new(&config.tokens()?, listen.ip(), config.allowed_host_names());
    let listener = TcpListener::bind(listen).await.with_context(|| format!("LISTEN: {listen}"))?;
    let address = listener.local_addr()?;
    tracing::info!("the {} brain answers over HTTP, WebSocket and gRPC to MCP_SERVER_URL=http://{address}", brain.name);
    match config.mcp_server_url {
        BrainUrl::OpenAi if config.openai_finetuned_model_id.is_none() => {
            tracing::warn!(
                "OPENAI_FINETUNED_MODEL_ID is not set: services have to name the model, or no step succeeds"
            );
        }
        BrainUrl::OpenAi | BrainUrl::Script => {}
        _ => tracing::info!("MCP_SERVER_URL names no brain inside: openai: would ask a model"),
    }
    let patience = Patience { header: config.header_timeout, grace: GRACE };
    let stop = CancellationToken::new();
    let sockets = TaskTracker::new();
    let router = serve::router(Arc::new(Desk::new(brain.brain)), stop.clone(), sockets.clone());
    let served =
        server::serve_by(Protocols::Http1AndHttp2, listener, http::guarded(router, &guard), stop.clone(), patience);
    tokio::pin!(served);
    tokio::select! {
        () = &mut served => {}
        () = signals::next() => {
            stop.cancel();
            served.await;
        }
    }
    // Those that were upgraded are no longer the server's.
    sockets.close();
    drop(tokio::time::timeout(GRACE, sockets.wait()).await);
    Ok(Exit::Done)
}
