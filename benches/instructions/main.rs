//! How many instructions an iteration takes, and where: `cargo bench --bench instructions`.
//!
//! Instructions are the same on a noisy machine: a change of a hundredth is seen, which no clock here shows. callgrind
//! counts them in a process that has the loop and all it stands on, but no HTTP side; the brain is another process.
//!
//! ```text
//!  this process ─┬─ `as brain …`
//!                └─ valgrind ─ `as loop …`  twice, with few iterations and with many: what is more, is the iterations'
//! ```
//!
//! What callgrind does not see: the kernel's work. What it sees otherwise: it knows no SHA instructions, so that a hash
//! is reckoned the long way.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a bench starts programs and has no shutdown to wait for")]

#[expect(dead_code, reason = "the bench of the whole service uses all of it")]
#[path = "../service/brain.rs"]
mod brain;
mod counted;
#[expect(dead_code, reason = "other benches use the rest")]
#[path = "../parts/mod.rs"]
mod parts;
mod profile;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use brain::{Brain, Script};
use profile::Profile;

/// Tasks at a time: enough that commits are shared.
const TASKS: u32 = 8;

/// Iterations of each in the two runs. What is done once, for the process or for a task, is in both.
const FEW: u32 = 50;
const MANY: u32 = 150;

/// Functions that are named.
const NAMED: usize = 25;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["as", "brain", rest @ ..] => brain::main(rest),
        ["as", "loop", rest @ ..] => counted::main(rest),
        _ if !is_here("valgrind") || !is_here("callgrind_annotate") => {
            println!("valgrind is not installed here: nothing is counted");
        }
        _ => compare(),
    }
}

fn compare() {
    let dir = tempfile::tempdir().unwrap();
    let [few, many] = [FEW, MANY].map(|iterations| run(dir.path(), iterations));
    let more = u64::from(TASKS * (MANY - FEW));
    let total = (many.total - few.total) / more;
    println!("{total} instructions per iteration (read_file, durable, recorded, {TASKS} tasks at a time)");
    println!("\nwith what they call:");
    Profile::print_more(&few.inclusive, &many.inclusive, more, NAMED);
    println!("\nthemselves:");
    Profile::print_more(&few.own, &many.own, more, NAMED);
}

/// One run under callgrind, in a home of its own.
fn run(dir: &Path, iterations: u32) -> Profile {
    let (home, out) = (dir.join(iterations.to_string()), dir.join(format!("callgrind.{iterations}")));
    std::fs::create_dir(&home).unwrap();
    let brain = Brain::start(Script::Reads(iterations - 1, Duration::ZERO));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]).arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe().unwrap()).args(["as", "loop", &brain.url]).arg(&home);
    command.args([TASKS.to_string(), iterations.to_string()]);
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(done.status.success(), "{}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    Profile::read(&out)
}

fn is_here(program: &str) -> bool {
    let tried = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok()
}
