//! `GET /tasks`: the tasks, newest first.

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::filter::{self, FilterParams, filter};
use crate::http::Api;
use crate::http::params::Params;
use crate::http::problem::{Problem, Refusals};
use crate::http::view::TaskView;
use crate::store::{Cursor, ListQuery, Listed};

/// Tasks on a page when the client does not say.
const DEFAULT_LIMIT: u32 = 50;

/// The most tasks on a page.
const MAX_LIMIT: u32 = 200;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described; Params reads them")]
pub(in crate::http) struct ListParams {
    /// The most tasks on the page; 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[1-9][0-9]{0,17}$")]
    cursor: Option<String>,
}

/// A page of tasks.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Page {
    tasks: Vec<TaskView>,
    /// To be given as `cursor` for the next page; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List tasks, newest first. A page has fewer than `limit`, or none, where tasks are very long or few of many are what was asked for: there is more as long as there is a `next_cursor`. Tasks that arrive meanwhile disturb no listing: each one is on one page at most.
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(FilterParams, ListParams), responses(
    (status = 200, description = "A page.", body = Page),
    (status = 422, description = "A parameter is at fault.", body = Problem, content_type = "application/problem+json"),
    Refusals,
))]
pub(in crate::http) async fn list(State(api): State<Api>, uri: Uri) -> Result<JsonBody<Page>, Problem> {
    let known = [&filter::NAMES[..], &["limit", "cursor"]].concat();
    let params = Params::with_repeated(&uri, &known, &[filter::LABEL])?;
    let limit = params.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let filter = filter(&params)?;
    let before = params.text("cursor").map(parse_cursor).transpose()?;

    let Listed { tasks, next } = api.store.list(ListQuery { filter, before, limit }).await?;
    let next_cursor = next.map(|cursor| cursor.0.to_string());
    Ok(JsonBody(Page { tasks: tasks.into_iter().map(TaskView::from).collect(), next_cursor }))
}

/// A cursor is the place of a task in the order of arrival. To clients it is an opaque word.
fn parse_cursor(text: &str) -> Result<Cursor, Problem> {
    let digits = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let place = text.parse().ok().filter(|_| digits);
    place.map(Cursor).ok_or_else(|| Problem::parameter("?cursor", "is not a next_cursor of this service"))
}
