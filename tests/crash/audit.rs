//! Everything held against everything: answers over HTTP, files on disk, the brain's memory, the plans.
#![expect(clippy::print_stdout, reason = "the table is for whoever runs it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::common::{Service, eventually};
use crate::judge::Heard;
use crate::plan::{EDITS, Effect, Plan, RAN, files};
use crate::storm::{Entry, Storm};

/// What happened, and what must not have.
#[derive(Default)]
pub struct Table {
    facts: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    /// The first of each kind, to be looked into.
    examples: BTreeMap<&'static str, String>,
}

/// A line of a record, its parts as they stand there.
#[derive(Deserialize)]
pub struct Line {
    iteration: u64,
    agent_input: Box<RawValue>,
    mcp_reply: Box<RawValue>,
}

/// How long a file may outlive its task that is left behind by a crash.
const REMOVED: Duration = Duration::from_secs(5);

/// What must be zero; named even where it is.
const FAULTS: [&str; 27] = [
    "attempts too many",
    "brain: keys out of order",
    "brain: keys that are no keys",
    "brain: payloads that differed for one key",
    "calls without a result",
    "cancels granted and not kept",
    "commands doubled",
    "commands failed otherwise",
    "commands lost",
    "deleted tasks that left files",
    "edits doubled",
    "edits lost",
    "edits refused or unknown",
    "ends other than planned",
    "ends that changed",
    "files unlike the served record",
    "iterations doubled",
    "iterations missing",
    "lines unlike what the brain saw or said",
    "meta files unlike the task",
    "questions that are not on record",
    "served records that went back",
    "strangers in the list",
    "tasks lost",
    "torn lines in files",
    "torn lines served",
    "unexpected answers",
];

impl Table {
    fn fact(&mut self, name: &'static str, count: u64) {
        *self.facts.entry(name).or_default() += count;
    }

    fn fault(&mut self, name: &'static str, wrong: bool, example: impl FnOnce() -> String) {
        assert!(FAULTS.contains(&name), "{name} is not in FAULTS");
        if wrong {
            *self.faults.entry(name).or_default() += 1;
            self.examples.entry(name).or_insert_with(example);
        }
    }

    fn faults(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.faults.entry(name).or_default() += count;
        }
    }

    /// Prints the table; fails unless all that must be zero is.
    pub fn assert_clean(&self, seed: u64) {
        println!("seed: {seed}");
        self.facts.iter().for_each(|(name, count)| println!("{name}: {count}"));
        for name in FAULTS {
            println!("{name}: {}", self.faults.get(name).unwrap_or(&0));
        }
        assert!(self.faults.is_empty(), "CODEX_AGENT_SEED={seed}: {:?}\n{:#?}", self.faults, self.examples);
    }
}

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
    }
    for (number, entry) in &tasks {
        let plan = storm.book.plan(*number);
        if entry.deleted {
            deleted(&mut table, storm, service, &plan).await;
        } else {
            let task = task(&mut table, storm, service, &plan, entry).await;
            let count = task["attempt"].as_u64().unwrap_or_default();
            table.fact("attempts", count);
            table.fault("attempts too many", count > attempts, || task.to_string());
        }
    }
    list(&mut table, service, &tasks).await;
    let faults = storm.judge.faults();
    for (name, found) in [
        ("brain: payloads that differed for one key", faults.payloads_that_differed),
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

async fn deleted(table: &mut Table, storm: &Storm, service: &Service, plan: &Plan) {
    table.fact("tasks deleted", 1);
    let gone = service.get(&format!("/tasks/{}", plan.id)).await.status == 404;
    table.fault("ends that changed", !gone, || format!("{} was deleted and is there", plan.id));
    let record = storm.seen(&storm.home.record(&plan.id));
    let files = [record.clone(), record.with_extension("meta.json"), record.with_extension("meta.json.partial")];
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
    let path = storm.seen(&storm.home.record(id));
    let file = || std::fs::read(&path).unwrap_or_default();
    table.fault("torn lines in files", whole_lines(&file()).is_none(), || id.clone());
    table.fault("files unlike the served record", file() != served, || id.clone());
    meta(table, &path.with_extension("meta.json"), &task).await;

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
    effects(table, storm, plan, &lines);
    task
}

/// One end, the planned one or the cancellation, and the same whenever it was looked at.
fn end(table: &mut Table, plan: &Plan, entry: &Entry, task: &Value) {
    let id = &plan.id;
    let status = task["status"].as_str().unwrap_or_default();
    let code = task["error"]["code"].as_str().unwrap_or_default();
    table.fact(
        match status {
            "succeeded" => "ends: succeeded",
            "failed" => "ends: failed",
            "cancelled" => "ends: cancelled",
            _ => "ends: none",
        },
        1,
    );
    let granted = entry.cancel_granted == Some(true);
    table.fault("cancels granted and not kept", granted && status != "cancelled", || format!("{id}: {task}"));
    let planned = granted && status == "cancelled" || !granted && plan.outcome() == (status, code);
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
    for line in lines {
        let (sent, reply) = (line.agent_input.get(), line.mcp_reply.get());
        let same = match asked.get(&line.iteration) {
            Some(asked) => asked.payload == sent && (reply == asked.reply || reply == "null"),
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

/// Each call that is on record, its result, and what it left.
fn effects(table: &mut Table, storm: &Storm, plan: &Plan, lines: &[Line]) {
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
fn commands(table: &mut Table, storm: &Storm, plan: &Plan, results: &[Option<Value>]) {
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
