//! P10: the beginning of a very long file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use codex_agent::domain::{Json, ToolCall};

use super::measure::{median, resident};
use super::parts::toolbox;
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
        let _ = child.0.wait();
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
        let toolbox = toolbox::toolbox(Path::new(dir)).await;
        let arguments = Json::parse(r#"{"file_path":"long.txt","end":4000}"#).unwrap();
        let call = ToolCall { name: "read_file".to_owned(), arguments };
        let read = async || {
            let done = toolbox::call(&toolbox, &call).await;
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
