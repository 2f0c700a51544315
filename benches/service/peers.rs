//! P3: tasks a second, beside the notes' program (a process for each task) and a `FastAPI` service of the same job.
//!
//! All three ask the same brain, which lets each task read the file four times and finishes it. Python is the one that
//! `python3` is, or a throw-away environment of it with what the two programs import.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ROUNDS;
use super::brain::{Brain, Ended, Script};
use super::common::Home;
use super::load::{self, Connection, Watch};
use super::measure::median;
use super::table::{Goal, Row};

/// Below the notes' own limit of seven iterations.
const READS: u32 = 4;

/// Tasks in a round, about three seconds for each of the programs.
const OURS: usize = 2000;
const NOTES: usize = 24;
const PEERS: usize = 200;

/// Processes of the notes' program at a time: as many as there are cores.
const SIDE_BY_SIDE: usize = 2;

/// How long the peer may take to listen.
const PATIENCE: Duration = Duration::from_mins(1);

pub async fn throughput() -> Vec<Row> {
    let tools = load::home();
    let python = match python(tools.path()) {
        Ok(python) => python,
        Err(reason) => {
            let row = |what| Row::absent("P3", what, &reason);
            return vec![row("tasks/s / the notes' program"), row("tasks/s / a FastAPI service")];
        }
    };
    let brain = Brain::start(Script::Reads(READS, Duration::ZERO));
    let (mut ours, mut notes, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        notes.push(of_the_notes(&python, &brain.url));
        peers.push(of_the_peer(&python, &brain.url).await);
        ours.push(of_ours(&brain.url).await);
    }
    let (ours, notes, peers) = (median(ours), median(notes), median(peers));
    vec![
        Row::ratio("P3", "tasks/s / the notes' program", Goal::AtLeast(100.0), (ours, notes), "/s"),
        Row::ratio("P3", "tasks/s / a FastAPI service", Goal::AtLeast(20.0), (ours, peers), "/s"),
    ]
}

/// A Python with what the programs import.
fn python(dir: &Path) -> Result<PathBuf, String> {
    let has = |python: &Path| {
        let imports = "import dotenv, fastapi, httpx, requests, uvicorn";
        let found = Command::new(python).args(["-c", imports]).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    };
    let system = PathBuf::from("python3");
    if has(&system) {
        return Ok(system);
    }
    let venv = dir.join("venv");
    let made = Command::new(&system).args(["-m", "venv"]).arg(&venv).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        return Err("python3 with venv is not installed".to_owned());
    }
    let python = venv.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["fastapi", "httpx", "python-dotenv", "requests", "uvicorn"]).stderr(Stdio::null());
    let _ = pip.status();
    if has(&python) { Ok(python) } else { Err("pip cannot install fastapi".to_owned()) }
}

async fn of_ours(brain: &str) -> f64 {
    let home = load::home();
    let service = load::service(home.clone(), brain, &[]).await;
    let mut watch = Watch::open(&home).await;
    let started = Instant::now();
    load::post(&service, 64, OURS, &load::task(7)).await;
    watch.until_ended().await;
    let rate = OURS as f64 / started.elapsed().as_secs_f64();
    watch.close().await;
    rate
}

async fn of_the_peer(python: &Path, brain: &str) -> f64 {
    let home = load::home();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/service");
    let mut command = Command::new(python);
    command.args(["-m", "uvicorn", "peer:app", "--app-dir", source, "--log-level", "warning", "--port"]);
    command.arg(port.to_string()).env("PYTHONDONTWRITEBYTECODE", "1").env("MCP_SERVER_URL", brain);
    command.env("CODE_DIR", home.code()).env("OUTPUT_DIR", home.output());
    let mut child = Ended(command.spawn().unwrap());
    let url = format!("http://127.0.0.1:{port}");
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < PATIENCE && child.0.try_wait().unwrap().is_none(), "the peer does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let started = Instant::now();
    let posting = (0..8).map(|_| async {
        let mut connection = Connection::open(&url).await;
        for _ in 0..PEERS / 8 {
            assert_eq!(connection.send("POST", "/tasks", &load::task(7)).await.0, 202);
        }
    });
    futures_util::future::join_all(posting).await;
    let mut connection = Connection::open(&url).await;
    while connection.send("GET", "/unfinished", "").await.1 != b"0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    PEERS as f64 / started.elapsed().as_secs_f64()
}

fn of_the_notes(python: &Path, brain: &str) -> f64 {
    let home = load::home();
    let program = agent(&home);
    let started = Instant::now();
    let mut running = Vec::new();
    for number in 0..NOTES {
        if running.len() == SIDE_BY_SIDE {
            end(running.remove(0));
        }
        let task = home.path().join(format!("task-{number}.json"));
        std::fs::write(&task, format!(r#"{{"task_id":"notes-{number}","instruction":"Read."}}"#)).unwrap();
        let mut command = Command::new(python);
        command.arg(&program).arg("--task_file").arg(task).current_dir(home.path());
        command.env("MCP_SERVER_URL", brain).env("PYTHONUTF8", "1");
        running.push(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }
    running.into_iter().for_each(end);
    let rate = NOTES as f64 / started.elapsed().as_secs_f64();
    let record = std::fs::read_to_string(home.record("notes-0")).unwrap();
    assert_eq!(record.lines().count(), READS as usize + 1, "the notes' program did another job");
    rate
}

fn end(mut child: Child) {
    assert!(child.wait().unwrap().success(), "the notes' program failed");
}

/// The notes' program with its two paths changed to those of the home.
fn agent(home: &Home) -> PathBuf {
    let notes = include_str!("../../tests/data/agent-notes.txt");
    let (_, program) = notes.split_once("```python\n").unwrap();
    let mut program = program.split_once("\n```").unwrap().0.to_owned();
    for (path, ours) in [("\"/app/code\"", home.code()), ("\"/app/output\"", home.output())] {
        assert_eq!(program.matches(path).count(), 1);
        program = program.replace(path, &format!("{:?}", ours.display().to_string()));
    }
    let path = home.path().join("agent.py");
    std::fs::write(&path, program).unwrap();
    // It looks for one from its own directory upwards, and stops at the first.
    std::fs::write(home.path().join(".env"), "").unwrap();
    path
}
