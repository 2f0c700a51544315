//! `GET /tasks/{id}/events`: what becomes of a task, as server-sent events.
//!
//! Each event has a number and a content that follow from the store alone, so that any worker, also after a restart,
//! tells the same events to whoever comes back with the number of the last one it has:
//!
//! ```text
//!  1       status     queued
//!  2       status     running; it is left out if the task ended before a worker had it
//!  n + 2   iteration  the line of iteration n
//!  m + 3   end        the task; m is its last iteration
//! ```

use std::time::Duration;

use axum::Error;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use utoipa::ToSchema;

use super::follow::{Follower, Look};
use super::{TaskPath, named};
use crate::domain::{Task, TaskState};
use crate::http::Api;
use crate::http::params::Params;
use crate::http::problem::{Problem, Refusals};
use crate::http::view::TaskView;

const QUEUED: u64 = 1;
const RUNNING: u64 = 2;

/// So often something is sent, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A proxy that gathers an answer before it passes it on would hold events back; nginx asks for this header.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// One event; the fields of `text/event-stream`.
#[derive(ToSchema)]
#[schema(as = Event)]
#[expect(dead_code, reason = "only described; Events makes them")]
pub(in crate::http) struct Told {
    /// Its number: later events have higher ones.
    #[schema(pattern = "^[1-9][0-9]*$")]
    id: String,
    event: Kind,
    /// JSON: a task (of a `status` without what was posted), or a line of the record.
    data: String,
}

/// What an event tells.
#[derive(ToSchema)]
#[schema(as = EventKind, rename_all = "snake_case")]
#[expect(dead_code, reason = "only described; Events::event has the words")]
enum Kind {
    Status,
    Iteration,
    End,
}

/// What becomes of a task, as server-sent events: `status` (the task without what was posted), `iteration` (a line of the
/// record), `end` (the task). A client that comes back with the number of its last event gets those after it.
#[utoipa::path(get, path = "/tasks/{id}/events", tag = "tasks", params(TaskPath,
    ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that is known already."),
), responses(
    (status = 200, description = "The events, until the task has ended.", body = Told, content_type = "text/event-stream"),
    (status = 204, description = "The task has ended, and the client has its last event: it need not come back."),
    (status = 404, description = "No such task.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(in crate::http) async fn events(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = named(path)?;
    Params::parse(&uri, &[])?;
    let task = api.store.task(&id).await?.ok_or_else(Problem::no_such_task)?;
    let had = last_event(&headers);
    // A browser's EventSource comes back whenever a stream is over, unless it hears this.
    if task.has_ended() && end_number(&task) <= had {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = Events { follower: Follower::of(api, &task), had, place: None, look: None };
    let stream = futures_util::stream::try_unfold(events, async |mut events| {
        Ok::<_, Error>(events.next().await?.map(|event| (event, events)))
    });
    Ok(([UNBUFFERED], Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response())
}

/// The number of the last event that the client has, 0 if it has none.
///
/// One that is no number is none of ours, and counts as none: with a refusal an `EventSource` would give up for good,
/// and its page could not even learn why; from the beginning it gets all there is.
fn last_event(headers: &HeaderMap) -> u64 {
    let text = headers.get("last-event-id").and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().unwrap_or(0) } else { 0 }
}

/// One client and what it has.
struct Events {
    follower: Follower,
    /// The number of the last event that it has.
    had: u64,
    /// The place in the record behind the last iteration that it has, if that is known already.
    place: Option<u64>,
    /// The task as it was found for the event before, if that look has not been used up.
    look: Option<Look>,
}

impl Events {
    /// The next event; `None` after the last, when the task is gone, and when the service stops.
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        let mut known = self.look.take();
        loop {
            let look = match known.take() {
                Some(look) => look,
                None => match self.follower.look().await.map_err(Error::new)? {
                    Some(look) => look,
                    None => return Ok(None),
                },
            };
            let Some(number) = next_number(&look.task, self.had) else {
                if self.follower.wait(look).await {
                    continue;
                }
                return Ok(None);
            };
            let event = match told(&look.task, number)? {
                Some(event) => {
                    self.look = Some(look);
                    event
                }
                None => match self.line(number).await? {
                    Some(event) => event,
                    None => return Ok(None),
                },
            };
            self.had = number;
            return Ok(Some(event));
        }
    }

    /// The event that is a line of the record; `None` if the task has been deleted meanwhile.
    async fn line(&mut self, number: u64) -> Result<Option<Event>, Error> {
        let Some(line) = self.next_line().await? else { return Ok(None) };
        // It was found by the task's name, which is another one's perhaps: a client may have taken its time.
        self.look = self.follower.look().await.map_err(Error::new)?;
        Ok(self.look.is_some().then(|| event("iteration", number).data(line.trim_end())))
    }

    /// The line after those that the client has. One at a time: it may be as long as a payload and a reply.
    async fn next_line(&mut self) -> Result<Option<String>, Error> {
        let (store, id) = (&self.follower.api.store, &self.follower.id);
        let place = if let Some(place) = self.place {
            place
        } else {
            let had = u32::try_from(self.had.saturating_sub(RUNNING)).unwrap_or(u32::MAX);
            store.offset_after(id, had).await.map_err(Error::new)?
        };
        let line = store.lines(id, place, 1).await.map_err(Error::new)?.pop();
        self.place = line.as_ref().map(|line| line.end);
        Ok(line.map(|line| line.line))
    }
}

/// The event of that number, unless it is a line.
fn told(task: &Task, number: u64) -> Result<Option<Event>, Error> {
    let (kind, view) = match number {
        QUEUED => ("status", TaskView::without_posted(when_queued(task))),
        RUNNING => ("status", TaskView::without_posted(when_begun(task))),
        number if number == end_number(task) && task.has_ended() => ("end", TaskView::from(task.clone())),
        _ => return Ok(None),
    };
    event(kind, number).json_data(view).map(Some)
}

fn event(kind: &str, number: u64) -> Event {
    Event::default().id(number.to_string()).event(kind)
}

/// The number of the first event after `had`, if it has happened already.
fn next_number(task: &Task, had: u64) -> Option<u64> {
    let begun = task.started_at.is_some();
    match had {
        0 => Some(QUEUED),
        QUEUED if begun => Some(RUNNING),
        _ => {
            let next = had.max(RUNNING).saturating_add(1);
            let last = if task.has_ended() { end_number(task) } else { end_number(task) - 1 };
            (next <= last).then_some(next)
        }
    }
}

/// The number of the event after the last iteration so far.
fn end_number(task: &Task) -> u64 {
    RUNNING + u64::from(task.iteration) + 1
}

/// The task as it was when it had been accepted: what has come of it since is told by later events.
fn when_queued(task: &Task) -> Task {
    let (state, usage, verdict) = (TaskState::NEW, None, None);
    Task { state, attempt: 0, iteration: 0, usage, verdict, started_at: None, finished_at: None, ..task.clone() }
}

/// The task as it was when a worker had taken it up for the first time.
fn when_begun(task: &Task) -> Task {
    Task { state: TaskState::Running, attempt: 1, started_at: task.started_at, ..when_queued(task) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Json, Outcome, Timestamp};

    fn task(begun: bool, iteration: u32, ended: bool) -> Task {
        let at = Timestamp::from_millis;
        let state = match (begun, ended) {
            (_, true) => TaskState::Ended(Outcome::Cancelled),
            (true, false) => TaskState::Running,
            (false, false) => TaskState::NEW,
        };
        Task {
            id: "t".parse().unwrap(),
            posted: Json::empty_object(),
            workspace: None,
            state,
            cancel_requested: false,
            attempt: 3,
            iteration,
            max_iterations: 7,
            deadline: None,
            log_bytes: 0,
            revision: 1,
            usage: None,
            verdict: None,
            created_at: at(1),
            started_at: begun.then_some(at(2)),
            finished_at: ended.then_some(at(3)),
        }
    }

    /// The numbers of all events that a client gets that has this one.
    fn numbers(task: &Task, had: u64) -> Vec<u64> {
        std::iter::successors(next_number(task, had), |had| next_number(task, *had)).collect()
    }

    #[test]
    fn numbers_follow_from_the_task_alone() {
        assert_eq!(numbers(&task(false, 0, false), 0), [1]);
        assert_eq!(numbers(&task(true, 0, false), 0), [1, 2]);
        assert_eq!(numbers(&task(true, 2, false), 0), [1, 2, 3, 4]);
        assert_eq!(numbers(&task(true, 2, true), 0), [1, 2, 3, 4, 5]);
        // It was cancelled while it waited.
        assert_eq!(numbers(&task(false, 0, true), 0), [1, 3]);
        // Worker after worker died before the first iteration.
        assert_eq!(numbers(&task(true, 0, true), 0), [1, 2, 3]);
    }

    #[test]
    fn what_a_client_has_does_not_come_again() {
        let ended = task(true, 3, true);
        for had in 0..=6 {
            assert_eq!(numbers(&ended, had), (had + 1..=6).collect::<Vec<_>>());
        }
        assert!(numbers(&ended, 7).is_empty() && numbers(&ended, u64::MAX).is_empty());
    }

    #[test]
    fn an_earlier_state_is_told_as_it_was() {
        let now = task(true, 3, true);
        let (queued, begun) = (when_queued(&now), when_begun(&now));
        assert_eq!((queued.state.status().as_str(), queued.attempt, queued.iteration), ("queued", 0, 0));
        assert_eq!((begun.state.status().as_str(), begun.attempt, begun.iteration), ("running", 1, 0));
        assert_eq!((queued.started_at, begun.started_at, begun.finished_at), (None, now.started_at, None));
    }
}
