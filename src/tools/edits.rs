//! The way of an edit: worked out, put on record, made. What is on record is enough to tell later, from the file alone,
//! whether an edit that was cut off had been made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::edit_file::{self, Edit, Made, Trace};
use super::workspace::Workspace;
use super::{ToolResult, Toolbox, arguments, failure, off_the_async_threads};
use crate::domain::{Intent, Json, ToolCall};
use crate::kill_point::kill_point;

/// How often an edit is worked out again because somebody else has changed the file meanwhile.
const TRIES: u32 = 8;

const CONTENDED: &str = "the file was changed by somebody else each time the edit was about to be made";

/// What the brain is told when neither content of the file says how far an edit came.
const UNKNOWN: &str = "interrupted: the worker stopped during this edit, and the file is by now neither as it was before \
                       nor as it was to become";

/// An edit that is worked out, or why it cannot be.
pub struct Plan {
    edit: Result<(Arc<Workspace>, Edit), Json>,
    intent: Option<Intent>,
    took: Duration,
}

/// Where the intent of an edit goes before the edit is made.
pub trait Intentions: Sync {
    /// Why it could not be put there; the edit is not made then.
    type Error: Send;
    /// Returns when it is on record.
    fn record(&self, intent: Intent) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl Plan {
    /// What is to go on record before it is made; `None` if nothing will be changed.
    pub fn intent(&self) -> Option<&Intent> {
        self.intent.as_ref()
    }
}

impl Toolbox {
    /// Works out an edit, if the call is one; nothing is changed.
    pub async fn plan(&self, workspace: Option<&str>, call: &ToolCall) -> Option<Plan> {
        if call.name != edit_file::NAME {
            return None;
        }
        let started = Instant::now();
        let refused = |message: String| Plan { edit: Err(failure(&message)), intent: None, took: started.elapsed() };
        let workspace = match self.workspace(workspace) {
            Ok(workspace) => Arc::new(workspace),
            Err(error) => return Some(refused(super::no_workspace(&error))),
        };
        let arguments = call.arguments.clone();
        let planned = off_the_async_threads(move || {
            let edit = arguments::parse(&arguments).and_then(|arguments| edit_file::plan(&workspace, &arguments))?;
            let intent = edit.intent();
            Ok((workspace, edit, intent))
        });
        Some(match planned.await {
            Ok((workspace, edit, intent)) => {
                Plan { edit: Ok((workspace, edit)), intent: Some(intent), took: started.elapsed() }
            }
            Err(message) => refused(message),
        })
    }

    /// Makes an edit whose intent is on record. Where the file has changed meanwhile it is worked out again, and
    /// `intentions` puts the new intent in the place of the old one.
    pub(super) async fn make<I: Intentions>(
        &self,
        workspace: Option<&str>,
        call: &ToolCall,
        plan: Option<Plan>,
        intentions: &I,
    ) -> Result<ToolResult, I::Error> {
        let (mut given, mut took) = (plan, Duration::ZERO);
        let done = |result, took| ToolResult { result, took, cut_off: false };
        for _ in 0..TRIES {
            let plan = if let Some(plan) = given.take() {
                plan
            } else {
                let Some(plan) = self.plan(workspace, call).await else { break };
                if let Some(intent) = plan.intent() {
                    intentions.record(intent.clone()).await?;
                }
                plan
            };
            let started = Instant::now();
            took += plan.took;
            let (workspace, edit) = match plan.edit {
                Ok(planned) => planned,
                Err(refused) => return Ok(done(refused, took)),
            };
            kill_point("edit-intended");
            let edits = Arc::clone(&self.edits);
            let made = off_the_async_threads(move || edit.make(&workspace, &edits)).await;
            kill_point("edit-made");
            took += started.elapsed();
            match made {
                Ok(Made::Done(output)) => return Ok(done(Json::of(&output), took)),
                Ok(Made::Stale) => {}
                Err(message) => return Ok(done(failure(&message), took)),
            }
        }
        Ok(done(failure(CONTENDED), took))
    }

    /// What is to be told of an edit that was cut off; `None` if it has yet to be made.
    pub async fn settle(&self, workspace: Option<&str>, call: &ToolCall, intent: Intent) -> Option<Json> {
        let Ok(workspace) = self.workspace(workspace) else { return Some(failure(UNKNOWN)) };
        let arguments = call.arguments.clone();
        let traced = off_the_async_threads(move || {
            let trace =
                arguments::parse(&arguments).map(|arguments| edit_file::trace(&workspace, &arguments, &intent))?;
            Ok((trace, intent.result))
        });
        match traced.await {
            Ok((Trace::Done, result)) => Some(result),
            Ok((Trace::ToDo, _)) => None,
            Ok((Trace::Unknown, _)) | Err(_) => Some(failure(UNKNOWN)),
        }
    }
}
