//! What a user of the running service sees, over HTTP and on disk.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/mask.rs"]
mod mask;
#[path = "../common/postgres.rs"]
#[expect(dead_code, clippy::disallowed_methods, reason = "it starts processes, and has more than this target needs")]
mod postgres;

mod bad_input;
mod brains;
mod cancel;
mod confined;
mod crash;
mod doctor;
mod events;
mod example_brains;
mod export;
mod fidelity;
mod hostile;
mod keeping;
mod label;
mod lease;
mod list;
mod log;
mod metrics;
mod network;
mod notes_parity;
mod ordinary;
mod pod;
mod script;
mod steward;
mod submit;
mod tools;
mod workers;
