//! What is counted: the service without its HTTP side, put together as `app.rs` does.
//!
//! Not by `app::build` itself, which starts the stewards of commands as `/proc/self/exe`: that would be valgrind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codex_agent::brain::{AskSettings, HttpBrain};
use codex_agent::domain::{Clock, Json, Models, SpecLimits, Status, SystemClock, TaskId, TaskSpec};
use codex_agent::metrics::Metrics;
use codex_agent::recorder::Recorder;
use codex_agent::run::{RunSettings, Runner};
use codex_agent::scheduler::{Scheduler, SchedulerSettings};
use codex_agent::store::{NewTask, SqliteStore, Store};
use tokio_util::sync::CancellationToken;

use super::brain::FILE;
use super::parts::toolbox;

/// Longer than a run, however slow it is under valgrind.
const LONG: Duration = Duration::from_hours(1);

/// How often it is looked whether a task has ended: so seldom that the looks are less than a hundredth of what is counted.
const LOOK: Duration = Duration::from_millis(500);

/// As many as the machine that the other figures come from has cores.
const THREADS: usize = 2;

/// Lines of the file that steps read: an ordinary source file.
const LINES: usize = 200;

/// What the process does.
pub fn main(arguments: &[&str]) {
    let [brain, home, tasks, iterations] = arguments else { panic!("loop BRAIN HOME TASKS ITERATIONS") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    runtime.block_on(run(brain, Path::new(home), tasks.parse().unwrap(), iterations.parse().unwrap()));
}

async fn run(brain: &str, home: &Path, tasks: u32, iterations: u32) {
    let (code, output) = (home.join("code"), home.join("output"));
    std::fs::create_dir(&code).unwrap();
    std::fs::create_dir(&output).unwrap();
    let lines: Vec<String> = (0..LINES).map(|line| format!("line {line} of a file")).collect();
    std::fs::write(code.join(FILE), lines.join("\n") + "\n").unwrap();

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&output.join("codex-agent.db"), LONG).await.unwrap());
    let settings = AskSettings { key: None, timeout: LONG, retries: 0, max_reply_bytes: 1 << 20 };
    let metrics = Metrics::new("", clock.now());
    let runner = Arc::new(Runner::new(RunSettings {
        store: Arc::clone(&store),
        recorder: Arc::new(Recorder::open(&output, Arc::clone(&store)).unwrap()),
        brain: Arc::new(HttpBrain::new(brain.parse().unwrap(), settings, Arc::clone(&clock)).unwrap()),
        toolbox: Arc::new(toolbox::toolbox(&code).await),
        clock: Arc::clone(&clock),
        models: Models { finetuned: None, critique: None },
        metrics: metrics.clone(),
    }));
    let (drain, halt) = (CancellationToken::new(), CancellationToken::new());
    let scheduler = Scheduler::new(SchedulerSettings {
        store: Arc::clone(&store),
        runner,
        clock: Arc::clone(&clock),
        metrics,
        worker: "counted".into(),
        lease: LONG,
        max_running: tasks,
        lost_limit: 5,
        retention: None,
        only: None,
        drain: drain.clone(),
        halt,
    });
    let ids: Vec<TaskId> = (0..tasks).map(|number| format!("task-{number}").parse().unwrap()).collect();
    for id in &ids {
        let posted = Json::parse(r#"{"instruction":"Read."}"#).unwrap();
        let limits = SpecLimits { default_iterations: iterations, max_iterations: iterations };
        let spec = TaskSpec::parse(posted, limits).unwrap();
        let (id, now) = (id.clone(), clock.now());
        store.submit(NewTask { id, idempotency_key: None, spec, now, max_queued: tasks }).await.unwrap();
    }
    let ending = async {
        for id in &ids {
            ended(&*store, id, iterations).await;
        }
        drain.cancel();
    };
    let (worked, ()) = tokio::join!(scheduler.run(), ending);
    worked.unwrap();
    store.close().await;
}

async fn ended(store: &dyn Store, id: &TaskId, iterations: u32) {
    loop {
        tokio::time::sleep(LOOK).await;
        let task = store.task(id).await.unwrap().unwrap();
        if task.has_ended() {
            assert_eq!((task.state.status(), task.iteration), (Status::Succeeded, iterations), "{task:?}");
            return;
        }
    }
}
