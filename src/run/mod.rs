//! The loop: brain → tool → journal, again and again, until there is an end.
//!
//! ```text
//!              ┌───────────────── machine (pure) ─────────────────┐
//!   Claimed ─► │ Asking ─ Replied ─► Calling ─ ToolDone ─► Asking │ ─► Over
//!              │    └──── Stopped ───────┴───► Aborting ──────────┘
//!              └──▲─────────────────────┬───
//!        event    │                     │ what to write, then what to do
//!              driver ◄──── brain, tools, journal (store, then record)
//! ```
//!
//! The machine decides and touches nothing; the driver touches everything and decides nothing. What is written is
//! enough to build the machine again, so a crash is only another way to be handed a task: the reply is on record
//! before its tool runs, and the tool's result before it is sent.

mod driver;
mod journal;
mod machine;
mod measure;

pub use driver::{RunError, RunSettings, Runner, Signals};
pub use machine::{Begun, Event, Machine, Phase, Write};

#[cfg(test)]
mod tests;
