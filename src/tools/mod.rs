//! The three tools that a brain may use.
//!
//! ```text
//!  ToolCall ─► Toolbox::call ─► arguments (strict, named errors) ─► edit_file   ┐
//!                                                                   read_file   ├─► Workspace ─► files
//!                                                                   run_command ┘      │
//!                                                                     │ policy         └─ directory handle
//!                                                                     └► Sandbox::execute
//! ```
//!
//! A failure is a result for the brain, never the end of the task: every way out is
//! `{"status":"success"|"failure", …}`. One tool is one file: its arguments as a struct (the JSON Schema comes from
//! the same struct), the work, and the result as a struct.
//!
//! Deliberately absent: trust in a path. Files are reached through [`Workspace`] alone, which holds a directory
//! handle and never compares strings.

mod arguments;
mod diff;
mod edit_file;
mod edits;
mod lines;
pub mod patch;
pub mod policy;
mod read_file;
mod run_command;
mod workspace;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::PartialSchema;

pub use edits::{Intentions, Plan};
pub use policy::{Policy, PolicyError};
pub use workspace::{PathError, Workspace};

use crate::domain::{Json, ToolCall};
use crate::sandbox::{Limits, Sandbox};

/// What the tools work with, the same for all tasks.
pub struct Toolbox {
    code_dir: PathBuf,
    settings: Settings,
    /// One edit at a time: between a file's hash being compared and the file being replaced nobody else writes it.
    edits: Arc<Mutex<()>>,
    /// Commands at a time: more of them than cores only get in each other's way.
    commands: Semaphore,
}

/// What is configurable about the tools.
#[derive(Clone)]
pub struct Settings {
    /// `CMD_TIMEOUT`
    pub timeout: Duration,
    /// `CMD_TIMEOUT_MAX`
    pub timeout_max: Duration,
    /// `CMD_MAX_OUTPUT`, bytes of each stream
    pub max_output: usize,
    /// `MAX_COMMANDS`
    pub max_commands: usize,
    /// Where commands run.
    pub sandbox: Arc<Sandbox>,
    /// What a command may use.
    pub limits: Limits,
    /// Which commands are refused: `COMMAND_POLICY`, or the built-in rules.
    pub policy: Arc<Policy>,
}

/// What a tool answered, and how long it took.
#[derive(Clone, Debug)]
pub struct ToolResult {
    /// `status` and what the tool adds.
    pub result: Json,
    /// From the call to the result.
    pub took: Duration,
    /// Whether it was broken off by `stop`.
    pub cut_off: bool,
}

impl ToolResult {
    /// Whether it did what it was to do. Every result begins with its `status`.
    pub fn succeeded(&self) -> bool {
        self.result.as_str().starts_with(r#"{"status":"success""#)
    }
}

impl Toolbox {
    /// Tools for the workspaces below `code_dir`.
    pub fn new(code_dir: PathBuf, settings: Settings) -> Self {
        let commands = Semaphore::new(settings.max_commands);
        Self { code_dir, settings, edits: Arc::default(), commands }
    }

    /// Where commands run.
    pub fn sandbox(&self) -> &Sandbox {
        &self.settings.sandbox
    }

    /// Opens a task's workspace, or says why it cannot be.
    pub fn workspace(&self, below: Option<&str>) -> Result<Workspace, PathError> {
        Workspace::open(&self.code_dir, below)
    }

    /// Runs one tool. `stop` kills a running command; its result then has what was printed so far.
    ///
    /// An edit is made when what it is about to do is on record: `plan` has been put there by the caller, and where there
    /// is none, or the file has changed since, `intentions` takes it.
    pub async fn call<I: Intentions>(
        &self,
        workspace: Option<&str>,
        call: &ToolCall,
        plan: Option<Plan>,
        intentions: &I,
        stop: &CancellationToken,
    ) -> Result<ToolResult, I::Error> {
        if call.name == edit_file::NAME {
            return self.make(workspace, call, plan, intentions).await;
        }
        let started = Instant::now();
        let (result, cut_off) = match self.workspace(workspace) {
            Ok(workspace) => self.dispatch(workspace, call, stop).await,
            Err(error) => (failure(&no_workspace(&error)), false),
        };
        Ok(ToolResult { result, took: started.elapsed(), cut_off })
    }

    async fn dispatch(&self, workspace: Workspace, call: &ToolCall, stop: &CancellationToken) -> (Json, bool) {
        let arguments = call.arguments.clone();
        let result = match call.name.as_str() {
            read_file::NAME => match arguments::parse(&arguments) {
                Ok(asked) => read(workspace, asked).await,
                Err(message) => failure(&message),
            },
            run_command::NAME => match arguments::parse(&arguments) {
                Ok(arguments) => return run_command::run(self, &workspace, arguments, stop).await,
                Err(message) => failure(&message),
            },
            other => failure(&format!("unknown tool {other:?}; the tools are edit_file, read_file and run_command")),
        };
        (result, false)
    }
}

async fn read(workspace: Workspace, asked: read_file::Arguments) -> Json {
    let output = match read_file::at_once(&workspace, &asked) {
        Some(output) => Ok(output),
        None => off_the_async_threads(move || read_file::run(&workspace, &asked)).await,
    };
    output.map_or_else(|message| failure(&message), |output| Json::of(&output))
}

fn no_workspace(error: &PathError) -> String {
    format!("the task's workspace cannot be opened: {error}")
}

/// Whether there is a tool of that name.
pub fn is_known(name: &str) -> bool {
    [edit_file::NAME, read_file::NAME, run_command::NAME].contains(&name)
}

/// Whether a call that was cut off may simply be made again. An edit may where no intent is on record with it: then
/// nothing was changed.
pub fn is_repeatable(name: &str) -> bool {
    name != run_command::NAME
}

/// The tools as models are told of them: name, description and JSON Schema of the arguments.
pub fn schemas() -> Json {
    #[derive(Serialize)]
    struct Tool {
        name: &'static str,
        description: &'static str,
        parameters: utoipa::openapi::RefOr<utoipa::openapi::Schema>,
    }
    fn tool<A: PartialSchema>(name: &'static str, description: &'static str) -> Tool {
        Tool { name, description, parameters: A::schema() }
    }
    Json::of(&[
        tool::<edit_file::Arguments>(edit_file::NAME, edit_file::DESCRIPTION),
        tool::<read_file::Arguments>(read_file::NAME, read_file::DESCRIPTION),
        tool::<run_command::Arguments>(run_command::NAME, run_command::DESCRIPTION),
    ])
}

/// The result of a call that did not do what it was to do.
pub fn failure(message: &str) -> Json {
    #[derive(Serialize)]
    struct Failure<'a> {
        status: &'static str,
        message: &'a str,
    }
    Json::of(&Failure { status: "failure", message })
}

/// Files are read and written off the async threads.
async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a file tool panicked");
        Err("the tool failed for a reason of its own; the call had no certain effect".to_owned())
    })
}
