//! Where log lines go.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::Level;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{Config, LogFormat};

/// Lines that may wait to be written before more are dropped. Their places are laid out in advance: the crate's own
/// default, 128,000, is four megabytes for each stream.
const WAITING: usize = 8192;

/// Libraries that log handshakes, frames and a peer's last words as they are below INFO, and the key where it is among them:
/// those lines are not to be had, whatever `RUST_LOG` says.
const TALKATIVE: [&str; 3] = ["tungstenite", "tokio_tungstenite", "h2"];

/// Which stream has the log lines; the other one has the data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Stdout,
    Stderr,
}

/// A filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG: {wanted:?}: {source}")]
pub(super) struct BadFilter {
    wanted: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging to a stream, and to `OUTPUT_DIR/agent.log` if `file` is set. `RUST_LOG` decides what, else `usual`.
///
/// The lines are written by threads of their own: a terminal that is stopped, or a reader that has stalled, must not stop
/// the service. What cannot be written is dropped in the end. The threads write what is left when the guards are dropped.
pub(super) fn start(config: &Config, to: To, file: bool, usual: &str) -> anyhow::Result<Vec<WorkerGuard>> {
    let wanted = config.rust_log.as_deref().unwrap_or(usual);
    let filter = EnvFilter::try_new(wanted).map_err(|source| BadFilter { wanted: wanted.to_owned(), source })?;
    let terminal = match to {
        To::Stdout => std::io::stdout().is_terminal(),
        To::Stderr => std::io::stderr().is_terminal(),
    };
    let (stream, guard) = match to {
        To::Stdout => writer(std::io::stdout()),
        To::Stderr => writer(std::io::stderr()),
    };
    let (mut layers, mut guards) = (vec![layer(config.log_format, terminal, stream)], vec![guard]);
    if file {
        std::fs::create_dir_all(&config.output_dir)
            .with_context(|| format!("OUTPUT_DIR: {}", config.output_dir.display()))?;
        // Files of the day, and agent.log as a link to the newest. The link would take the place of a file of that name.
        let link = config.output_dir.join("agent.log");
        if link.symlink_metadata().is_ok_and(|found| found.is_file()) {
            std::fs::rename(&link, config.output_dir.join("agent.log.old")).context("OUTPUT_DIR: agent.log")?;
        }
        let appender = RollingFileAppender::builder()
            .rotation(Rotation::DAILY)
            .filename_prefix("agent.log")
            .latest_symlink("agent.log")
            .build(&config.output_dir)
            .with_context(|| format!("OUTPUT_DIR: {}", config.output_dir.display()))?;
        let (appender, guard) = writer(appender);
        layers.push(layer(config.log_format, false, appender));
        guards.push(guard);
    }
    let secretive =
        filter_fn(|line| *line.level() <= Level::INFO || !TALKATIVE.iter().any(|name| line.target().starts_with(name)));
    tracing_subscriber::registry()
        .with(layers)
        .with(filter)
        .with(secretive)
        .try_init()
        .context("logging was started already")?;
    Ok(guards)
}

fn writer(to: impl std::io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(WAITING).finish(to)
}

fn layer<W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(ansi);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}
