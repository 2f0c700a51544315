//! An HTTP service that accepts agent jobs, runs them with three tools, and records every step.
//!
//! ```text
//!         main ── cli
//!                  │            the way of a task
//!        ┌─────────┴───────┐    ───────────────────────────────────────────
//!       http ───────────► store │ POST → checked → stored → 202
//!        (views, problems)  ▲   │
//!                           │   │ claimed by the scheduler (fence, attempt)
//!                      scheduler│
//!                           │   │ run: brain → tool → journal, again and again
//!                          run  │
//!             ┌─────────────┼──────────────┐
//!           brain         tools         recorder
//!       (how to ask)   (what to do)   (what to keep)
//!                         │
//!                      sandbox
//!
//!       export: records ─► training data, of what has ended; asked for by cli, http and scheduler
//!        ───────── metrics: what is counted and timed, everyone may use it ──────
//!        ───────── domain: types and rules, no I/O, everyone may use it ─────────
//! ```
//!
//! Data goes down, results come back up as values; `tests/layers.rs` holds the rooms to it. To follow a task, read
//! [`http`]'s `tasks/submit.rs`, then [`scheduler`], then [`run`].
//!
//! Deliberately absent: a public API for other crates. The library exists for the binary and the tests.

pub mod app;
pub mod brain;
pub mod cli;
pub mod config;
pub mod domain;
pub mod export;
pub mod http;
pub mod kill_point;
pub mod metrics;
pub mod recorder;
pub mod run;
pub mod sandbox;
pub mod scheduler;
pub mod store;
pub mod tools;
