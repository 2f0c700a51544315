//! P9: a record of 100 MB, beside nginx with the same file; where there is no nginx, beside a bare file server.
//!
//! The bare one does what nginx does by default: a thread per connection, one head, `sendfile`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use codex_agent::store::{SqliteStore, Store};
use rustix::process::Signal;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _};

use super::brain::{self, Ended};
use super::common::Home;
use super::load::{self, Connection};
use super::measure::medians;
use super::table::{Goal, Row};

/// The record's length, and that of each of its lines.
const BYTES: usize = 100_000_000;
const LINE: usize = 10_000;

/// Downloads of each kind, by turns.
const DOWNLOADS: usize = 15;

pub async fn log() -> Vec<Row> {
    let home = load::home();
    record(&home).await;
    let service = load::service(home.clone(), "script:", &[]).await;
    let dir = home.record("long").parent().unwrap().to_owned();
    let (server, url, name) = nginx(home.path(), &dir).unwrap_or_else(|| {
        let (child, first) = brain::again(&["files", dir.to_str().unwrap()]);
        (child, format!("http://{first}"), "a bare sendfile server")
    });
    let mut rounds = Vec::new();
    for turn in 0..DOWNLOADS {
        let pair = (rate(&service.url, "/tasks/long/log").await, rate(&url, "/long.jsonl").await);
        // The first one fills the system's cache.
        if turn > 0 {
            rounds.push(pair);
        }
    }
    drop(server);
    let what = format!("log download, 100 MB / {name}");
    vec![Row::ratio("P9", &what, Goal::AtLeast(0.8), medians(&rounds), "MB/s")]
}

/// An ended task with a long record. What the store says of it is its length, so one line in the database will do.
async fn record(home: &Home) {
    let file = home.output().join("codex-agent.db");
    std::fs::create_dir_all(home.record("long").parent().unwrap()).unwrap();
    let line = "x".repeat(LINE - 1) + "\n";
    std::fs::write(home.record("long"), line.repeat(BYTES / LINE)).unwrap();
    SqliteStore::open(&file, Duration::from_hours(1)).await.unwrap().close().await;
    let mut db = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    let sql = "INSERT INTO tasks (id, priority, max_iterations, status, iteration, log_bytes, filed, created_at, finished_at) \
               VALUES ('long', 0, 7, 'succeeded', 1, ?, 1, 0, 0)";
    sqlx::query(sql).bind(i64::try_from(BYTES).unwrap()).execute(&mut db).await.unwrap();
    sqlx::query(r#"INSERT INTO posted (seq, body) VALUES (1, '{"instruction":"x"}')"#).execute(&mut db).await.unwrap();
    let sql = "INSERT INTO iterations (seq, iteration, log_end, line) VALUES (1, 1, ?, 'x')";
    sqlx::query(sql).bind(i64::try_from(BYTES).unwrap()).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

async fn rate(url: &str, path: &str) -> f64 {
    let mut connection = Connection::open(url).await;
    let started = Instant::now();
    assert_eq!(connection.drain(path).await, BYTES);
    BYTES as f64 / 1e6 / started.elapsed().as_secs_f64()
}

/// A nginx of its own with what its packages set by default, but one process: workers outlive a master that is killed.
/// `None` where there is none.
fn nginx(home: &Path, files: &Path) -> Option<(Ended, String, &'static str)> {
    let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
    let (home, files) = (home.display(), files.display());
    let conf = format!(
        "user root; daemon off; master_process off; pid {home}/nginx.pid; error_log {home}/nginx.log;\n\
         events {{ worker_connections 768; }}\n\
         http {{ sendfile on; tcp_nopush on; access_log off; client_body_temp_path {home}/nginx-body;\n\
         proxy_temp_path {home}/nginx-proxy; fastcgi_temp_path {home}/nginx-fastcgi; uwsgi_temp_path {home}/nginx-uwsgi;\n\
         scgi_temp_path {home}/nginx-scgi; server {{ listen 127.0.0.1:{port}; root {files}; }} }}\n"
    );
    let (path, log) = (format!("{home}/nginx.conf"), format!("{home}/nginx.log"));
    std::fs::write(&path, conf).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["as", "nginx", &path, &log]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = Ended(command.spawn().ok()?);
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = child.0.try_wait().is_ok_and(|ended| ended.is_some());
        if ended || started.elapsed() > Duration::from_secs(10) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some((child, format!("http://127.0.0.1:{port}"), "nginx"))
}

/// Becomes nginx, which knows no end of stdin: the kernel kills it when the bench is gone, however that came.
pub fn become_nginx(arguments: &[&str]) {
    let [conf, log] = arguments else { panic!("nginx CONF LOG") };
    // The bench's first thread has started this, and lives as long as the bench.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let error = Command::new("nginx").args(["-e", log, "-c", conf]).exec();
    panic!("nginx: {error}");
}

/// What the bare file server does.
pub fn main(arguments: &[&str]) {
    brain::end_with_stdin();
    let [dir] = arguments else { panic!("files DIR") };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        let (stream, dir) = (stream.unwrap(), (*dir).to_owned());
        std::thread::spawn(move || serve(stream, Path::new(&dir)));
    }
}

fn serve(mut stream: TcpStream, dir: &Path) {
    let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut bytes).unwrap();
        if count == 0 {
            return;
        }
        head.extend_from_slice(&bytes[..count]);
    }
    let head = String::from_utf8(head).unwrap();
    let file = File::open(dir.join(head.split(' ').nth(1).unwrap().trim_start_matches('/'))).unwrap();
    let length = file.metadata().unwrap().len();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").unwrap();
    let mut left = usize::try_from(length).unwrap();
    while left > 0 {
        left -= rustix::fs::sendfile(stream.as_fd(), file.as_fd(), None, left).unwrap();
    }
}
