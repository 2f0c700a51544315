//! `GET /export`: records as training data, streamed.

mod sending;

use std::io::BufWriter;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle;
use utoipa::IntoParams;

use super::Api;
use super::problem::{Problem, Refusals};
use super::tasks::filter;
use crate::export::{BadOption, Export, ExportError, Options, Rows, Split};
use crate::tools;

/// Bytes that are sent at a time: fewer cost more in handing them over.
const CHUNK: usize = 64 * 1024;

/// A client who takes not even a chunk in this time is given up: others wait for their turn.
const PATIENCE: Duration = Duration::from_mins(1);

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
    #[param(pattern = "\\S")]
    system: Option<String>,
    /// Only tasks that ended so, separated by commas; if not given, succeeded for a chat, all but cancelled for a preference, all for the others.
    #[param(value_type = Option<Vec<EndWord>>, inline, style = Form, explode = false, min_items = 1)]
    status: Option<()>,
    #[param(schema_with = filter::labels, required = false)]
    label: Option<()>,
    #[param(schema_with = filter::since, required = false)]
    since: Option<()>,
    #[param(schema_with = filter::until, required = false)]
    until: Option<()>,
    /// Only tasks with this workspace, as it was posted.
    #[param(pattern = "\\S")]
    workspace: Option<String>,
    /// Only tasks with this verdict; if not given, for a chat, all but the rejected.
    #[param(value_type = Option<OutcomeWord>, inline)]
    outcome: Option<()>,
    /// At most so many tasks, or preferences, of a group.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_u32)]
    max_per_group: Option<()>,
    /// Leave out tasks that did the same as one before.
    dedupe: Option<bool>,
    /// The most tokens of a row, by `o200k_base`.
    #[param(minimum = 1)]
    max_tokens: Option<i64>,
    /// What becomes of a chat with more tokens than that; `truncate-observations` needs `max_tokens`.
    #[param(value_type = Option<TooLongWord>, inline)]
    too_long: Option<()>,
    /// Also tasks in which no model decided.
    include_scripted: Option<bool>,
    /// What is taken out: what looks like a secret, or nothing, for which `allow_secrets` has to say that it is meant.
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
    EndWord { Succeeded = "succeeded", Failed = "failed", Cancelled = "cancelled" }
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
pub(super) async fn export(State(api): State<Api>, method: Method, uri: Uri) -> Result<Response, Problem> {
    let (options, split) = parse(&uri)?;
    let head = [(CONTENT_TYPE, "application/jsonl")];
    if method == Method::HEAD {
        // Nothing is made that nobody would get.
        return Ok(head.into_response());
    }
    // One at a time: it keeps all cores busy, and with max_tokens has a vocabulary of some 40 MB in hand.
    let Ok(permit) = api.exports.clone().try_acquire_owned() else {
        let busy =
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "another export is being sent; they go one after the other");
        return Err(busy.with(RETRY_AFTER, LATER));
    };
    let stop = api.drain.child_token();
    let (sending, sent) = sending::way(Handle::current(), PATIENCE, stop.clone().drop_guard());
    let export = Export {
        options,
        archive: api.store.archive(),
        tools: tools::schemas(),
        secrets: api.secrets.to_vec(),
        runtime: Handle::current(),
        stop,
    };
    tokio::task::spawn_blocking(move || {
        let mut rows = Rows::new(BufWriter::with_capacity(CHUNK, sending.clone()), split).uncounted();
        let exported = export.run(&mut rows, &mut |_, _| {});
        drop(permit);
        match exported {
            Ok(_) => sending.end(),
            // Who asked has gone, or takes nothing: nobody is there to be told.
            Err(ExportError::Stream(_)) => {}
            Err(error) => {
                if !matches!(error, ExportError::Stopped) {
                    tracing::error!(error = &error as &dyn std::error::Error, "an export broke off");
                }
                sending.fail(error);
            }
        }
    });
    let unavailable = |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    let rows = sent.begun().await.map_err(|error| match error {
        Some(ExportError::Store(error)) => error.into(),
        Some(ExportError::Option(BadOption { option, detail })) => Problem::parameter(format!("?{option}"), detail),
        Some(error) => unavailable(error.to_string()),
        None => unavailable("the export broke off".to_owned()),
    })?;
    Ok((head, Body::from_stream(rows)).into_response())
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
