//! What many workers on one PostgreSQL get done, and what a worker costs the server:
//! `cargo bench --bench cluster`, or `cargo bench --bench cluster -- claims workers costs` for some.
//!
//! ```text
//!  this process: load on loopback, the clock, the table
//!    ├─ PostgreSQL, thrown away afterwards, that waits for the disk as a real one does
//!    ├─ services: the program itself, each with a home and a port of its own
//!    └─ `as brain …`   the brain: this program again, so that its processor time is nobody else's
//! ```
//!
//! Each figure is the median of [`ROUNDS`] rounds, one side and the other by turns.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a bench starts programs and has no shutdown to wait for")]
#![expect(clippy::cast_precision_loss, reason = "no figure has more digits than a float")]

#[expect(dead_code, reason = "the other bench uses all of it")]
#[path = "../service/brain.rs"]
mod brain;
mod claims;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/common/mod.rs"]
mod common;
mod costs;
mod filled;
#[expect(dead_code, reason = "the other bench uses all of it")]
#[path = "../service/load.rs"]
mod load;
#[expect(dead_code, reason = "the other bench uses all of it")]
#[path = "../service/measure.rs"]
mod measure;
#[path = "../service/place.rs"]
mod place;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/common/postgres.rs"]
mod postgres;
mod server;
#[path = "../service/table.rs"]
mod table;
mod workers;

use std::process::ExitCode;

use server::Server;
use table::{Row, Table};

/// Of three rounds the middle one is no outlier.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["as", "brain", rest @ ..] => brain::main(rest),
        chosen => return place::run(all(chosen)),
    }
    ExitCode::SUCCESS
}

async fn all(chosen: &[&str]) {
    let wanted = |figure: &str| chosen.is_empty() || chosen.contains(&figure);
    measure::open_many_files();
    let mut table = Table::begin();
    let Some(server) = Server::start().await else {
        table.add([Row::absent("", "PostgreSQL", "initdb and postgres are not installed")]);
        return table.end();
    };
    if wanted("claims") {
        table.add(claims::beside_history(&server).await);
    }
    if wanted("workers") {
        table.add(workers::one_and_four(&server).await);
    }
    if wanted("costs") {
        table.add(costs::beside_sqlite(&server).await);
    }
    table.end();
}
