//! How a command is confined, and certainly ended.
//!
//! ```text
//!  tools/run_command ── Command ─► execute ─► process group of its own, null stdin, fixed environment
//!                                     │         stdout ─► Capture (head and tail, counted)
//!                                     │         stderr ─► Capture
//!                                     └─ end, timeout or stop: the whole group is killed, then the result
//! ```
//!
//! This is the only room that starts processes. The layers that wall a command in (Landlock, seccomp, namespaces,
//! limits) have their place between `Command` and the spawn; until they are built, a command can do what the
//! service's user can, and `/readyz` says so.
//!
//! Deliberately absent: which words are refused. That is the policy's, in `tools/`.

mod capture;
mod execute;

pub use capture::Captured;
pub use execute::{Command, Ending, Execution, SpawnError, execute, find_program};

/// The layers that are in force, for `/readyz`.
pub const LAYERS: &[&str] = &["process group", "fixed environment"];
