//! P10: the beginning of a very long file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_agent::domain::{Intent, Json, ToolCall};
use codex_agent::sandbox::{self, Limits, Network, Requirement, Sandbox};
use codex_agent::tools::{Intentions, Policy, Settings, Toolbox};
use tokio_util::sync::CancellationToken;

use super::measure::{median, resident};
use super::table::{Goal, Row};
use super::{ROUNDS, brain, load};

/// Ten gigabytes, of which the first [`TEXT`] bytes are there.
const LENGTH: u64 = 10_000_000_000;
const TEXT: usize = 1 << 20;

/// Calls a round, after a few that fill caches.
const CALLS: u32 = 2000;
const FIRST_CALLS: u32 = 100;

pub fn reading() -> Vec<Row> {
    let home = load::home();
    let mut file = File::create(home.code().join("long.txt")).unwrap();
    file.write_all("a line of a long file\n".repeat(TEXT / 22).as_bytes()).unwrap();
    file.set_len(LENGTH).unwrap();
    let (mut times, mut grown) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut child, first) = brain::again(&["reader", home.code().to_str().unwrap()]);
        let _ = child.wait();
        let (time, growth) = first.split_once(' ').unwrap();
        times.push(time.parse::<f64>().unwrap());
        grown.push(growth.parse::<f64>().unwrap());
    }
    let what = "read_file of 4,000 characters of 10 GB";
    vec![
        Row::plain("P10", what, Goal::AtMost(1.0), median(times), "ms"),
        // Flat: less than a page for each ten calls, whatever the allocator does.
        Row::plain("P10", "growth of RSS over 2,000 such calls", Goal::AtMost(0.5), median(grown), "MiB"),
    ]
}

/// What the reading process does; it prints milliseconds per call and mebibytes of growth.
pub fn main(arguments: &[&str]) {
    let [dir] = arguments else { panic!("reader DIR") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let toolbox = toolbox(Path::new(dir)).await;
        let arguments = Json::parse(r#"{"file_path":"long.txt","end":4000}"#).unwrap();
        let call = ToolCall { name: "read_file".to_owned(), arguments };
        let read = async || {
            let Ok(done) = toolbox.call(None, &call, None, &Nowhere, &CancellationToken::new()).await;
            assert!(done.result.as_str().contains("\"next_start\":4000"), "{}", done.result.as_str());
        };
        for _ in 0..FIRST_CALLS {
            read().await;
        }
        let me = std::process::id();
        let (before, started) = (resident(me), Instant::now());
        for _ in 0..CALLS {
            read().await;
        }
        let time = started.elapsed().as_secs_f64() * 1e3 / f64::from(CALLS);
        println!("{time} {}", (resident(me) - before).max(0.0) / 1024.0 / 1024.0);
    });
}

/// Nothing is edited here.
struct Nowhere;

impl Intentions for Nowhere {
    type Error = std::convert::Infallible;

    async fn record(&self, _: Intent) -> Result<(), Self::Error> {
        Ok(())
    }
}

async fn toolbox(home: &Path) -> Toolbox {
    let settings = sandbox::Settings {
        requirement: Requirement::Off,
        network: Network::None,
        read: Vec::new(),
        write: Vec::new(),
        environment: Vec::new(),
        path: "/usr/bin:/bin".into(),
        limits: Limits::default(),
        code_dir: home.to_owned(),
        private: Vec::new(),
        temporary: std::env::temp_dir(),
        supervisor: env!("CARGO_BIN_EXE_codex-agent").into(),
    };
    let settings = Settings {
        timeout: Duration::from_secs(20),
        timeout_max: Duration::from_secs(20),
        max_output: 20_000,
        max_commands: 1,
        sandbox: Arc::new(Sandbox::new(settings).await.unwrap()),
        limits: Limits::default(),
        policy: Arc::new(Policy::load(None, true).unwrap()),
    };
    Toolbox::new(home.to_owned(), settings)
}
