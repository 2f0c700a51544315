//! What a model is told at the beginning: who it is, and the task.

use super::message::Message;
use super::toolset::Toolset;
use crate::brain::fields::{Fields, object};
use crate::domain::Json;

/// Fields of a task that the service has a use for; the model is told of the others.
const OPTIONS: &[&str] =
    &["deadline_seconds", "instruction", "isolation", "labels", "max_iterations", "priority", "task_id", "workspace"];

/// The first two messages.
pub(super) fn opening(task: &Json, tools: &Toolset) -> Vec<Message> {
    let fields = Fields::of(task.as_str()).unwrap_or_default();
    vec![Message::System(system(&fields, tools)), Message::User(instruction(&fields))]
}

fn system(task: &Fields<'_>, tools: &Toolset) -> String {
    let mut text = format!(
        "You are codex-agent, a software engineer who works alone on a task in a workspace, a directory of files. \
         Your tools: {}. All paths are relative to the workspace. Commands are started as they are: there is no shell, so \
         no pipes, redirections, && or wildcards. Look at files before you change them, and check your changes, with the \
         project's own tests where it has some. A result with \"status\":\"failure\" says what was wrong: correct it and \
         go on. When the task is done, or you are certain that it cannot be, answer without a tool call: say in a few \
         sentences what you did, or why it cannot be done.",
        tools.names()
    );
    if let Some(steps) = task.count("max_iterations") {
        let more = format!(" You have {steps} steps in all; each tool call is one, and so is your last answer.");
        text.push_str(&more);
    }
    text
}

/// The instruction, and what else the task has, as it was posted.
pub(super) fn instruction(task: &Fields<'_>) -> String {
    let mut text = task.string("instruction").unwrap_or_default();
    let others: Vec<_> = task.0.iter().filter(|(name, _)| !OPTIONS.contains(&name.as_str())).collect();
    if !others.is_empty() {
        text.push_str("\n\nThe task also has:\n");
        text.push_str(&object(others.iter().map(|(name, raw)| (name.as_str(), raw.get()))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_told_what_the_service_has_no_use_for() {
        let tools = Toolset::new(&Json::parse(r#"[{"name":"a"},{"name":"b"}]"#).unwrap());
        let task = r#"{"instruction":"Do it.","task_id":"x","max_iterations":9,"labels":{},"z":1e-7,"a":[1]}"#;
        let messages = opening(&Json::parse(task).unwrap(), &tools);
        assert_eq!(messages[1], Message::User("Do it.\n\nThe task also has:\n{\"z\":1e-7,\"a\":[1]}".into()));
        let Message::System(system) = &messages[0] else { panic!("{messages:?}") };
        assert!(system.contains("Your tools: a, b.") && system.contains("9 steps"), "{system}");
        let messages = opening(&Json::parse(r#"{"instruction":"Do it."}"#).unwrap(), &tools);
        assert_eq!(messages[1], Message::User("Do it.".into()));
        assert!(!messages[0].told().contains("steps in all"));
    }
}
