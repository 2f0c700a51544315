//! `codex-agent run`: one task in the foreground.

use std::cell::Cell;
use std::path::PathBuf;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::logging::{self, To};
use super::{Exit, print_line, progress, read_input, signals};
use crate::app::{self, App};
use crate::config::{Config, Database, Role};
use crate::domain::{Json, Outcome, SpecLimits, Task, TaskId, TaskSpec, printable};
use crate::http::TaskView;
use crate::store::{NewTask, Submitted};

#[derive(Clone, clap::Args)]
pub(super) struct Options {
    /// The task as a JSON file; - or nothing: standard input
    #[arg(long = "task_file", alias = "task-file", value_name = "FILE")]
    task_file: Option<PathBuf>,

    /// What is printed to standard output at the end
    #[arg(
        short,
        long,
        default_value = "text",
        value_enum,
        value_name = "text|json|jsonl|id",
        hide_possible_values = true
    )]
    output: Output,

    /// No progress on standard error
    #[arg(short, long)]
    quiet: bool,
}

/// What is printed at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// How it ended, for people.
    Text,
    /// The task.
    Json,
    /// The record.
    Jsonl,
    /// The task's id.
    Id,
}

impl Options {
    pub(super) fn are_given(&self) -> bool {
        self.task_file.is_some() || self.quiet || self.output != Output::Text
    }

    pub(super) fn reads_stdin(&self) -> bool {
        self.task_file.as_ref().is_none_or(|path| path.as_os_str() == "-")
    }
}

pub(super) async fn run(mut config: Config, options: Options) -> anyhow::Result<Exit> {
    let limits =
        SpecLimits { default_iterations: config.max_mcp_iterations, max_iterations: config.max_iterations_limit };
    let text = read_input(options.task_file.as_ref())?;
    let spec = match parse(&text, limits) {
        Ok(spec) => spec,
        Err(message) => {
            let from = options.task_file.as_ref().filter(|_| !options.reads_stdin());
            let name = from.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
            eprintln!("codex-agent: {name}: {message}");
            return Ok(Exit::Usage);
        }
    };
    if let Database::Postgres(_) = config.database() {
        eprintln!(
            "codex-agent: DATABASE_URL: `run` needs an SQLite file: any worker on PostgreSQL might take the task; post it to a service"
        );
        return Ok(Exit::Usage);
    }
    let named = spec.id.is_some();
    let id = spec.id.clone().unwrap_or_else(app::new_task_id);
    // Whatever the services beside it do.
    config.role = Role::All;
    let app = app::build(&config, Some(id.clone())).await?;
    let _logging = logging::start(&config, To::Stderr, true, if options.quiet { "error" } else { "warn" })?;
    let new = NewTask { id: id.clone(), idempotency_key: None, spec, now: app.api.clock.now(), max_queued: u32::MAX };
    match app.store.submit(new).await? {
        Submitted::Created(_) => {}
        Submitted::Known(task) if task.has_ended() => {
            eprintln!("codex-agent: {id} has ended before; this is how");
        }
        Submitted::Known(_) => eprintln!("codex-agent: {id} goes on where it stopped"),
        Submitted::Conflict | Submitted::QueueFull => {
            anyhow::bail!("task_id: {id} was used before, with another task");
        }
    }

    // The work is never dropped half-way: it is told to stop, and waited for.
    let stop = CancellationToken::new();
    let interrupted = Cell::new(false);
    let watched = async {
        let watching = watch(&app, &id, options.quiet);
        tokio::pin!(watching);
        let ended = tokio::select! {
            ended = &mut watching => Some(ended),
            () = stop.cancelled() => None,
            () = signals::next() => {
                interrupted.set(true);
                if named {
                    None
                } else {
                    // Nobody could name it to go on with it.
                    if let Err(error) = app.store.request_cancel(&id, app.api.clock.now()).await {
                        Some(Err(error.into()))
                    } else {
                        tokio::select! {
                            ended = &mut watching => Some(ended),
                            () = signals::next() => None,
                        }
                    }
                }
            }
        };
        // Whatever runs is let go; what it had come to is on record.
        app.halt();
        stop.cancel();
        ended.transpose()
    };
    let worked = async {
        let worked = app::work(&app, stop.cancelled()).await;
        stop.cancel();
        worked
    };
    let (task, worked) = tokio::join!(watched, worked);
    worked?;
    let task = task?;
    let Some(task) = task else {
        app.close().await;
        eprintln!("codex-agent: interrupted; {id} goes on when this OUTPUT_DIR is used again");
        return Ok(Exit::Interrupted);
    };
    print(&app, &task, options.output).await?;
    app.close().await;
    Ok(if interrupted.get() { Exit::Interrupted } else { exit_of(&task) })
}

fn parse(text: &str, limits: SpecLimits) -> Result<TaskSpec, String> {
    if text.trim().is_empty() {
        return Err("is empty, and a task is a JSON object".to_owned());
    }
    let posted = Json::parse(text).map_err(|error| error.to_string())?;
    TaskSpec::parse(posted, limits).map_err(|errors| {
        let list: Vec<_> = errors
            .iter()
            .map(|e| format!("{} {}", e.pointer.trim_start_matches('/'), e.detail).trim().to_owned())
            .collect();
        list.join("; ")
    })
}

/// Shows each iteration as it comes, until the task has ended.
async fn watch(app: &App, id: &TaskId, quiet: bool) -> anyhow::Result<Task> {
    let subscription = app.store.changes().subscribe(id);
    let mut shown = 0;
    loop {
        let change = subscription.next_change();
        let task = app.store.task(id).await?.context("the task is gone")?;
        if !quiet {
            for line in app.store.lines(id, shown, u32::MAX).await? {
                shown = line.end;
                if let Some(text) = progress::describe(&line.line) {
                    eprintln!("{text}");
                }
            }
        }
        if task.has_ended() {
            return Ok(task);
        }
        change.await;
    }
}

async fn print(app: &App, task: &Task, output: Output) -> anyhow::Result<()> {
    let text = match output {
        Output::Id => task.id.to_string(),
        Output::Json => Json::of(&TaskView::from(task.clone())).to_string(),
        Output::Jsonl => {
            let lines = app.store.lines(&task.id, 0, u32::MAX).await?;
            lines.iter().map(|line| line.line.as_str()).collect::<String>().trim_end().to_owned()
        }
        Output::Text => match task.state.outcome() {
            Some(Outcome::Succeeded { summary }) => {
                format!("succeeded: {}", printable(summary.as_deref().unwrap_or_default()))
            }
            Some(Outcome::Failed(error)) => format!("failed: {}: {}", error.code, printable(&error.message)),
            Some(Outcome::Cancelled) => "cancelled".to_owned(),
            None => task.state.status().to_string(),
        },
    };
    Ok(print_line(&text)?)
}

fn exit_of(task: &Task) -> Exit {
    match task.state.outcome() {
        Some(Outcome::Succeeded { .. }) => Exit::Done,
        Some(Outcome::Cancelled) => Exit::Cancelled,
        Some(Outcome::Failed(_)) | None => Exit::Unsuccessful,
    }
}
