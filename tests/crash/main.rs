//! What a service leaves behind that is killed again and again, and what one does whose disk, database or brain fails.
//!
//! ```text
//!  plan (steps, trouble) ── what each task's brain will say, and what must come of it: known beforehand, from the task's
//!    number alone
//!  judge (bench) ── the brain: follows the plan; compares every step with what it was asked before
//!  storm (book, clients) ── clients that submit, cancel, delete and read all the while, and the lives and deaths of the
//!    service
//!  watch ── what a life takes of the machine
//!  audit (effects, table) ── at the end everything over HTTP, on disk and in the brain's memory is held against each other
//! ```
//!
//! The same clients and the same audit see three workers on one PostgreSQL through (cluster).
//!
//! `CODEX_AGENT_KILLS=500` kills that often, `CODEX_AGENT_SOAK=50000` runs so many tasks through 21 lives;
//! `CODEX_AGENT_SEED=…` repeats a run's choices (its moments are the machine's).
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a harness reads its variables and starts what it needs")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod common;
#[path = "../common/postgres.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod postgres;
#[path = "../common/proxy.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod proxy;

mod audit;
mod bench;
mod book;
mod clients;
mod cluster;
mod disk;
mod effects;
mod judge;
mod kills;
mod outages;
mod plan;
mod points;
mod race;
mod soak;
mod steps;
mod storm;
mod table;
mod trouble;
mod watch;
