//! A throwaway PostgreSQL of a test's own, that does not outlive the test's process, however that ends.
//!
//! ```text
//!  test process ── pipe ──► sh, the keeper ──► postgres ──► a Unix socket in the cluster's directory, no TCP
//!       │                     │
//!       │ dies (exit, kill -9): the pipe ends, the keeper stops the server and removes the directory
//!       │ stop(): a line on the pipe, the keeper goes and leaves the directory, for the next start()
//!       ▼
//!  Postgres::database()  one cluster for all tests of a target, a database for each
//!  Postgres::own(&[…])   a cluster that only one test has: to be stopped, restarted, frozen
//! ```
//!
//! The server refuses to run as root. Then it runs as the user that the tests run as once more, and the directory is that one's.

#[path = "postgres/database.rs"]
mod database;
#[path = "postgres/place.rs"]
mod place;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;

pub use database::Database;

use crate::common::{eventually, skip};
use place::{NOBODY, directory, programs};

/// The user that the server and its clients are called, there and here.
const USER: &str = "codex";

/// For the cluster that tests share: no test cuts the power, so nothing is lost by not waiting for the disk; many services
/// with many connections each; and a time zone that shows whoever takes a local time for UTC.
const SHARED: [&str; 4] =
    ["fsync=off", "max_connections=300", "timezone=Asia/Kathmandu", "log_timezone=Asia/Kathmandu"];

/// It runs while `read` waits. At the end of the pipe the test's process is gone, and so must be everything else.
const KEEPER: &str = r#"
dir=$1; shift
"$@" >> "$dir/log" 2>&1 < /dev/null &
if read -r _; then wait; exit; fi
kill -QUIT $!; kill -CONT $!; wait
rm -rf "$dir"
"#;

/// A cluster.
pub struct Postgres {
    dir: PathBuf,
    programs: PathBuf,
    settings: Vec<String>,
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Transactions are rolled back and clients told; all is written before it goes.
    Fast,
    /// It lets go of everything at once; the next start recovers.
    Immediate,
}

impl Postgres {
    /// A fresh database in the cluster that the tests of this target share; nothing where PostgreSQL is not installed.
    pub async fn database() -> Option<Database> {
        static SHARED_CLUSTER: OnceCell<Option<Arc<Postgres>>> = OnceCell::const_new();
        let cluster = SHARED_CLUSTER.get_or_init(|| Postgres::of(&SHARED)).await;
        match cluster {
            Some(cluster) => Some(cluster.create().await),
            None => missing(),
        }
    }

    /// A running cluster of one's own with further settings; nothing where PostgreSQL is not installed.
    pub async fn own(settings: &[&str]) -> Option<Arc<Self>> {
        Self::of(settings).await.or_else(missing)
    }

    async fn of(settings: &[&str]) -> Option<Arc<Self>> {
        let programs = programs()?;
        let dir = directory();
        let cluster = Self {
            dir,
            programs,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            keeper: Mutex::default(),
            databases: AtomicU32::new(0),
        };
        let mut initdb = cluster.program("initdb");
        // Without a sync of its own: whatever the settings are, an empty cluster is nothing to lose.
        initdb.args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]);
        initdb.arg("--pgdata").arg(cluster.data());
        let made = blocking(move || initdb.output().unwrap()).await;
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        cluster.start().await;
        Some(Arc::new(cluster))
    }

    /// A fresh database.
    pub async fn create(self: &Arc<Self>) -> Database {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        Database::new(self, name)
    }

    /// Where its files are, and its socket.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Where its socket is.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(".s.PGSQL.5432")
    }

    /// What the server has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Starts the server that was stopped; returns when it takes connections.
    pub async fn start(&self) {
        let mut server = self.program("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(&self.dir).args(["-c", "listen_addresses="]);
        for setting in &self.settings {
            server.args(["-c", setting]);
        }
        let mut keeper = Command::new("sh");
        keeper.arg("-c").arg(KEEPER).arg("keeper").arg(&self.dir);
        keeper.arg(server.get_program()).args(server.get_args()).current_dir(&self.dir);
        // A signal from the terminal is for the tests: the keeper has to outlive them.
        let keeper = keeper.process_group(0).stdin(Stdio::piped()).spawn().unwrap();
        let before = self.keeper.lock().unwrap().replace(keeper);
        assert!(before.is_none(), "it runs already");
        eventually("PostgreSQL is ready", async || {
            let line = self.pid_file().and_then(|text| text.lines().nth(7).map(str::to_owned));
            line.is_some_and(|status| status.trim_end() == "ready")
        })
        .await;
    }

    /// Stops the server; returns when it is gone.
    pub async fn stop(&self, how: Stop) {
        let pid = self.pid();
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        kill_process(pid, signal).unwrap();
        let mut keeper = self.keeper.lock().unwrap().take().unwrap();
        keeper.stdin.take().unwrap().write_all(b"\n").unwrap();
        eventually("PostgreSQL has stopped", async || keeper.try_wait().unwrap().is_some()).await;
    }

    /// Stops it and starts it again.
    pub async fn restart(&self, how: Stop) {
        self.stop(how).await;
        self.start().await;
    }

    /// Stops all its processes where they are, until it is thawed.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets its processes go on.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// The server's first process.
    pub fn pid(&self) -> Pid {
        let text = self.pid_file().unwrap();
        Pid::from_raw(text.lines().next().unwrap().parse().unwrap()).unwrap()
    }

    /// What `psql` prints for these statements in a database: rows in lines, columns with `|` between; or its complaint.
    pub async fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.client();
        psql.args(["-U", USER, "-d", database, "-c", sql, "-h"]).arg(&self.dir);
        let Output { status, stdout, stderr } = blocking(move || psql.output().unwrap()).await;
        if status.success() {
            Ok(String::from_utf8(stdout).unwrap().trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&stderr).into_owned())
        }
    }

    /// `psql` that prints nothing but what statements give, still to be told where and what.
    pub fn client(&self) -> Command {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::null());
        psql
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn pid_file(&self) -> Option<String> {
        std::fs::read_to_string(self.data().join("postmaster.pid")).ok()
    }

    fn signal_all(&self, signal: Signal) {
        let server = self.pid();
        // The first process first: it would start others in the place of those that it misses.
        kill_process(server, signal).unwrap();
        for child in children(server) {
            // One that has just ended needs no signal.
            let _ = kill_process(child, signal);
        }
    }

    /// One of PostgreSQL's programs, as this user.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().env("LC_ALL", "C").current_dir(&self.dir);
        command
    }

    /// The same, as a user that the server accepts to run as.
    fn program(&self, name: &str) -> Command {
        if !rustix::process::geteuid().is_root() {
            return self.command(name);
        }
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}")).arg("--clear-groups");
        command.arg(self.programs.join(name)).env("LC_ALL", "C").current_dir(&self.dir);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match self.keeper.get_mut().unwrap().take() {
            Some(mut keeper) => {
                drop(keeper.stdin.take());
                let _ = keeper.wait();
            }
            None => drop(std::fs::remove_dir_all(&self.dir)),
        }
    }
}

fn missing<T>() -> Option<T> {
    skip("PostgreSQL's server (initdb, postgres) is not installed");
    None
}

fn children(parent: Pid) -> Vec<Pid> {
    let line = format!("/proc/{0}/task/{0}/children", parent.as_raw_nonzero());
    let line = std::fs::read_to_string(line).unwrap_or_default();
    line.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// Programs are waited for beside the threads that the test's own tasks run on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
