//! Which tasks are asked for: the parameters of a list.

use utoipa::IntoParams;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder};
use utoipa::openapi::{KnownFormat, Schema, SchemaFormat, Type};

use crate::domain::{LabelFilter, Status, TaskFilter, Timestamp, parse_moment};
use crate::http::params::Params;
use crate::http::problem::Problem;
use crate::http::view::StatusWord;

/// The names of the parameters, and of the one among them that may be repeated.
pub(in crate::http) const NAMES: [&str; 5] = ["status", LABEL, "since", "until", "workspace"];
pub(in crate::http) const LABEL: &str = "label";

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described; Params reads them")]
pub(in crate::http) struct FilterParams {
    /// Only tasks that stand so; several ways with commas between them.
    #[param(value_type = Option<Vec<StatusWord>>, inline, style = Form, explode = false, min_items = 1)]
    status: Option<()>,
    #[param(schema_with = labels, required = false)]
    label: Option<()>,
    #[param(schema_with = since, required = false)]
    since: Option<()>,
    #[param(schema_with = until, required = false)]
    until: Option<()>,
    /// Only tasks with this workspace, in the words of whoever posted it.
    #[param(min_length = 1)]
    workspace: Option<String>,
}

// Where a schema is made by hand, its description is, too.
pub(in crate::http) fn labels() -> Schema {
    let label = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[^=]"));
    let text = "Only tasks with this label: `KEY`, or `KEY=VALUE`. Given more than once: with all of these.";
    ArrayBuilder::new().items(label).description(Some(text)).into()
}

pub(in crate::http) fn since() -> Schema {
    moment_schema(
        "Only tasks that were accepted then or later: a time in RFC 3339, or a day, from its beginning in UTC.",
    )
}

pub(in crate::http) fn until() -> Schema {
    moment_schema("Only tasks that were accepted before.")
}

fn moment_schema(text: &str) -> Schema {
    let either = [KnownFormat::DateTime, KnownFormat::Date].into_iter().map(SchemaFormat::KnownFormat);
    let either = either.map(|format| ObjectBuilder::new().schema_type(Type::String).format(Some(format)));
    either.fold(AnyOfBuilder::new(), AnyOfBuilder::item).description(Some(text)).into()
}

/// Reads the filters among the parameters.
pub(in crate::http) fn filter(params: &Params) -> Result<TaskFilter, Problem> {
    let status = params.text("status").map(statuses).transpose()?.unwrap_or_default();
    let labels = params.texts(LABEL).map(label).collect::<Result<_, _>>()?;
    let (since, until) = (moment(params, "since")?, moment(params, "until")?);
    let workspace = params.text("workspace").map(str::to_owned);
    if workspace.as_ref().is_some_and(String::is_empty) {
        return Err(Problem::parameter("?workspace", "must not be empty"));
    }
    Ok(TaskFilter { status, labels, since, until, workspace })
}

fn statuses(list: &str) -> Result<Vec<Status>, Problem> {
    let statuses = list.split(',').map(Status::from_word).collect::<Option<_>>();
    statuses.ok_or_else(|| {
        let words: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        Problem::parameter("?status", format!("must be one of {}, or some with commas between them", words.join(", ")))
    })
}

fn label(text: &str) -> Result<LabelFilter, Problem> {
    text.parse().map_err(|error| Problem::parameter("?label", format!("{error}")))
}

fn moment(params: &Params, name: &str) -> Result<Option<Timestamp>, Problem> {
    let moment = params.text(name).map(parse_moment).transpose();
    moment.map_err(|detail| Problem::parameter(format!("?{name}"), format!("{detail} (in a query + is written %2B)")))
}
