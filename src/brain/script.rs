//! The brain that needs no model: the steps stand in the task itself.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Brain, BrainError, StepRequest, farewell};
use crate::domain::{Json, Payload};

/// Answers iteration n with step n of the task's `"script": [{"event": …}, …]`, whatever the tools said. It keeps no
/// state.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScriptBrain;

#[async_trait]
impl Brain for ScriptBrain {
    async fn step(&self, request: &StepRequest) -> Result<Json, BrainError> {
        if Payload::abort_reason(&request.payload).is_some() {
            return Ok(farewell());
        }
        reply(&request.task, request.iteration).map_err(BrainError::Protocol)
    }
}

/// What `task`'s script says to `iteration`, counted from 1.
fn reply(task: &Json, iteration: u32) -> Result<Json, String> {
    #[derive(Deserialize)]
    struct Scripted<'a> {
        #[serde(borrow)]
        script: Option<Vec<&'a RawValue>>,
    }
    let scripted: Scripted<'_> = serde_json::from_str(task.as_str())
        .map_err(|error| format!("the script brain needs \"script\", a list of replies, in the task: {error}"))?;
    let Some(script) = scripted.script else {
        return Err("the script brain needs \"script\", a list of replies, in the task; to have a model decide, \
             set MCP_SERVER_URL to a brain that answers POST /step"
            .to_owned());
    };
    let index = usize::try_from(iteration.saturating_sub(1)).unwrap_or(usize::MAX);
    let step = script.get(index);
    let step = step.ok_or_else(|| format!("the task's script ended after {} steps without a finish", script.len()))?;
    Json::parse(step.get()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_iteration_has_its_step_and_the_end_is_told() {
        let task = Json::parse(r#"{"instruction":"x","script":[{"event":"a","n":1e-7},{"event":"b"}]}"#).unwrap();
        assert_eq!(reply(&task, 1).unwrap().as_str(), r#"{"event":"a","n":1e-7}"#);
        assert_eq!(reply(&task, 2).unwrap().as_str(), r#"{"event":"b"}"#);
        assert_eq!(reply(&task, 3).unwrap_err(), "the task's script ended after 2 steps without a finish");
    }

    #[test]
    fn a_task_without_a_script_is_told_how_to_get_a_model() {
        let error = |text| reply(&Json::parse(text).unwrap(), 1).unwrap_err();
        assert!(error(r#"{"instruction":"x"}"#).contains("MCP_SERVER_URL"));
        assert!(error(r#"{"instruction":"x","script":{}}"#).contains("a list of replies"));
    }
}
