//! What is known of a task as a whole, beside its lines.

use serde::Serialize;

use crate::domain::{Json, Models, Outcome, Task, TaskError};

/// The content of `{task_id}.meta.json`.
pub struct Meta<'a> {
    /// The task as it stands.
    pub task: &'a Task,
    /// The tools' descriptions with their JSON Schemas.
    pub tools: &'a Json,
    /// The models the brain was told of.
    pub models: &'a Models,
}

impl Meta<'_> {
    pub(super) fn render(&self) -> String {
        #[derive(Serialize)]
        struct Wire<'a> {
            task_id: &'a str,
            task: &'a Json,
            tools: &'a Json,
            models: &'a Models,
            version: &'static str,
            status: &'static str,
            outcome: Option<WireOutcome<'a>>,
            iterations: u32,
            usage: Option<crate::domain::Usage>,
            created_at: String,
            started_at: Option<String>,
            finished_at: Option<String>,
        }
        #[derive(Default, Serialize)]
        struct WireOutcome<'a> {
            summary: Option<&'a str>,
            error: Option<WireError<'a>>,
        }
        #[derive(Serialize)]
        struct WireError<'a> {
            code: &'static str,
            message: &'a str,
        }
        let task = self.task;
        let outcome = task.state.outcome().map(|outcome| match outcome {
            Outcome::Succeeded { summary } => WireOutcome { summary: summary.as_deref(), error: None },
            Outcome::Failed(TaskError { code, message }) => {
                WireOutcome { summary: None, error: Some(WireError { code: code.as_str(), message }) }
            }
            Outcome::Cancelled => WireOutcome::default(),
        });
        let wire = Wire {
            task_id: task.id.as_str(),
            task: &task.posted,
            tools: self.tools,
            models: self.models,
            version: env!("CARGO_PKG_VERSION"),
            status: task.state.status().as_str(),
            outcome,
            iterations: task.iteration,
            usage: task.usage,
            created_at: task.created_at.to_string(),
            started_at: task.started_at.map(|at| at.to_string()),
            finished_at: task.finished_at.map(|at| at.to_string()),
        };
        let mut text = Json::of(&wire).to_string();
        text.push('\n');
        text
    }
}
