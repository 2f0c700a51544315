//! What clients did and saw, where the service is, and how to ask it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::common::{Answer, Home, client_builder};
use crate::judge::Judge;
use crate::plan::{Course, Fate, Plan};

/// How far back clients look for something to do: what is older has long been over, and a long run has much of it.
const NEWEST: usize = 256;

/// How long a client keeps a connection that it does not use: short, so that a service at rest has none after a moment.
const IDLE: Duration = Duration::from_secs(1);

pub struct Book {
    pub course: Course,
    pub judge: Arc<Judge>,
    home: Home,
    client: Client,
    urls: watch::Sender<Vec<String>>,
    stop: CancellationToken,
    resting: AtomicBool,
    next: AtomicU64,
    ended: AtomicUsize,
    accepted: mpsc::UnboundedSender<u64>,
    tasks: Mutex<BTreeMap<u64, Entry>>,
    pub seen: Mutex<Seen>,
}

/// A task that was answered with 202 or 200.
#[derive(Default)]
pub struct Entry {
    pub fate: Fate,
    /// The answer to the wish to cancel it: whether it was granted.
    pub cancel_granted: Option<bool>,
    pub deleted: bool,
    /// Ended as far as clients know.
    over: bool,
    /// The end as it was first seen.
    pub end: Option<Value>,
    /// The record as it was last read.
    pub record: Vec<u8>,
}

/// What must not be seen, and how often it was.
#[derive(Default)]
pub struct Seen {
    pub torn: u64,
    pub went_back: u64,
    pub answers: BTreeMap<String, u64>,
    pub unexpected: Vec<String>,
}

impl Book {
    /// An empty one, and the tasks that will be accepted, one after the other.
    pub fn new(course: Course, judge: &Arc<Judge>, home: &Home) -> (Arc<Self>, mpsc::UnboundedReceiver<u64>) {
        let (accepted, numbers) = mpsc::unbounded_channel();
        let client = client_builder().pool_idle_timeout(IDLE).build().unwrap();
        let book = Self {
            course,
            judge: Arc::clone(judge),
            home: home.clone(),
            client,
            urls: watch::Sender::default(),
            stop: CancellationToken::new(),
            resting: AtomicBool::new(false),
            next: AtomicU64::new(1),
            ended: AtomicUsize::new(0),
            accepted,
            tasks: Mutex::default(),
            seen: Mutex::default(),
        };
        (Arc::new(book), numbers)
    }

    pub fn tasks(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.tasks.lock().unwrap()
    }

    pub fn plan(&self, number: u64) -> Plan {
        self.course.plan(number)
    }

    /// The next task to be submitted, with a directory for it.
    pub fn next_task(&self) -> (u64, Plan) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let plan = self.plan(number);
        std::fs::create_dir_all(self.workspace(&plan.id)).unwrap();
        (number, plan)
    }

    fn workspace(&self, id: &str) -> PathBuf {
        self.home.code().join(id)
    }

    pub fn moved_to(&self, url: &str) {
        self.are_at(vec![url.to_owned()]);
    }

    /// Any of them may be asked.
    pub fn are_at(&self, urls: Vec<String>) {
        self.urls.send_replace(urls);
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    pub fn rest(&self, resting: bool) {
        self.resting.store(resting, Ordering::Relaxed);
    }

    pub fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }

    /// How many tasks have ended as far as clients know.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// An answer, or nothing if the service died over it.
    pub async fn try_once(&self, method: &str, path: &str, body: Option<String>) -> Option<Answer> {
        let urls = self.urls.subscribe().wait_for(|urls| !urls.is_empty()).await.ok()?.clone();
        let url = fastrand::choice(urls)?;
        let mut request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{url}{path}"));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.ok()?.to_vec();
        *self.seen.lock().unwrap().answers.entry(format!("{method} {status}")).or_default() += 1;
        let answer = Answer { status, headers, body };
        if status == 503 && answer.header("retry-after").is_empty() {
            self.unexpected(&format!("{method} {path}, without Retry-After"), &answer);
        }
        Some(answer)
    }

    /// Asks until there is an answer that is not "not now", through as many deaths as it takes.
    pub async fn ask(&self, method: &str, path: &str, body: Option<String>) -> Answer {
        let mut tries = tokio::time::interval(Duration::from_millis(5));
        loop {
            tries.tick().await;
            match self.try_once(method, path, body.clone()).await {
                Some(answer) if answer.status != 503 => return answer,
                _ => {}
            }
        }
    }

    pub fn unexpected(&self, what: &str, answer: &Answer) {
        self.seen.lock().unwrap().unexpected.push(format!("{what}: {} {}", answer.status, answer.text()));
    }

    /// How many tasks the service has before it, as far as can be known without asking it.
    pub fn load(&self) -> usize {
        let tasks = self.tasks();
        let heard = self.judge.heard();
        let over = |number: u64, task: &Entry| {
            task.over || heard.get(&format!("task-{number}")).is_some_and(|heard| heard.over)
        };
        tasks.iter().rev().take(NEWEST).filter(|(number, task)| !over(**number, task)).count()
    }

    /// The tasks whose end nobody has seen.
    pub fn unfinished(&self) -> Vec<u64> {
        self.tasks().iter().filter(|(_, task)| !task.over).map(|(number, _)| *number).collect()
    }

    /// One of the newest tasks that `fits`.
    pub fn any(&self, fits: impl Fn(u64, &Entry) -> bool) -> Option<u64> {
        let tasks = self.tasks();
        let newest = tasks.iter().rev().take(NEWEST);
        let fitting: Vec<u64> =
            newest.filter(|(number, task)| fits(**number, task)).map(|(number, _)| *number).collect();
        fastrand::choice(fitting)
    }

    /// Whether it has ended, as far as clients or the brain know.
    pub fn is_over(&self, number: u64, task: &Entry) -> bool {
        task.over || self.judge.is_over(&format!("task-{number}"))
    }

    /// Waits for the end of a task and keeps it.
    pub async fn wait_for(&self, number: u64) {
        loop {
            let answer = self.ask("GET", &format!("/tasks/task-{number}?wait=10"), None).await;
            let deleted = answer.status == 404 && self.tasks()[&number].fate == Fate::Delete;
            if deleted {
                // Whoever does that is about to say so, or will be told that it is gone.
                return;
            }
            if answer.status != 200 {
                return self.unexpected(&format!("task-{number}"), &answer);
            }
            if self.note_end(number, answer.json()) {
                return;
            }
        }
    }

    pub fn note_accepted(&self, number: u64, fate: Fate) {
        self.tasks().insert(number, Entry { fate, ..Entry::default() });
        // Nobody listens any more when clients are to end.
        let _ = self.accepted.send(number);
    }

    /// Keeps how a task ended when that is seen first; whether it has.
    pub fn note_end(&self, number: u64, task: Value) -> bool {
        let ended = ["succeeded", "failed", "cancelled"].contains(&task["status"].as_str().unwrap_or_default());
        if ended {
            let mut tasks = self.tasks();
            let entry = tasks.get_mut(&number).unwrap();
            self.note_over(entry);
            entry.end.get_or_insert(task);
        }
        ended
    }

    pub fn note_deleted(&self, number: u64) {
        let mut tasks = self.tasks();
        let entry = tasks.get_mut(&number).unwrap();
        self.note_over(entry);
        entry.deleted = true;
    }

    fn note_over(&self, entry: &mut Entry) {
        let first = !std::mem::replace(&mut entry.over, true);
        self.ended.fetch_add(usize::from(first), Ordering::Relaxed);
    }
}
