//! A cluster: a database, and nodes that run the program on it, each through a proxy of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::common::{Home, Service};
use crate::postgres::{Database, Postgres};
use crate::proxy::Proxy;
use crate::referee::Referee;
use crate::witness::Witness;

/// A lease that tests can wait for, in seconds.
pub const LEASE: u64 = 1;

/// What all nodes share.
pub struct Cluster {
    pub database: Database,
    pub witness: Witness,
    pub referee: Referee,
    shared: Home,
    /// For all nodes.
    variables: Vec<(String, String)>,
}

/// A place where the program runs; it may live there several times.
pub struct Node {
    pub proxy: Proxy,
    name: String,
    /// The database's, by way of the proxy.
    address: String,
    home: Home,
    brain: String,
    variables: Vec<(String, String)>,
    lives: u32,
    service: Option<Service>,
    /// What each life has said.
    said: Vec<Arc<Mutex<String>>>,
}

impl Cluster {
    /// On a database in the cluster that the tests share, if there is PostgreSQL.
    pub async fn begin(referee: Referee) -> Option<Self> {
        Some(Self::on(Postgres::database().await?, referee).await)
    }

    /// On this database, which is fresh.
    pub async fn on(database: Database, referee: Referee) -> Self {
        let shared = Home::new();
        let settings = [
            ("CODE_DIR", shared.code().display().to_string()),
            ("LEASE", LEASE.to_string()),
            ("LOST_LIMIT", "1000000".to_owned()),
            ("MCP_RETRIES", "100".to_owned()),
            ("RUST_LOG", "warn,codex_agent::cli=info,codex_agent::scheduler=info".to_owned()),
        ];
        let variables = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let cluster = Self { witness: Witness::of(&database), database, referee, shared, variables };
        // The first start makes the tables, which the witness is to look at before anything is in them.
        let mut first = cluster.node("first", &[]).await;
        first.start().await;
        first.stop().await;
        cluster.witness.take_the_stand().await;
        cluster
    }

    /// A node that does not run yet, with further variables.
    pub async fn node(&self, name: &str, variables: &[(&str, &str)]) -> Node {
        let own = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let proxy = Proxy::before(self.database.cluster.socket()).await;
        Node {
            address: self.database.url_at(proxy.port),
            proxy,
            name: name.to_owned(),
            home: Home::new(),
            brain: self.referee.url.clone(),
            variables: self.variables.iter().cloned().chain(own).collect(),
            lives: 0,
            service: None,
            said: Vec::new(),
        }
    }

    /// A node that runs.
    pub async fn running(&self, name: &str, variables: &[(&str, &str)]) -> Node {
        let mut node = self.node(name, variables).await;
        node.start().await;
        node
    }

    /// The workspace of all tasks.
    pub fn code(&self) -> PathBuf {
        self.shared.code()
    }
}

impl Node {
    /// Starts the program; returns when it listens. The database knows each life by its name.
    pub async fn start(&mut self) {
        self.start_with(|_| {}).await;
    }

    /// The same, started as `prepare` makes it.
    pub async fn start_with(&mut self, prepare: impl FnOnce(&mut tokio::process::Command)) {
        self.lives += 1;
        let life = self.life();
        let address = format!("{}&options=-c%20codex.life%3D{life}", self.address);
        let mut variables: Vec<_> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // The referee knows it by its key.
        variables.extend([("DATABASE_URL", address.as_str()), ("OPENAI_API_KEY", life.as_str())]);
        let service = Service::start_with(self.home.clone(), &self.brain, &variables, prepare).await;
        self.said.push(service.said());
        assert!(self.service.replace(service).is_none(), "{} runs already", self.name);
    }

    /// What this life is called in the database and by the referee.
    pub fn life(&self) -> String {
        format!("{}.{}", self.name, self.lives)
    }

    /// The program as it runs.
    pub fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    pub fn is_running(&self) -> bool {
        self.service.is_some()
    }

    /// How often any of its lives has said that.
    pub fn has_said(&self, what: &str) -> usize {
        self.said.iter().map(|said| said.lock().unwrap().matches(what).count()).sum()
    }

    /// The program has not ended by itself, as far as it was to run.
    pub fn assert_lives(&self) {
        let Some(service) = &self.service else { return };
        let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap_or_default();
        let dead = status.is_empty() || status.contains("State:\tZ");
        assert!(!dead, "{} has ended by itself:\n{}", self.life(), service.log());
    }

    /// As a power failure would.
    pub async fn kill(&mut self) {
        self.service.take().unwrap().kill().await;
    }

    /// As an orchestrator does; it has to end well.
    pub async fn stop(&mut self) {
        let service = self.service.take().unwrap();
        let said = service.said();
        let (_, code) = service.stop().await;
        assert_eq!(code, Some(0), "{}: {}", self.life(), said.lock().unwrap());
    }

    pub fn freeze(&self) {
        self.service().signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.service().signal(Signal::CONT);
    }
}
