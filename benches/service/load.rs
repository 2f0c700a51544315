//! Load on the service that costs the load generator little, and a look at its database that costs the service nothing.

use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::brain::FILE;
use super::common::{Home, Service};

/// Lines of the file that steps read: an ordinary source file.
const LINES: usize = 200;

/// How often the database is looked at: a hundredth of the shortest round, or less.
const LOOK: Duration = Duration::from_millis(20);

/// Longer than a round takes on any machine that this is worth running on.
const PATIENCE: Duration = Duration::from_mins(5);

/// A home with the file that steps read.
pub fn home() -> Home {
    let home = Home::new();
    let lines: Vec<String> = (0..LINES).map(|line| format!("line {line} of a file")).collect();
    std::fs::write(home.code().join(FILE), lines.join("\n") + "\n").unwrap();
    home
}

/// A service on a home; what every round needs stands in the variables already.
pub async fn service(home: Home, brain: &str, variables: &[(&str, &str)]) -> Service {
    let mut all = vec![("MAX_ITERATIONS_LIMIT", "100000"), ("MAX_QUEUED", "1000000"), ("MCP_TIMEOUT", "3600")];
    all.extend_from_slice(variables);
    Service::start_in(home, brain, &all).await
}

/// A task that may take so many iterations.
pub fn task(iterations: u32) -> String {
    format!(r#"{{"instruction":"Read.","max_iterations":{iterations}}}"#)
}

/// Posts a task `count` times over so many connections.
pub async fn post(service: &Service, clients: usize, count: usize, body: &str) {
    let left = std::rc::Rc::new(std::cell::Cell::new(count));
    let posting = (0..clients).map(|_| async {
        let mut connection = Connection::open(&service.url).await;
        while let Some(next) = left.get().checked_sub(1) {
            left.set(next);
            let (status, answer) = connection.send("POST", "/tasks", body).await;
            assert_eq!(status, 202, "{}", String::from_utf8_lossy(&answer));
        }
    });
    futures_util::future::join_all(posting).await;
}

/// A connection of HTTP/1.1 that is kept.
pub struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(url: &str) -> Self {
        let host = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, host, buffer: Vec::with_capacity(64 * 1024) }
    }

    /// One request; the status and the body of its answer.
    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let (status, length) = self.head(method, path, body).await;
        while self.buffer.len() < length {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the answer broke off");
        }
        (status, self.buffer.drain(..length).collect())
    }

    /// One request whose body is only counted; how long it was.
    pub async fn drain(&mut self, path: &str) -> usize {
        let (status, length) = self.head("GET", path, "").await;
        assert_eq!(status, 200);
        let mut got = std::mem::take(&mut self.buffer).len();
        let mut bytes = vec![0; 256 * 1024];
        while got < length {
            let count = self.stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the answer broke off");
            got += count;
        }
        got
    }

    async fn head(&mut self, method: &str, path: &str, body: &str) -> (u16, usize) {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let end = loop {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "no answer");
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, length.unwrap_or_else(|| panic!("no length: {head}")).trim().parse().unwrap())
    }
}

/// Looks into a service's database.
pub struct Watch(SqliteConnection);

impl Watch {
    pub async fn open(home: &Home) -> Self {
        Self(
            SqliteConnectOptions::new()
                .filename(home.output().join("codex-agent.db"))
                .read_only(true)
                .connect()
                .await
                .unwrap(),
        )
    }

    /// Waits until no task is queued or running.
    pub async fn until_ended(&mut self) {
        self.until("SELECT COUNT(*) FROM tasks WHERE status IN ('queued', 'running')", |left| left == 0).await;
    }

    /// Waits until the files of what has ended are written as well.
    pub async fn until_filed(&mut self) {
        self.until_ended().await;
        self.until("SELECT COUNT(*) FROM tasks WHERE filed = 0 AND finished_at IS NOT NULL", |left| left == 0).await;
    }

    pub async fn until_running(&mut self, count: i64) {
        self.until("SELECT COUNT(*) FROM tasks WHERE status = 'running'", |running| running >= count).await;
    }

    pub async fn number(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.0).await.unwrap()
    }

    async fn until(&mut self, sql: &'static str, holds: impl Fn(i64) -> bool) {
        let started = Instant::now();
        while !holds(self.number(sql).await) {
            assert!(started.elapsed() < PATIENCE, "never came true: {sql}");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn close(self) {
        self.0.close().await.unwrap();
    }
}
