//! The lives of the service, and the clients that see through them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::audit;
use crate::bench::Bench;
use crate::book::Book;
use crate::clients;
use crate::common::{Home, PATIENCE, Service, eventually};
use crate::judge::{Askers, Judge};
use crate::plan::{Course, Mix};

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
    /// Whether several live at a time: then each has the files of the tasks that it ran.
    pub askers: Askers,
    beside: Mutex<Vec<Home>>,
    /// Where the service's root directory is seen from here, if that is another.
    pub root: OnceLock<PathBuf>,
}

impl Storm {
    /// With commands in a third of all calls, whose brain takes up to so many milliseconds for a step.
    pub async fn begin(slowness: u64) -> Self {
        Self::begin_with(Mix { commands: 350, slowness, reads: 5 }).await
    }

    pub async fn begin_with(mix: Mix) -> Self {
        Self::begin_for(mix, Askers::OneAfterTheOther).await
    }

    pub async fn begin_for(mix: Mix, askers: Askers) -> Self {
        let seed = std::env::var("CODEX_AGENT_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        let (home, course) = (Home::new(), Course { seed, mix });
        let judge = Judge::new(course, askers);
        let brain = Bench::open(&judge, "127.0.0.1:0".parse().unwrap()).await;
        let brain_url = format!("http://{}", brain.address);
        let (book, accepted) = Book::new(course, &judge, &home);
        let (brain, clients) = (Mutex::new(Some(brain)), tokio::sync::Mutex::new(clients::all(&book, accepted)));
        let (lives, root) = (AtomicU64::new(0), OnceLock::new());
        Self { seed, home, judge, brain, brain_url, book, clients, lives, askers, beside: Mutex::default(), root }
    }

    /// A life of the service; the clients are told where it is.
    pub async fn start(&self, variables: &[(&str, &str)]) -> Service {
        self.start_with(variables, |_| {}).await
    }

    /// The same, started as `prepare` makes it.
    pub async fn start_with(&self, variables: &[(&str, &str)], prepare: impl FnOnce(&mut Command)) -> Service {
        let service = self.start_in(self.home.clone(), variables, prepare).await;
        self.book.moved_to(&service.url);
        service
    }

    /// One of several, with directories of its own but for the workspaces.
    pub async fn start_beside(&self, home: Home, variables: &[(&str, &str)]) -> Service {
        self.beside.lock().unwrap().push(home.clone());
        let code = self.home.code().display().to_string();
        let variables: Vec<_> = variables.iter().copied().chain([("CODE_DIR", code.as_str())]).collect();
        self.start_in(home, &variables, |_| {}).await
    }

    async fn start_in(&self, home: Home, variables: &[(&str, &str)], prepare: impl FnOnce(&mut Command)) -> Service {
        let key = self.key_of_a_new_life();
        let ours = VARIABLES.into_iter().chain([("OPENAI_API_KEY", key.as_str())]);
        let variables: Vec<_> = ours.chain(variables.iter().copied()).collect();
        Service::start_with(home, &self.brain_url, &variables, prepare).await
    }

    /// What the brain knows the next life of the service by.
    pub fn key_of_a_new_life(&self) -> String {
        format!("life-{}", self.lives.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub fn lives(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }

    /// Wherever the record of a task may be.
    pub fn records(&self, id: &str) -> Vec<PathBuf> {
        let beside = self.beside.lock().unwrap();
        let homes = std::iter::once(&self.home).chain(beside.iter());
        homes.map(|home| self.seen(&home.record(id))).collect()
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

    /// Returns when that many more tasks than now have ended, however long it takes as long as some do.
    pub async fn ended(&self, more: usize) {
        let goal = self.book.ended() + more;
        while self.book.ended() < goal {
            let next = goal.min(self.book.ended() + 50);
            eventually("tasks end", async || self.book.ended() >= next).await;
        }
    }

    /// Lets all tasks end; there are no new ones, and no other calls, until the clients go on.
    pub async fn rest(&self) {
        self.book.rest(true);
        eventually("all tasks have ended", async || self.book.ended() == self.book.tasks().len()).await;
    }

    pub fn go_on(&self) {
        self.book.rest(false);
    }

    /// The service is not let run for so long.
    pub async fn stands_still(&self, service: &Service, time: Duration) {
        service.signal(Signal::STOP);
        tokio::time::sleep(time).await;
        service.signal(Signal::CONT);
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
        self.book.stop();
        let mut clients = self.clients.lock().await;
        let ended = async {
            while let Some(ended) = clients.join_next().await {
                ended.unwrap();
            }
            for number in self.book.unfinished() {
                self.book.wait_for(number).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, ended).await.is_ok();
        assert!(in_time, "seed {}: clients or tasks did not come to their end", self.seed);
    }
}
