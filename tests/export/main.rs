//! The export, judged by those who take it: trainers, validators, and a search for what must not be in it.
//!
//! ```text
//!  stories, planted  what happened in some tasks     check       runs the program and, on what it wrote, the scripts here
//!  world             puts it into a database         directory   what it wrote
//!
//!  takers     trainers and validators take each row  selection   what is asked for comes, and nothing else
//!  faithful, any, pairs   rows say what was          secrets     none gets out
//!  layout     whole, the same again, added to
//! ```
//!
//! Each script is one check and can be run by hand. A package that is missing is said aloud, and its check skipped.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails aloud")]
#![expect(clippy::print_stdout, reason = "what was counted is shown with --nocapture")]
#![expect(clippy::disallowed_methods, reason = "a harness starts processes")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod common;

mod any;
mod check;
mod directory;
mod faithful;
mod layout;
mod pairs;
mod planted;
mod secrets;
mod selection;
mod stories;
mod takers;
mod world;
