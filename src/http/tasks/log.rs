//! `GET /tasks/{id}/log`: the record.
//!
//! The store says how long the record is; no more of the file than that is ever sent, so a line is whole or not there.

use std::io::{self, Cursor, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;

use async_compression::tokio::bufread::GzipEncoder;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    IF_RANGE, RANGE, VARY,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio_util::io::{ReaderStream, StreamReader};
use utoipa::IntoParams;

use super::follow::Follower;
use super::range::{self, Asked};
use super::{TaskPath, named};
use crate::domain::{Task, TaskId, Timestamp};
use crate::http::Api;
use crate::http::params::Params;
use crate::http::problem::{Problem, Refusals};
use crate::http::view::names_tag;
use crate::recorder::RecordError;
use crate::store::{Store, StoreError};

/// Bytes read from the file at a time: fewer, and the hop to the file thread costs more than the copy.
const CHUNK: usize = 256 * 1024;

/// The most lines read from the store at a time, where it is read from.
const LINES: u64 = 64;

/// The largest iteration that can be asked for: the document gives the number as an int32, and no task comes near it.
const MAX_AFTER: u32 = i32::MAX.cast_unsigned();

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described; Params reads them")]
pub(in crate::http) struct LogParams {
    /// Only iterations after this one.
    #[param(minimum = 0, maximum = 2_147_483_647)]
    after: Option<u32>,
    /// Keep sending lines as they come, until the task has ended.
    follow: Option<bool>,
}

/// The record so far: one JSON object a line, whole lines only.
#[utoipa::path(get, path = "/tasks/{id}/log", tag = "tasks", params(TaskPath, LogParams,
    ("Range" = Option<String>, Header, description = "One range of bytes."),
    ("If-None-Match" = Option<String>, Header, description = "The ETag of what is known already."),
), responses(
    (status = 200, description = "The lines.", body = String, content_type = "application/jsonl", headers(("etag" = String, description = "Names this state."))),
    (status = 206, description = "The bytes asked for.", body = String, content_type = "application/jsonl"),
    (status = 304, description = "Nothing new."),
    (status = 404, description = "No such task.", body = Problem, content_type = "application/problem+json"),
    (status = 416, description = "The record has no such bytes.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(in crate::http) async fn log(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = named(path)?;
    let params = Params::parse(&uri, &["after", "follow"])?;
    let after = params.number("after", 0..=MAX_AFTER)?.unwrap_or(0);
    let follow = params.flag("follow")?;
    let task = api.store.task(&id).await?.ok_or_else(Problem::no_such_task)?;
    if follow {
        let lines = stream(api, &task, after);
        return Ok(([(CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response());
    }
    let start = api.store.offset_after(&id, after).await?;

    let len = task.log_bytes.saturating_sub(start);
    let gzip = accepts_gzip(&headers) && !headers.contains_key(RANGE);
    let tag = etag(&task, start, gzip);
    if names_tag(headers.get(IF_NONE_MATCH), &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    // A range of another state of the record than the client has would not fit to its other bytes.
    let same = headers.get(IF_RANGE).is_none_or(|known| known.as_bytes() == tag.as_bytes());
    let asked = headers.get(RANGE).filter(|_| same).and_then(|value| value.to_str().ok());
    let mut answer = Response::builder()
        .header(CONTENT_TYPE, "application/jsonl")
        .header(ETAG, tag)
        .header(VARY, "accept-encoding")
        .header(ACCEPT_RANGES, "bytes");
    let (first, count) = match range::parse(asked, len) {
        Asked::Whole => (0, len),
        Asked::Part(first, last) => {
            answer =
                answer.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, format!("bytes {first}-{last}/{len}"));
            (first, last - first + 1)
        }
        Asked::Outside => {
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, format!("the record has {len} bytes"));
            let range = format!("bytes */{len}").parse().map_err(|_| Problem::no_such_task())?;
            return Err(problem.with(CONTENT_RANGE, range));
        }
    };
    let file = open(&api, &task, start + first, count).await?;
    let body = if gzip {
        answer = answer.header(CONTENT_ENCODING, "gzip");
        Body::from_stream(ReaderStream::with_capacity(GzipEncoder::new(BufReader::with_capacity(CHUNK, file)), CHUNK))
    } else {
        answer = answer.header(CONTENT_LENGTH, count);
        Body::from_stream(ReaderStream::with_capacity(file, CHUNK))
    };
    answer.body(body).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// The record from `offset`, no more than `count` bytes.
async fn open(api: &Api, task: &Task, offset: u64, count: u64) -> Result<Record, Problem> {
    if count == 0 {
        // Nothing is on record yet, perhaps, and there may be no file.
        return Ok(Box::pin(tokio::io::empty()));
    }
    if api.store.is_shared() {
        let lines = StoredLines::of(api, task, offset, count);
        let lines = futures_util::stream::try_unfold(lines, async |mut lines| {
            Ok::<_, io::Error>(lines.next().await?.map(|bytes| (bytes, lines)))
        });
        return Ok(Box::pin(StreamReader::new(Box::pin(lines))));
    }
    let read = async {
        api.recorder.catch_up(&task.id, task.log_bytes).await?;
        let path = api.recorder.path(&task.id);
        let opened = async {
            let mut file = tokio::fs::File::open(&path).await?;
            file.set_max_buf_size(CHUNK);
            file.seek(SeekFrom::Start(offset)).await?;
            io::Result::Ok(file.take(count))
        };
        opened.await.map_err(|source| RecordError::File { path: path.clone(), source })
    };
    let file = read.await.map_err(|error: RecordError| unreadable(&error))?;
    Ok(Box::pin(file))
}

/// A part of a record that is being read.
type Record = Pin<Box<dyn AsyncRead + Send>>;

/// The same from the store, where another worker may have the file, or this one an old one.
struct StoredLines {
    store: Arc<dyn Store>,
    id: TaskId,
    /// When the task was accepted.
    life: Timestamp,
    at: u64,
    left: u64,
    /// How long the last lines were, each.
    length: u64,
}

impl StoredLines {
    fn of(api: &Api, task: &Task, at: u64, left: u64) -> Self {
        // A line as long as the others of the record, as far as they are known.
        let length = task.log_bytes / u64::from(task.iteration.max(1));
        Self { store: Arc::clone(&api.store), id: task.id.clone(), life: task.created_at, at, left, length }
    }

    async fn next(&mut self) -> io::Result<Option<Cursor<Vec<u8>>>> {
        if self.left == 0 {
            return Ok(None);
        }
        // About as much as from a file. One may be as long as a payload and a reply.
        let count = u32::try_from((CHUNK as u64 / self.length.max(1)).clamp(1, LINES)).unwrap_or(1);
        let lines = self.store.lines(&self.id, self.at, count).await.map_err(io::Error::other)?;
        // Afterwards: they are this task's, if it is still there, and not another's that has got its name.
        let task = self.store.task(&self.id).await.map_err(io::Error::other)?;
        let (Some(first), Some(last), true) =
            (lines.first(), lines.last(), task.is_some_and(|task| task.created_at == self.life))
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let start = first.end - first.line.len() as u64;
        let (known, end) = (usize::try_from(self.at - start), last.end);
        self.length = (end - start) / lines.len() as u64;
        let mut lines = lines.into_iter().map(|line| line.line);
        let mut bytes = lines.next().unwrap_or_default();
        lines.for_each(|line| bytes.push_str(&line));
        let mut bytes = bytes.into_bytes();
        bytes.drain(..known.unwrap_or(usize::MAX).min(bytes.len()));
        bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= bytes.len() as u64;
        self.at = end;
        Ok(Some(Cursor::new(bytes)))
    }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a record cannot be read");
    Problem::busy("the record cannot be read now", 5)
}

/// Lines after iteration `after` as they come, until the task has ended, is gone, or the service stops.
fn stream(api: Api, task: &Task, after: u32) -> impl Stream<Item = io::Result<Vec<u8>>> + use<> {
    let lines = Lines { follower: Follower::of(api, task), after, sent: None };
    futures_util::stream::try_unfold(lines, async |mut lines| Ok(lines.next().await?.map(|bytes| (bytes, lines))))
}

/// One client that follows a record.
struct Lines {
    follower: Follower,
    after: u32,
    /// The place in the record up to which the client has it; unknown until iteration `after` is there.
    sent: Option<u64>,
}

impl Lines {
    /// The next lines, or a part of them if they are many; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let failed = |error: StoreError| io::Error::other(error);
        loop {
            let Some(look) = self.follower.look().await.map_err(failed)? else { return Ok(None) };
            let (api, id, task) = (&self.follower.api, &self.follower.id, &look.task);
            if self.sent.is_none() && task.iteration >= self.after {
                self.sent = Some(api.store.offset_after(id, self.after).await.map_err(failed)?);
            }
            if let Some(sent) = self.sent.filter(|sent| *sent < task.log_bytes) {
                if api.store.is_shared() {
                    // Whole lines, or a long one would be read again for each part of it.
                    let mut lines = StoredLines::of(api, task, sent, task.log_bytes - sent);
                    let bytes = lines.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?.into_inner();
                    self.sent = Some(sent + bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                let count = (task.log_bytes - sent).min(CHUNK as u64);
                let mut file =
                    open(api, task, sent, count).await.map_err(|_| io::Error::other("the record cannot be read"))?;
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).await?;
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.sent = Some(sent + bytes.len() as u64);
                return Ok(Some(bytes));
            }
            if !self.follower.wait(look).await {
                return Ok(None);
            }
        }
    }
}

/// Names one state of one life of a record, from one place on, in one encoding.
fn etag(task: &Task, start: u64, gzip: bool) -> String {
    let encoding = if gzip { "-gzip" } else { "" };
    format!("\"{:x}-{:x}-{start:x}{encoding}\"", task.created_at.millis(), task.log_bytes)
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0f32));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}
