//! What a user of the running service sees, over HTTP and on disk.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod brains;
mod cancel;
mod crash;
mod fidelity;
mod list;
mod log;
mod network;
mod notes_parity;
mod submit;
mod tools;
