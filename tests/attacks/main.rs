//! Attacks on the tools, and harmless calls that must pass, over the real service in each way it can be confined.
//!
//! ```text
//!  tests/data/attacks*.jsonl ─► Case ─► setup (files, listeners, processes) ─► task ─► service ─► brain: the call
//!                                                                                                   │
//!                    table ◄─ Verdict ◄─ judge: result, record, log, files, processes, listeners ◄──┘ result
//! ```
//!
//! Each mode is one service process that runs all cases, several at a time. The Landlock-only mode is what a container
//! gives: the service starts under a filter that takes `unshare` and `setns` away. `ATTACKS=word,word` runs only the
//! cases whose ids have one of the words in them.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

mod backstop;
mod base64;
mod canary;
mod case;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness can do more than one test needs")]
mod common;
mod expect;
mod ipc;
mod judge;
mod listener;
#[path = "../common/mask.rs"]
mod mask;
mod mode;
mod process;
mod setup;
mod table;
mod tree;
mod victim;

use canary::CANARY;
use mode::{Policy, Sandbox};

/// One mode at a time: the times and the process table of one are not to be those of another.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn in_mode(sandbox: Sandbox, policy: Policy) {
    let _turn = TURN.lock().await;
    if sandbox == Sandbox::Namespaces && !mode::namespaces_are_there().await {
        return common::skip("this user cannot have namespaces here");
    }
    mode::run(sandbox, policy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_out_of_namespaces() {
    in_mode(Sandbox::Namespaces, Policy::Off).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_out_of_namespaces_with_the_policy() {
    in_mode(Sandbox::Namespaces, Policy::On).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_out_of_landlock_alone() {
    in_mode(Sandbox::Landlock, Policy::Off).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_out_of_landlock_alone_with_the_policy() {
    in_mode(Sandbox::Landlock, Policy::On).await;
}
