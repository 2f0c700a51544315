//! What the calls of a task left in its workspace, held against what its record says of them.

use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::audit::Line;
use crate::plan::Plan;
use crate::steps::{EDITS, Effect, RAN, files};
use crate::storm::Storm;
use crate::table::Table;

/// Each call that is on record, its result, and what it left.
pub fn effects(table: &mut Table, storm: &Storm, plan: &Plan, lines: &[Line]) {
    let json = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap();
    let called = lines.iter().filter(|line| json(&line.mcp_reply)["event"] == "tool_call").count();
    let results: Vec<Option<Value>> =
        (1..=plan.steps.len()).map(|at| lines.get(at).map(|next| json(&next.agent_input)["result"].clone())).collect();
    let mut made = Vec::new();
    for (at, (step, result)) in plan.steps.iter().zip(&results).enumerate().take(called) {
        let Some(result) = result.as_ref().filter(|result| !result.is_null()) else {
            table.fault("calls without a result", true, || format!("{}/{}", plan.id, at + 1));
            continue;
        };
        let not_begun = result["message"].as_str().is_some_and(|message| message.starts_with("stopped before"));
        if let (Effect::File(..), false) = (&step.effect, not_begun) {
            table.fact("edits", 1);
            let done = result["status"] == "success";
            table.fault("edits refused or unknown", !done, || format!("{}/{}: {result}", plan.id, at + 1));
            made.push(&step.effect);
        }
    }
    edits(table, &storm.home.code().join(&plan.id), &made);
    commands(table, storm, plan, &results);
}

fn edits(table: &mut Table, workspace: &Path, made: &[&Effect]) {
    for (path, text) in files(made.iter().copied()) {
        let found = std::fs::read_to_string(workspace.join(path)).ok();
        if found.as_deref() == text {
            continue;
        }
        let count = |text: Option<&str>| text.map_or(0, |text| text.lines().count());
        let doubled = count(found.as_deref()) > count(text);
        let name = if doubled { "edits doubled" } else { "edits lost" };
        table.fault(name, true, || format!("{}: {found:?} for {text:?}", workspace.join(path).display()));
    }
    // Nothing was made that is not on record.
    let planned = files(made.iter().copied());
    let unknown = !planned.contains_key(EDITS) && workspace.join(EDITS).exists();
    table.fault("edits doubled", unknown, || format!("{}: an edit that nobody made", workspace.display()));
}

/// At most once each; exactly once where the result says so, not at all where it says that.
pub fn commands(table: &mut Table, storm: &Storm, plan: &Plan, results: &[Option<Value>]) {
    let ran = std::fs::read_to_string(storm.home.code().join(&plan.id).join(RAN)).unwrap_or_default();
    for (step, result) in plan.steps.iter().zip(results) {
        let Effect::Ran(mark) = &step.effect else { continue };
        let times = ran.lines().filter(|line| line == mark).count();
        let example = || format!("{mark}: {times} times, {result:?}");
        table.fault("commands doubled", times > 1, example);
        table.fact("commands run", times as u64);
        let Some(result) = result.as_ref().filter(|result| !result.is_null()) else { continue };
        let message = result["message"].as_str().unwrap_or_default();
        if result["status"] == "success" {
            table.fault("commands lost", times == 0, example);
        } else if message.starts_with("interrupted: ") {
            table.fact("commands interrupted", 1);
        } else if message.starts_with("stopped before ") {
            table.fault("commands doubled", times > 0, example);
        } else {
            table.fault("commands failed otherwise", !message.starts_with("stopped: the task was cancelled"), example);
        }
    }
    let strange = ran
        .lines()
        .any(|line| !plan.steps.iter().any(|step| matches!(&step.effect, Effect::Ran(mark) if mark == line)));
    table.fault("commands doubled", strange, || format!("{}: a torn or unknown line: {ran}", plan.id));
}
