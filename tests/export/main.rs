//! The export, judged by those who take it: trainers, validators, and a search for what must not be in it.
//!
//! ```text
//!  stories   what happened in some tasks      check   runs the program and, on what it wrote, the scripts beside this file
//!  world     puts it into a database          takers  trainers and validators take each row
//!  planted   secrets of every kind            secrets none of them gets out
//! ```
//!
//! Each script is one check and can be run by hand. A package that is missing is said aloud, and its check skipped.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails aloud")]
#![expect(clippy::print_stdout, reason = "what was counted is shown with --nocapture")]
#![expect(clippy::disallowed_methods, reason = "a harness starts processes")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod common;

mod check;
mod directory;
mod faithful;
mod layout;
mod planted;
mod secrets;
mod stories;
mod takers;
mod world;
