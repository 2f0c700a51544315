//! `GET /export`: records as training data, streamed.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use utoipa::IntoParams;

use super::Api;
use super::problem::{Problem, Refusals};
use super::view::StatusWord;
use crate::export::{BadOption, Export, ExportError, Options, Rows, Split};
use crate::tools;

/// Bytes that are sent at a time: fewer cost more in handing them over.
const CHUNK: usize = 64 * 1024;

/// Chunks that may wait for the client.
const WAITING: usize = 4;

/// How long a client may take no chunk: others wait for their turn.
const SLOWEST: Duration = Duration::from_mins(1);

/// When one who was refused may ask again, in seconds.
const LATER: HeaderValue = HeaderValue::from_static("10");

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described; export::Options reads them")]
pub(super) struct ExportParams {
    /// What the rows are.
    #[param(value_type = Option<FormatWord>, inline)]
    format: Option<()>,
    /// Only the rows of this part.
    #[param(value_type = Option<SplitWord>, inline)]
    split: Option<()>,
    /// Of a chat, one example for each task, or one for each message that the model wrote.
    #[param(value_type = Option<ExamplesWord>, inline)]
    examples: Option<()>,
    /// A system message that each chat and each preference begins with.
    system: Option<String>,
    /// Only tasks that ended so, separated by commas; if not given, succeeded for a chat, all but cancelled for a preference, all for the others.
    #[param(value_type = Option<Vec<StatusWord>>, explode = false, inline)]
    status: Option<()>,
    /// Only tasks with this label, `KEY` or `KEY=VALUE`; may be repeated.
    label: Option<Vec<String>>,
    /// Only tasks that were posted then or later.
    #[param(value_type = Option<String>)]
    since: Option<()>,
    /// Only tasks that were posted before.
    #[param(value_type = Option<String>)]
    until: Option<()>,
    /// Only tasks with this workspace, as it was posted.
    workspace: Option<String>,
    /// Only tasks with this verdict; if not given, for a chat, all but the rejected.
    #[param(value_type = Option<OutcomeWord>, inline)]
    outcome: Option<()>,
    /// At most so many tasks of a group.
    #[param(minimum = 1)]
    max_per_group: Option<u32>,
    /// Leave out tasks that did the same as one before.
    dedupe: Option<bool>,
    /// The most tokens of a row, by `o200k_base`.
    #[param(minimum = 1)]
    max_tokens: Option<u64>,
    /// What becomes of a chat with more of them.
    #[param(value_type = Option<TooLongWord>, inline)]
    too_long: Option<()>,
    /// Also tasks in which no model decided.
    include_scripted: Option<bool>,
    /// Whether secrets are taken out; with none, `allow_secrets` says that this is meant.
    #[param(value_type = Option<RedactWord>, inline)]
    redact: Option<()>,
    /// Secrets may be in the answer.
    allow_secrets: Option<bool>,
    /// How many of a hundred groups are for validation; 5 if not given.
    #[param(minimum = 0, maximum = 100)]
    validation_percent: Option<u8>,
}

/// Makes an enum that is only described.
macro_rules! words {
    ($($name:ident { $($variant:ident = $word:literal),+ })+) => { $(
        #[derive(utoipa::ToSchema)]
        #[expect(dead_code, reason = "only described; the words are export's")]
        enum $name { $(#[schema(rename = $word)] $variant),+ }
    )+ };
}
words! {
    FormatWord { OpenAi = "openai", HuggingFace = "hf", DpoOpenAi = "dpo-openai", DpoHuggingFace = "dpo-hf", Atif = "atif", Records = "records" }
    SplitWord { Train = "train", Validation = "validation" }
    ExamplesWord { Trajectory = "trajectory", Turn = "turn" }
    OutcomeWord { Accepted = "accepted", Rejected = "rejected" }
    TooLongWord { Drop = "drop", TruncateObservations = "truncate-observations" }
    RedactWord { Secrets = "secrets", None = "none" }
}

/// The records of ended tasks as training data: rows as JSON, one a line. Rows are streamed as they are made; where that fails half-way, the answer breaks off instead of ending.
#[utoipa::path(get, path = "/export", tag = "export", params(ExportParams), responses(
    (status = 200, description = "The rows.", body = String, content_type = "application/jsonl"),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(super) async fn export(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let (options, split) = parse(&uri)?;
    // One at a time: it keeps all cores busy, and with max_tokens has a vocabulary of some 40 MB in hand.
    let Ok(permit) = api.exports.clone().try_acquire_owned() else {
        let busy =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "another export is being sent; they go one after the other");
        return Err(busy.with(RETRY_AFTER, LATER));
    };
    let (chunks, sent) = mpsc::channel(WAITING);
    let stop = api.drain.child_token();
    let mut rest = Rest { sent, _stop: stop.clone().drop_guard() };
    let export = Export {
        options,
        archive: api.store.archive(),
        tools: tools::schemas(),
        secrets: api.secrets.to_vec(),
        runtime: Handle::current(),
        stop,
    };
    tokio::task::spawn_blocking(move || {
        let out = Chunks { to: chunks.clone(), runtime: export.runtime.clone() };
        let mut rows = Rows::new(BufWriter::with_capacity(CHUNK, out), split).uncounted();
        let exported = export.run(&mut rows, &mut |_, _| {});
        drop((rows, permit));
        match exported {
            // Said aloud: rows that end without it have broken off.
            Ok(_) => drop(chunks.blocking_send(Ok(Sent::End))),
            // Who asked has gone, or does not listen: nobody is there to be told.
            Err(ExportError::Stream(_)) => {}
            Err(error) => {
                if !matches!(error, ExportError::Stopped) {
                    tracing::error!(error = &error as &dyn std::error::Error, "an export broke off");
                }
                // If the client has gone, there is nobody to be told.
                drop(chunks.blocking_send(Err(error)));
            }
        }
    });
    // What cannot begin is answered as such.
    let first = match rest.sent.recv().await {
        Some(Err(ExportError::Store(error))) => return Err(error.into()),
        Some(Err(error @ ExportError::Option(_))) => return Err(Problem::parameter("?", error.to_string())),
        Some(Err(error)) => return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        first => first,
    };
    let body = stream::unfold(Some((Some(first), rest)), async |open| {
        let (first, mut rest) = open?;
        let next = match first {
            Some(first) => first,
            None => rest.sent.recv().await,
        };
        match next {
            Some(Ok(Sent::Rows(rows))) => Some((Ok(rows), Some((None, rest)))),
            Some(Ok(Sent::End)) => None,
            Some(Err(error)) => Some((Err(io::Error::other(error)), None)),
            None => Some((Err(io::Error::other("the export broke off")), None)),
        }
    });
    Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(body)).into_response())
}

/// What is on its way to the client.
enum Sent {
    Rows(Bytes),
    /// That was all.
    End,
}

/// Rows on their way to the client. When it has gone, the export stops.
struct Rest {
    sent: mpsc::Receiver<Result<Sent, ExportError>>,
    _stop: DropGuard,
}

/// What is written is sent.
struct Chunks {
    to: mpsc::Sender<Result<Sent, ExportError>>,
    runtime: Handle,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let rows = Sent::Rows(Bytes::copy_from_slice(bytes));
        let sent = self.runtime.block_on(tokio::time::timeout(SLOWEST, self.to.send(Ok(rows))));
        match sent {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn parse(uri: &Uri) -> Result<(Options, Option<Split>), Problem> {
    let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(pairs)| pairs)
        .map_err(|error| Problem::parameter("?", error.body_text()))?;
    let (split, options): (Vec<_>, Vec<_>) = pairs.iter().partition(|(name, _)| name == "split");
    let split = match split.as_slice() {
        [] => None,
        [(_, word)] => {
            Some(Split::from_word(word).ok_or_else(|| Problem::parameter("?split", "must be train or validation"))?)
        }
        _ => return Err(Problem::parameter("?split", "is given more than once")),
    };
    let options = Options::from_pairs(options.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let options = options.map_err(|BadOption { option, detail }| Problem::parameter(format!("?{option}"), detail))?;
    Ok((options, split))
}
