//! What a call of a file tool costs, and a check of the policy: `cargo bench --bench files`. With one name behind it
//! (`read`, `write`, `patch`, `policy`) it makes 1000 such calls and nothing else, for callgrind to count.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and fails aloud")]

mod parts;

use std::hint::black_box;
use std::time::{Duration, Instant};

use codex_agent::domain::{Json, ToolCall};
use codex_agent::tools::Policy;
use parts::toolbox;

/// Calls a round; the median of the rounds counts.
const CALLS: u32 = 1000;
const ROUNDS: usize = 5;

/// The files that the calls work on: 200 lines, as a source file has.
const LINES: usize = 200;

fn main() {
    let chosen = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let toolbox = runtime.block_on(toolbox::toolbox(home.path()));
    let lines: Vec<String> = (0..LINES).map(|line| format!("line {line} of a file")).collect();
    let text = lines.join("\n") + "\n";
    std::fs::write(home.path().join("file"), &text).unwrap();
    let policy = Policy::load(None, true).unwrap();
    let call = |name: &str, arguments: serde_json::Value| {
        let call = ToolCall { name: name.to_owned(), arguments: Json::parse(&arguments.to_string()).unwrap() };
        let done = runtime.block_on(toolbox::call(&toolbox, &call));
        assert!(done.result.as_str().contains("success"), "{}", done.result.as_str());
    };
    let patch = |from: &str, to: &str| {
        format!(
            "@@ -100,3 +100,3 @@\n line 99 of a file\n-line 100 {from} a file\n+line 100 {to} a file\n line 101 of a file\n"
        )
    };
    let words: Vec<String> = ["cargo", "test", "--lib"].map(str::to_owned).to_vec();
    let measure = |name: &str, run: &mut dyn FnMut(u32)| {
        if let Some(chosen) = &chosen {
            if chosen == name {
                (0..CALLS).for_each(run);
            }
            return;
        }
        let mut rounds: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                let started = Instant::now();
                (0..CALLS).for_each(&mut *run);
                started.elapsed() / CALLS
            })
            .collect();
        rounds.sort();
        println!("{name:<8} {:>10.2?}", rounds[ROUNDS / 2]);
    };
    measure("read", &mut |_| call("read_file", serde_json::json!({"file_path": "file", "end": 4000})));
    measure("write", &mut |_| call("edit_file", serde_json::json!({"file_path": "new", "new_content": text})));
    measure("patch", &mut |turn| {
        let (from, to) = if turn % 2 == 0 { ("of", "from") } else { ("from", "of") };
        call("edit_file", serde_json::json!({"file_path": "file", "diff_patch": patch(from, to)}));
    });
    measure("policy", &mut |_| {
        policy.check(black_box("cargo test --lib"), black_box(&words)).unwrap();
    });
}
