//! A trajectory in the Agent Trajectory Interchange Format, which Harbor reads.
//!
//! One step for the instruction, one for each answer of the brain; what a tool answered is the observation of the step that
//! called it. Unlike in the chat formats, nothing is left out: unknown tools, arguments that are none, an end without success.

use serde::Serialize;

use super::chat;
use super::trajectory::{Moment, Trajectory};
use crate::domain::{Json, Outcome, Task, TaskError, Usage, VerdictOutcome};

/// The version of the format that is written.
const VERSION: &str = "ATIF-v1.7";

/// The name of this agent in it.
const AGENT: &str = "codex-agent";

#[derive(Serialize)]
struct Document<'a> {
    schema_version: &'static str,
    session_id: &'a str,
    trajectory_id: &'a str,
    agent: Agent<'a>,
    steps: Vec<Step<'a>>,
    final_metrics: Metrics,
    extra: Extra<'a>,
}

#[derive(Serialize)]
struct Agent<'a> {
    name: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_name: Option<&'a str>,
    tool_definitions: &'a Json,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the format's names")]
struct Step<'a> {
    step_id: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
    source: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCall<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observation: Option<Observation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<StepMetrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Times>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the format's names")]
struct ToolCall<'a> {
    tool_call_id: String,
    function_name: &'a str,
    arguments: Arguments<'a>,
}

/// The format takes objects alone; what is none is put into one.
#[derive(Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Object(&'a Json),
    Other { value: &'a Json },
}

#[derive(Serialize)]
struct Observation<'a> {
    results: [ObservationResult<'a>; 1],
}

#[derive(Serialize)]
struct ObservationResult<'a> {
    source_call_id: String,
    content: &'a str,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the format's names")]
struct StepMetrics {
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
}

/// What took how long.
#[derive(Serialize)]
struct Times {
    #[serde(skip_serializing_if = "Option::is_none")]
    step_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_ms: Option<u64>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the format's names")]
struct Metrics {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_cached_tokens: Option<u64>,
    total_steps: usize,
}

#[derive(Serialize)]
struct Extra<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<Label<'a>>,
}

#[derive(Serialize)]
struct Problem<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct Label<'a> {
    outcome: Option<&'static str>,
    reward: Option<f64>,
    note: Option<&'a str>,
}

/// The task's trajectory as one line.
pub(super) fn document(task: &Task, words: &Words, trajectory: &Trajectory, tools: &Json) -> String {
    let mut steps = vec![Step { timestamp: None, source: "user", message: &trajectory.instruction, ..Step::agent(1) }];
    for (at, turn) in trajectory.turns.iter().enumerate() {
        let arguments = &turn.arguments;
        let arguments =
            if arguments.is_object() { Arguments::Object(arguments) } else { Arguments::Other { value: arguments } };
        let observed = turn
            .result
            .as_ref()
            .map(|result| ObservationResult { source_call_id: chat::id(at), content: result.as_str() });
        steps.push(Step {
            message: turn.said.as_deref().unwrap_or_default(),
            tool_calls: Some([ToolCall { tool_call_id: chat::id(at), function_name: &turn.name, arguments }]),
            observation: observed.map(|result| Observation { results: [result] }),
            ..Step::at(steps.len() + 1, &turn.at)
        });
    }
    if let Some(finish) = &trajectory.finish {
        let message = finish.summary.as_deref().unwrap_or_default();
        steps.push(Step { message, ..Step::at(steps.len() + 1, &finish.at) });
    }
    let usage = task.usage;
    let document = Document {
        schema_version: VERSION,
        session_id: task.id.as_str(),
        trajectory_id: task.id.as_str(),
        agent: Agent {
            name: AGENT,
            version: env!("CARGO_PKG_VERSION"),
            model_name: trajectory.model.as_deref(),
            tool_definitions: tools,
        },
        final_metrics: Metrics {
            total_prompt_tokens: usage.map(|usage| usage.prompt_tokens),
            total_completion_tokens: usage.map(|usage| usage.completion_tokens),
            total_cached_tokens: usage.and_then(|usage| usage.cached_tokens),
            total_steps: steps.len(),
        },
        steps,
        extra: Extra {
            status: task.state.status().as_str(),
            error: match task.state.outcome() {
                Some(Outcome::Failed(TaskError { code, .. })) => {
                    Some(Problem { code: code.as_str(), message: words.error.as_deref().unwrap_or_default() })
                }
                _ => None,
            },
            label: task.verdict.as_ref().map(|verdict| Label {
                outcome: verdict.outcome.map(VerdictOutcome::as_str),
                reward: verdict.reward,
                note: words.note.as_deref(),
            }),
        },
    };
    let mut text = Json::of(&document).to_string();
    text.push('\n');
    text
}

/// What people and servers have written about a task, with its secrets taken out.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) error: Option<String>,
    pub(super) note: Option<String>,
}

impl<'a> Step<'a> {
    /// A step of the agent that says nothing yet.
    fn agent(step_id: usize) -> Self {
        Self {
            step_id,
            timestamp: None,
            source: "agent",
            message: "",
            tool_calls: None,
            observation: None,
            metrics: None,
            extra: None,
        }
    }

    fn at(step_id: usize, moment: &'a Moment) -> Self {
        let metrics = |Usage { prompt_tokens, completion_tokens, cached_tokens }: Usage| StepMetrics {
            prompt_tokens,
            completion_tokens,
            cached_tokens,
        };
        let Moment { at, step_ms, tool_ms, usage } = moment;
        let (step_ms, tool_ms) = (*step_ms, *tool_ms);
        Self {
            timestamp: at.as_deref(),
            metrics: usage.map(metrics),
            extra: (step_ms.is_some() || tool_ms.is_some()).then_some(Times { step_ms, tool_ms }),
            ..Self::agent(step_id)
        }
    }
}
