//! `EXPORT_SCHEDULE`: exports at set times, by one worker at a time.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use chrono::{Datelike, Timelike};
use codex_agent::domain::{Clock, SystemClock, hex};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{dance, each, lines, planned, task};
use crate::common::brain::finish;
use crate::common::{Home, Service, eventually};
use crate::postgres::{Database, Postgres};

/// With seconds, which people who export once a night have no need of.
const ALWAYS: (&str, &str) = ("EXPORT_SCHEDULE", "* * * * * *");

/// Short enough to be waited for, long enough for a busy machine.
const LEASE: (&str, &str) = ("LEASE", "3");

async fn has(dir: &Path, ids: &[&str]) {
    eventually(&format!("{ids:?} are exported"), async || each(&lines(dir, "index.jsonl"), "task_id") == ids).await;
}

/// The times that a service says it has exported for.
fn exported(service: &Service) -> Vec<String> {
    let log = service.log();
    let told = log.lines().filter(|line| line.contains("exported to "));
    told.map(|line| line.split("due=").nth(1).unwrap().split(' ').next().unwrap().to_owned()).collect()
}

async fn start(home: Home, brain: &str, database: &Database, dir: &Path) -> Service {
    let url = database.url();
    let variables = [ALWAYS, LEASE, ("DATABASE_URL", &url), ("EXPORT_DIR", dir.to_str().unwrap())];
    Service::start_in(home, brain, &variables).await
}

#[tokio::test]
async fn an_export_appears_by_itself_and_grows_by_shards() {
    let brain = planned().await;
    let options = ("EXPORT_OPTIONS", "--format hf --system 'Be brief.' --validation-percent 0");
    let service = Service::start(&brain.url, &[ALWAYS, options]).await;
    let dir = service.home.output().join("export");
    service.finish(&task("first", "One.", &[finish()])).await;
    has(&dir, &["first"]).await;
    let of = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let (manifest, shard) = (of("manifest.json"), of("data/train-00000.jsonl"));
    let row: Value = serde_json::from_slice(&shard).unwrap();
    assert_eq!((&row["messages"][0]["content"], row.get("parallel_tool_calls")), (&json!("Be brief."), None));
    // Where there is nothing new, it stays as it is.
    let times = exported(&service).len();
    eventually("it was looked again", async || exported(&service).len() >= times + 2).await;
    assert_eq!(of("manifest.json"), manifest);

    service.finish(&task("second", "Two.", &[finish()])).await;
    has(&dir, &["first", "second"]).await;
    assert_eq!(of("data/train-00000.jsonl"), shard);
    let added = lines(&dir, "data/train-00001.jsonl");
    assert_eq!(added.iter().map(|row| &row["messages"][1]["content"]).collect::<Vec<_>>(), ["Two."]);
    let grown: Value = serde_json::from_slice(&of("manifest.json")).unwrap();
    assert_eq!((&grown["parent"], &grown["rows"]), (&json!(hex(&Sha256::digest(&manifest))), &json!(2)));

    service.finish(&task("third", "Three.", &[dance()])).await;
    let left_out = || lines(&dir, "rejected.jsonl");
    eventually("it is told why", async || each(&left_out(), "task_id") == ["third"]).await;
    assert_eq!(service.stop().await.1, Some(0));
}

#[tokio::test]
async fn of_two_workers_one_exports_at_each_time() {
    let Some(database) = Postgres::database().await else { return };
    let brain = planned().await;
    let shared = Home::new();
    let dir = shared.path().join("data");
    let workers =
        [start(Home::new(), &brain.url, &database, &dir).await, start(Home::new(), &brain.url, &database, &dir).await];
    let names: Vec<_> = (0..6).map(|n| format!("t{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        workers[n % 2].finish(&task(name, name, &[finish()])).await;
        let names: Vec<_> = names[..=n].iter().map(String::as_str).collect();
        has(&dir, &names).await;
    }
    let all = || workers.iter().flat_map(exported).collect::<Vec<_>>();
    eventually("there are some times", async || all().len() >= 8).await;
    let all = all();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    for worker in &workers {
        assert!(!worker.log().contains("the scheduled export failed"), "{}", worker.log());
    }
}

#[tokio::test]
async fn what_a_killed_worker_was_exporting_another_one_exports() {
    let Some(database) = Postgres::database().await else { return };
    let brain = planned().await;
    let shared = Home::new();
    let dir = shared.path().join("data");
    let first = start(Home::new(), &brain.url, &database, &dir).await;
    first.finish(&task("first", "One.", &[finish()])).await;
    has(&dir, &["first"]).await;
    // The index is read when something is added; a pipe holds whoever does.
    let (index, aside) = (dir.join("index.jsonl"), shared.path().join("aside"));
    std::fs::rename(&index, &aside).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &index, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    first.finish(&task("second", "Two.", &[finish()])).await;
    let holder = async || database.psql("SELECT worker FROM chores WHERE until > 0").await;
    let partial = shared.path().join(".data.partial");
    eventually("it is at it", async || partial.join("index.jsonl").exists() && !holder().await.is_empty()).await;
    let holding = holder().await;

    let second = start(Home::new(), &brain.url, &database, &dir).await;
    second.finish(&task("third", "Three.", &[finish()])).await;
    // As long as it lives and says so, it is nobody else's.
    let until = async || database.psql("SELECT until FROM chores").await;
    let begun = until().await;
    eventually("it was renewed", async || until().await != begun).await;
    assert_eq!((holder().await, exported(&second).len()), (holding, 0));
    first.kill().await;
    std::fs::rename(&aside, &index).unwrap();
    has(&dir, &["first", "second", "third"]).await;
    assert!(!second.log().contains("the scheduled export failed"), "{}", second.log());
    eventually("nothing is left of the half", async || !partial.exists()).await;
}

#[tokio::test]
async fn a_time_that_passed_while_nothing_ran_is_made_up_for() {
    let brain = planned().await;
    let service = Service::start(&brain.url, &[ALWAYS]).await;
    let dir = service.home.output().join("export");
    service.finish(&task("first", "One.", &[finish()])).await;
    has(&dir, &["first"]).await;
    let (home, _) = service.stop().await;

    let service = Service::start_in(home, &brain.url, &[]).await;
    service.finish(&task("second", "Two.", &[finish()])).await;
    let (home, _) = service.stop().await;
    assert_eq!(lines(&dir, "index.jsonl").len(), 1);

    // Once a year, and this year's time is over when it starts.
    let time = chrono::DateTime::from_timestamp_secs(seconds() + 1).unwrap();
    let (day, month) = (time.day(), time.month());
    let schedule = format!("{} {} {} {day} {month} *", time.second(), time.minute(), time.hour());
    eventually("the time is over", async || seconds() > time.timestamp()).await;
    let service = Service::start_in(home, &brain.url, &[("EXPORT_SCHEDULE", &schedule)]).await;
    has(&dir, &["first", "second"]).await;
    eventually("it says so", async || exported(&service).len() == 1).await;
}

#[tokio::test]
async fn what_is_no_schedule_or_no_option_stops_the_start_in_a_line() {
    for (variable, value, said) in [
        ("EXPORT_SCHEDULE", "soon", "is no cron expression"),
        ("EXPORT_SCHEDULE", "61 * * * *", "is no cron expression"),
        ("EXPORT_SCHEDULE", "0 0 31 2 *", "is never due"),
        ("EXPORT_OPTIONS", "--format xml", "--format: must be one of openai, hf,"),
        ("EXPORT_OPTIONS", "--to /tmp", "--to: is not known here"),
        ("EXPORT_OPTIONS", "hf", "hf: is not known here"),
        ("EXPORT_OPTIONS", "--system 'x", "a quotation mark is not closed"),
        ("EXPORT_OPTIONS", "--redact none", "--redact: none leaves passwords and keys in the data"),
    ] {
        let home = Home::new();
        let mut command = home.command(&["serve"]);
        command.env("MCP_SERVER_URL", "script:").env("LISTEN", "127.0.0.1:0").env(variable, value);
        let refused = command.stderr(Stdio::piped()).stdout(Stdio::piped()).output().await.unwrap();
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{value}: {told}");
        assert!(told.starts_with(&format!("codex-agent: {variable}")) && told.contains(said), "{value}: {told}");
        assert_eq!(told.lines().count(), 1, "{value}: {told}");
    }
}

fn seconds() -> i64 {
    SystemClock.now().millis() / 1000
}
