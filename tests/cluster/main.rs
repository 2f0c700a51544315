//! Many workers on one PostgreSQL: any of them may die, stand still, lose its connection or an answer, and so may the
//! database. Nothing is lost, nothing is done twice, and whoever is asked knows.
//!
//! ```text
//!   clients ──► node 1 (the program) ── proxy ──┐
//!          ├──► node 2               ── proxy ──┼──► PostgreSQL, with a witness in it: triggers that see every write, and
//!          └──► node 3               ── proxy ──┘                                      who made it
//!                 └──► referee: the brain, holds each question against what it was asked before
//! ```
//!
//! `CODEX_AGENT_STORM=300` is the long form of the storm, in seconds.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a harness reads its variables and starts what it needs")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod common;
#[path = "../common/postgres.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod postgres;
#[path = "../common/proxy.rs"]
mod proxy;

mod anywhere;
mod audit;
mod clients;
mod clocks;
mod faults;
mod lost_answers;
mod node;
mod outages;
mod referee;
mod storm;
mod takeover;
mod witness;
