//! Everything held against everything: answers over HTTP, files on disk, the brain's memory, the plans.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::book::Entry;
use crate::common::{Service, eventually};
use crate::effects::{commands, effects};
use crate::judge::{Askers, Heard, is_abort};
use crate::plan::Plan;
use crate::storm::Storm;
use crate::table::Table;

/// A line of a record, its parts as they stand there.
#[derive(Deserialize)]
pub struct Line {
    iteration: u64,
    pub agent_input: Box<RawValue>,
    pub mcp_reply: Box<RawValue>,
}

/// Tasks that are looked at side by side: the service is asked for each, and answers several as fast as one.
const AT_ONCE: usize = 4;

/// How long a file may outlive its task that is left behind by a crash.
const REMOVED: Duration = Duration::from_secs(5);

/// The lines of a record if it consists of whole ones, numbered or not.
pub fn whole_lines(record: &[u8]) -> Option<Vec<Line>> {
    let text = std::str::from_utf8(record).ok()?;
    if !text.is_empty() && !text.ends_with('\n') {
        return None;
    }
    text.lines().map(|line| serde_json::from_str(line).ok()).collect()
}

/// Looks at everything; all tasks have ended, and no client is left.
pub async fn audit(storm: &Storm, service: &Service, attempts: u64) -> Table {
    let mut table = Table::default();
    let tasks = std::mem::take(&mut *storm.book.tasks());
    table.fact("tasks accepted", tasks.len() as u64);
    table.fact("questions to the brain", storm.judge.questions());
    for heard in storm.judge.heard().values() {
        table.fact("questions overtaken by a farewell", heard.overtaken);
        table.fact("questions read when their asker was dead", heard.from_the_dead);
        table.fact("questions met with trouble", heard.troubled);
        table.fact("questions with the history", heard.with_history);
    }
    let audits = tasks.iter().map(|(number, entry)| one(storm, service, *number, entry, attempts));
    let mut audits = futures_util::stream::iter(audits).buffer_unordered(AT_ONCE);
    while let Some(found) = audits.next().await {
        table.add(found);
    }
    drop(audits);
    list(&mut table, service, &tasks).await;
    let faults = storm.judge.faults();
    for (name, found) in [
        ("brain: payloads that differed for one key", faults.payloads_that_differed),
        ("brain: histories that differed", faults.histories_that_differed),
        ("brain: keys out of order", faults.keys_out_of_order),
        ("brain: keys that are no keys", faults.keys_that_are_no_keys),
    ] {
        for example in found {
            table.fault(name, true, || example);
        }
    }
    let seen = storm.book.seen.lock().unwrap();
    table.faults("torn lines served", seen.torn);
    table.faults("served records that went back", seen.went_back);
    for unexpected in &seen.unexpected {
        table.fault("unexpected answers", true, || unexpected.clone());
    }
    table.fact("answers read while it went on", seen.answers.values().sum());
    table
}

async fn one(storm: &Storm, service: &Service, number: u64, entry: &Entry, attempts: u64) -> Table {
    let (mut table, plan) = (Table::default(), storm.book.plan(number));
    if entry.deleted {
        deleted(&mut table, storm, service, &plan).await;
    } else {
        let task = task(&mut table, storm, service, &plan, entry).await;
        let count = task["attempt"].as_u64().unwrap_or_default();
        table.fact("attempts", count);
        table.fault("attempts too many", count > attempts, || task.to_string());
    }
    table
}

async fn deleted(table: &mut Table, storm: &Storm, service: &Service, plan: &Plan) {
    table.fact("tasks deleted", 1);
    let gone = service.get(&format!("/tasks/{}", plan.id)).await.status == 404;
    table.fault("ends that changed", !gone, || format!("{} was deleted and is there", plan.id));
    let files = storm.records(&plan.id).into_iter().flat_map(|record| {
        [record.clone(), record.with_extension("meta.json"), record.with_extension("meta.json.partial")]
    });
    let files: Vec<_> = files.collect();
    // What a crash left of them goes at one of the next looks.
    let looks = async || !files.iter().any(|path| path.exists());
    let left = tokio::time::timeout(REMOVED, eventually("the files are gone", looks)).await.is_err();
    table.fault("deleted tasks that left files", left, || plan.id.clone());
    // What it was to do is known from the plan alone: it was over when it was deleted.
    commands(table, storm, plan, &vec![None; plan.steps.len()]);
}

async fn task(table: &mut Table, storm: &Storm, service: &Service, plan: &Plan, entry: &Entry) -> Value {
    let id = &plan.id;
    let answer = service.get(&format!("/tasks/{id}")).await;
    table.fault("tasks lost", answer.status != 200, || format!("{id}: {}", answer.status));
    if answer.status != 200 {
        return Value::Null;
    }
    let task = answer.json();
    end(table, plan, entry, &task);

    let served = service.get(&format!("/tasks/{id}/log")).await.body;
    let lines = whole_lines(&served);
    table.fault("torn lines served", lines.is_none(), || id.clone());
    table.fault("served records that went back", !served.starts_with(&entry.record), || id.clone());
    if storm.askers == Askers::OneAfterTheOther {
        let path = storm.seen(&storm.home.record(id));
        let file = std::fs::read(&path).unwrap_or_default();
        table.fault("torn lines in files", whole_lines(&file).is_none(), || id.clone());
        table.fault("files unlike the served record", file != served, || id.clone());
        meta(table, &path.with_extension("meta.json"), &task).await;
    }

    let lines = lines.unwrap_or_default();
    let numbers: Vec<u64> = lines.iter().map(|line| line.iteration).collect();
    let different: BTreeSet<u64> = numbers.iter().copied().collect();
    let last = task["iteration"].as_u64().unwrap();
    table.fact("iterations on record", last);
    table.faults("iterations doubled", (numbers.len() - different.len()) as u64);
    table.faults("iterations missing", (1..=last).filter(|number| !different.contains(number)).count() as u64);
    let in_order = numbers.is_sorted() && different.last().is_none_or(|most| *most == last);
    table.fault("iterations missing", !in_order, || format!("{id}: {numbers:?}, {last}"));
    with_brain(table, plan, storm.judge.heard().get(id), &lines);
    farewell(table, plan, &task, lines.last());
    effects(table, storm, plan, &lines);
    task
}

/// One end, the planned one or the cancellation, and the same whenever it was looked at.
fn end(table: &mut Table, plan: &Plan, entry: &Entry, task: &Value) {
    let id = &plan.id;
    let status = task["status"].as_str().unwrap_or_default();
    let code = task["error"]["code"].as_str().unwrap_or_default();
    table.fact(
        match (status, code) {
            ("succeeded", _) => "ends: succeeded",
            ("cancelled", _) => "ends: cancelled",
            (_, "max_iterations") => "ends: failed, max_iterations",
            (_, "deadline_exceeded") => "ends: failed, deadline_exceeded",
            (_, "unknown_event") => "ends: failed, unknown_event",
            (_, "brain_protocol") => "ends: failed, brain_protocol",
            _ => "ends: failed otherwise, or none",
        },
        1,
    );
    let granted = entry.cancel_granted == Some(true);
    table.fault("cancels granted and not kept", granted && status != "cancelled", || format!("{id}: {task}"));
    let planned = granted && status == "cancelled" || !granted && plan.may_end(status, code);
    table.fault("ends other than planned", !planned, || format!("{id}: {granted} {task}"));
    let first = entry.end.as_ref().unwrap_or(task);
    let same =
        ["status", "finished_at", "iteration", "error", "summary"].iter().all(|name| first[*name] == task[*name]);
    table.fault("ends that changed", !same, || format!("{first} became {task}"));
}

/// It follows the end, so it may come a moment later.
async fn meta(table: &mut Table, path: &Path, task: &Value) {
    let read = || serde_json::from_slice::<Value>(&std::fs::read(path).unwrap_or_default()).unwrap_or_default();
    eventually("the meta file has the end", async || read()["status"] == task["status"]).await;
    let meta = read();
    let same = meta["iterations"] == task["iteration"] && meta["task"] == task["task"];
    table.fault("meta files unlike the task", !same, || format!("{meta}\n{task}"));
}

/// Each line is what the brain was sent and what it said; what it was sent is on record.
fn with_brain(table: &mut Table, plan: &Plan, heard: Option<&Heard>, lines: &[Line]) {
    let none = BTreeMap::new();
    let asked = heard.map_or(&none, |heard| &heard.asked);
    for (line, next) in lines.iter().zip(lines.iter().skip(1).map(Some).chain([None])) {
        let (sent, reply) = (line.agent_input.get(), line.mcp_reply.get());
        // There is no reply to what was not waited for any more, and none is needed to a farewell.
        let stopped = [Some(line), next].into_iter().flatten().any(|line| is_abort(line.agent_input.get()));
        let same = match asked.get(&line.iteration) {
            Some(asked) => asked.payload == sent && (reply == asked.reply || stopped && reply == "null"),
            // The last payload of a task that was stopped, never sent.
            None => reply == "null",
        };
        let example = || format!("{}/{}: {sent} {reply}", plan.id, line.iteration);
        table.fault("lines unlike what the brain saw or said", !same, example);
    }
    for iteration in asked.keys() {
        let found = lines.iter().any(|line| line.iteration == *iteration);
        table.fault("questions that are not on record", !found, || format!("{}/{iteration}", plan.id));
    }
    if let Some(first) = lines.first() {
        let start = json!({"event": "start", "task": plan.posted()});
        let same = serde_json::from_str::<Value>(first.agent_input.get()).unwrap() == start;
        table.fault("lines unlike what the brain saw or said", !same, || format!("{}: another start", plan.id));
    }
}

/// Who stops a task tells the brain why, as the last thing.
fn farewell(table: &mut Table, plan: &Plan, task: &Value, last: Option<&Line>) {
    let reason = &task["error"]["code"];
    if !["max_iterations", "deadline_exceeded"].contains(&reason.as_str().unwrap_or_default()) {
        return;
    }
    let farewell = json!({"event": "agent_abort", "reason": reason});
    let told = last.and_then(|line| serde_json::from_str::<Value>(line.agent_input.get()).ok());
    table.fault("stops without the farewell on record", told != Some(farewell), || format!("{}: {told:?}", plan.id));
}

/// The list has every task once, and no others.
async fn list(table: &mut Table, service: &Service, tasks: &BTreeMap<u64, Entry>) {
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("/tasks?limit=200{cursor}")).await.json();
        listed
            .extend(page["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let known: BTreeSet<String> =
        tasks.iter().filter(|(_, task)| !task.deleted).map(|(number, _)| format!("task-{number}")).collect();
    let found: BTreeSet<String> = listed.iter().cloned().collect();
    for id in known.symmetric_difference(&found) {
        table.fault(if known.contains(id) { "tasks lost" } else { "strangers in the list" }, true, || id.clone());
    }
    table.faults("strangers in the list", (listed.len() - found.len()) as u64);
}
