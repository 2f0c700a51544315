//! Clients that never stop, and the lives of the service that they see through.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, whole_lines};
use crate::common::{Answer, Home, PATIENCE, Service, client, eventually};
use crate::judge::{Bench, Judge};
use crate::plan::{Fate, Plan};

/// Tasks that are accepted and not over: as many again as run at a time, so that there is always a queue.
const UNFINISHED: usize = 64;

/// How far back clients look for something to do: what is older has long been over, and a long run has much of it.
const NEWEST: usize = 256;

/// The variables of every service here: random deaths must not give tasks up.
pub const VARIABLES: [(&str, &str); 4] = [
    ("MAX_RUNNING", "32"),
    ("LOST_LIMIT", "1000000"),
    ("MCP_RETRIES", "100"),
    ("RUST_LOG", "warn,codex_agent::cli=info"),
];

/// All that the test knows.
pub struct Storm {
    pub seed: u64,
    pub home: Home,
    pub judge: Arc<Judge>,
    pub brain: Mutex<Option<Bench>>,
    pub brain_url: String,
    pub book: Arc<Book>,
    clients: tokio::sync::Mutex<JoinSet<()>>,
    lives: AtomicU64,
    /// Where the service's root directory is seen from here, if that is another.
    pub root: OnceLock<PathBuf>,
}

/// What clients did and saw, and where the service is.
pub struct Book {
    seed: u64,
    judge: Arc<Judge>,
    home: Home,
    client: Client,
    url: watch::Sender<Option<String>>,
    stop: CancellationToken,
    next: AtomicU64,
    pub tasks: Mutex<BTreeMap<u64, Entry>>,
    pub seen: Mutex<Seen>,
}

/// A task that was answered with 202 or 200.
#[derive(Default)]
pub struct Entry {
    /// The answer to the wish to cancel it: whether it was granted.
    pub cancel_granted: Option<bool>,
    pub deleted: bool,
    /// Ended as far as clients know.
    pub over: bool,
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

impl Storm {
    pub async fn begin(slowness: u64) -> Self {
        let seed = std::env::var("CODEX_AGENT_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        Self::begin_in(Home::new(), seed, slowness).await
    }

    pub async fn begin_in(home: Home, seed: u64, slowness: u64) -> Self {
        let judge = Judge::new(seed, slowness);
        let brain = Bench::open(&judge, "127.0.0.1:0".parse().unwrap()).await;
        let brain_url = format!("http://{}", brain.address);
        let book = Arc::new(Book {
            seed,
            judge: Arc::clone(&judge),
            home: home.clone(),
            client: client(),
            url: watch::Sender::new(None),
            stop: CancellationToken::new(),
            next: AtomicU64::new(1),
            tasks: Mutex::default(),
            seen: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        clients.spawn(submitting(Arc::clone(&book)));
        clients.spawn(submitting(Arc::clone(&book)));
        clients.spawn(cancelling(Arc::clone(&book)));
        clients.spawn(deleting(Arc::clone(&book)));
        clients.spawn(reading(Arc::clone(&book)));
        let (brain, clients) = (Mutex::new(Some(brain)), tokio::sync::Mutex::new(clients));
        let (lives, root) = (AtomicU64::new(0), OnceLock::new());
        Self { seed, home, judge, brain, brain_url, book, clients, lives, root }
    }

    /// A life of the service; the clients are told where it is.
    pub async fn start(&self, variables: &[(&str, &str)]) -> Service {
        self.start_with(variables, |_| {}).await
    }

    /// The same, started as `prepare` makes it.
    pub async fn start_with(&self, variables: &[(&str, &str)], prepare: impl FnOnce(&mut Command)) -> Service {
        let key = self.key_of_a_new_life();
        let ours = VARIABLES.into_iter().chain([("OPENAI_API_KEY", key.as_str())]);
        let variables: Vec<_> = ours.chain(variables.iter().copied()).collect();
        let service = Service::start_with(self.home.clone(), &self.brain_url, &variables, prepare).await;
        self.book.url.send_replace(Some(service.url.clone()));
        service
    }

    /// What the brain knows the next life of the service by.
    pub fn key_of_a_new_life(&self) -> String {
        format!("life-{}", self.lives.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub fn lives(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }

    /// A file as the service names it, from here.
    pub fn seen(&self, path: &Path) -> PathBuf {
        match (self.root.get(), path.strip_prefix("/")) {
            (Some(root), Ok(below)) => root.join(below),
            _ => path.to_owned(),
        }
    }

    /// Returns when a submission has been refused.
    pub async fn refused(&self) {
        let refused = || self.book.seen.lock().unwrap().answers.get("POST 503").copied().unwrap_or_default();
        let before = refused();
        eventually("a submission is refused", async || refused() > before).await;
    }

    /// Returns when that many more tasks than now have been accepted, and the brain has been asked as often.
    pub async fn busy(&self, more: usize) {
        let (tasks, asked) = (self.book.tasks().len(), self.judge.questions());
        eventually("the service is at work", async || {
            self.book.tasks().len() >= tasks + more && self.judge.questions() >= asked + more as u64
        })
        .await;
    }

    /// Lets the clients end, then all tasks, and holds everything against each other.
    pub async fn settle(&self, service: &Service) {
        self.settle_with(service, self.lives()).await;
    }

    /// The same, where no task may have been begun more often than that.
    pub async fn settle_with(&self, service: &Service, attempts: u64) {
        self.quiet().await;
        audit::audit(self, service, attempts).await.assert_clean(self.seed);
    }

    /// Lets the clients end and all tasks.
    async fn quiet(&self) {
        self.book.stop.cancel();
        let mut clients = self.clients.lock().await;
        let ended = async {
            while let Some(ended) = clients.join_next().await {
                ended.unwrap();
            }
            let ids: Vec<u64> = self.book.tasks().iter().filter(|(_, task)| !task.deleted).map(|(id, _)| *id).collect();
            for number in ids {
                self.book.ended(number).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, ended).await.is_ok();
        assert!(in_time, "seed {}: clients or tasks did not come to their end", self.seed);
    }
}

impl Book {
    pub fn tasks(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.tasks.lock().unwrap()
    }

    pub fn plan(&self, number: u64) -> Plan {
        Plan::of(self.seed, number)
    }

    /// An answer, or nothing if the service died over it.
    pub async fn try_once(&self, method: &str, path: &str, body: Option<String>) -> Option<Answer> {
        let url = self.url.subscribe().wait_for(Option::is_some).await.ok()?.clone()?;
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

    fn unexpected(&self, what: &str, answer: &Answer) {
        self.seen.lock().unwrap().unexpected.push(format!("{what}: {} {}", answer.status, answer.text()));
    }

    fn unfinished(&self) -> usize {
        let tasks = self.tasks();
        let heard = self.judge.heard();
        let over = |number: u64, task: &Entry| {
            task.over || heard.get(&format!("task-{number}")).is_some_and(|heard| heard.over)
        };
        tasks.iter().rev().take(NEWEST).filter(|(number, task)| !over(**number, task)).count()
    }

    /// One of the newest tasks that `fits`.
    fn any(&self, fits: impl Fn(u64, &Entry) -> bool) -> Option<u64> {
        let tasks = self.tasks();
        let newest = tasks.iter().rev().take(NEWEST);
        let fitting: Vec<u64> =
            newest.filter(|(number, task)| fits(**number, task)).map(|(number, _)| *number).collect();
        fastrand::choice(fitting)
    }

    /// Waits for the end of a task and keeps it.
    async fn ended(&self, number: u64) {
        loop {
            let answer = self.ask("GET", &format!("/tasks/task-{number}?wait=10"), None).await;
            if answer.status != 200 {
                return self.unexpected(&format!("task-{number}"), &answer);
            }
            if self.note_end(number, answer.json()) {
                return;
            }
        }
    }

    /// Keeps how a task ended when that is seen first; whether it has.
    fn note_end(&self, number: u64, task: Value) -> bool {
        let ended = ["succeeded", "failed", "cancelled"].contains(&task["status"].as_str().unwrap_or_default());
        if ended {
            let mut tasks = self.tasks();
            let entry = tasks.get_mut(&number).unwrap();
            entry.over = true;
            entry.end.get_or_insert(task);
        }
        ended
    }
}

/// Submits one task after the other, each until it is accepted.
async fn submitting(book: Arc<Book>) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    while !book.stop.is_cancelled() {
        looks.tick().await;
        if book.unfinished() >= UNFINISHED {
            continue;
        }
        let number = book.next.fetch_add(1, Ordering::Relaxed);
        let plan = book.plan(number);
        std::fs::create_dir_all(book.home.code().join(&plan.id)).unwrap();
        let answer = book.ask("POST", "/tasks", Some(plan.posted().to_string())).await;
        match answer.status {
            200 | 202 => drop(book.tasks().insert(number, Entry::default())),
            _ => book.unexpected("a submission", &answer),
        }
    }
}

/// Cancels tasks at whatever moment it comes to them.
async fn cancelling(book: Arc<Book>) {
    let mut looks = tokio::time::interval(Duration::from_millis(7));
    while !book.stop.is_cancelled() {
        looks.tick().await;
        let fits = |number, task: &Entry| task.cancel_granted.is_none() && book.plan(number).fate == Fate::Cancel;
        let Some(number) = book.any(fits) else { continue };
        let answer = book.ask("POST", &format!("/tasks/task-{number}/cancel"), None).await;
        let granted = match answer.status {
            202 => true,
            409 => false,
            _ => return book.unexpected("a wish to cancel", &answer),
        };
        book.tasks().get_mut(&number).unwrap().cancel_granted = Some(granted);
        if granted {
            book.note_end(number, answer.json());
        }
    }
}

/// Deletes tasks when they have ended; until then the service says no.
async fn deleting(book: Arc<Book>) {
    let mut looks = tokio::time::interval(Duration::from_millis(11));
    while !book.stop.is_cancelled() {
        looks.tick().await;
        let over = |number: u64, task: &Entry| task.over || book.judge.is_over(&format!("task-{number}"));
        let fits = |number, task: &Entry| !task.deleted && over(number, task) && book.plan(number).fate == Fate::Delete;
        let Some(number) = book.any(fits) else { continue };
        let answer = book.ask("DELETE", &format!("/tasks/task-{number}"), None).await;
        match answer.status {
            // Gone already: the one who was to tell died.
            204 | 404 => {
                let mut tasks = book.tasks();
                let task = tasks.get_mut(&number).unwrap();
                (task.deleted, task.over) = (true, true);
            }
            409 => {}
            _ => book.unexpected("a wish to delete", &answer),
        }
    }
}

/// Reads tasks and records while they grow.
async fn reading(book: Arc<Book>) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while !book.stop.is_cancelled() {
        looks.tick().await;
        let Some(number) = book.any(|_, task| !task.deleted) else { continue };
        let follow = if fastrand::u32(0..10) == 0 { "?follow=true" } else { "" };
        let Some(log) = book.try_once("GET", &format!("/tasks/task-{number}/log{follow}"), None).await else {
            continue;
        };
        if log.status == 200 {
            let mut tasks = book.tasks();
            let before = &mut tasks.get_mut(&number).unwrap().record;
            let mut seen = book.seen.lock().unwrap();
            seen.torn += u64::from(whole_lines(&log.body).is_none());
            seen.went_back += u64::from(!log.body.starts_with(before));
            *before = log.body;
        }
        if let Some(task) = book.try_once("GET", &format!("/tasks/task-{number}"), None).await
            && task.status == 200
        {
            book.note_end(number, task.json());
        }
    }
}
