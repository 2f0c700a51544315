//! What every store has to keep to: one suite, run on each implementation.
//!
//! ```text
//!  claims, records, tasks, lists, verdicts, files, chores ── each case once on SQLite and once on PostgreSQL (on_both!)
//!  shared ── what only a database of many workers promises      difference ── random steps on both, the same answers
//! ```
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a harness starts processes")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod common;
#[path = "../common/postgres.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod postgres;

/// Makes a test of each case for each store.
macro_rules! on_both {
    ($($case:ident,)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&super::World::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                if let Some(world) = super::World::postgres().await {
                    super::$case(&world).await;
                }
            })*
        }
    };
}

mod chores;
mod claims;
mod difference;
mod files;
mod lists;
mod reads;
mod records;
mod shared;
mod tasks;
mod verdicts;
mod world;
