//! What the whole service costs and holds (P1 to P10), each figure beside its floor from the same run:
//! `cargo bench --bench service`, or `cargo bench --bench service -- p1 p4` for some. `-- scale` is what happens with very
//! many tasks and is not among them: it takes minutes.
//!
//! ```text
//!  this process: load on loopback, the clock, the table
//!    ├─ the service, the program itself, with a home and a port of its own
//!    ├─ `as brain …`   the brain: this program again, so that its processor time is nobody else's
//!    └─ `as bare …`    what a figure is compared with, as a process of its own likewise
//! ```
//!
//! Each figure is the median of [`ROUNDS`] rounds, ours and the floor by turns.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a bench starts programs and has no shutdown to wait for")]
#![expect(clippy::cast_precision_loss, reason = "no figure has more digits than a float")]

mod bare;
mod big_file;
mod brain;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/common/mod.rs"]
mod common;
mod disk;
mod download;
mod filled;
mod history;
mod iterations;
mod latency;
mod load;
mod measure;
mod memory;
#[path = "../parts/mod.rs"]
mod parts;
mod peers;
mod place;
mod retention;
mod scale;
mod table;
mod wal;

use std::process::ExitCode;

use table::{Row, Table};

/// Of three rounds the middle one is no outlier.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["as", "brain", rest @ ..] => brain::main(rest),
        ["as", "bare", rest @ ..] => bare::main(rest),
        ["as", "files", rest @ ..] => download::main(rest),
        ["as", "nginx", rest @ ..] => download::become_nginx(rest),
        ["as", "reader", rest @ ..] => big_file::main(rest),
        chosen => return place::run(all(chosen)),
    }
    ExitCode::SUCCESS
}

async fn all(chosen: &[&str]) {
    let wanted = |figure: &str| chosen.is_empty() || chosen.contains(&figure);
    // For ten thousand connections, of the programs that are started here too.
    measure::open_many_files();
    let mut table = Table::begin();
    if wanted("p1") {
        table.add(iterations::processor_time().await);
    }
    if wanted("p2") {
        table.add([Row::absent("P2", "run_command true", "see cargo bench --bench spawn")]);
    }
    if wanted("p3") {
        table.add(peers::throughput().await);
    }
    if wanted("p4") {
        table.add(disk::rates().await);
    }
    if wanted("p5") {
        table.add(memory::waiting().await);
    }
    if wanted("p6") {
        table.add(latency::under_load().await);
    }
    if wanted("p7") || wanted("p8") {
        table.add(history::million(wanted("p7"), wanted("p8")).await);
    }
    if wanted("p9") {
        table.add(download::log().await);
    }
    if wanted("p10") {
        table.add(big_file::reading());
    }
    if chosen.contains(&"scale") {
        table.add(scale::scale().await);
    }
    table.end();
}
