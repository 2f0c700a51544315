//! An autoscaler starts and stops workers while a burst of tasks comes: nothing of it is lost, and nothing done twice.
//!
//! It is `deploy/autoscale/simulate.py`, which holds each task against what is promised; here the database is looked at, too.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]
#![expect(clippy::disallowed_methods, reason = "a harness starts what it needs")]

#[path = "common/mod.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod common;
#[path = "common/postgres.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod postgres;

use std::path::Path;

use tokio::process::Command;

use common::{PATIENCE, skip};
use postgres::Postgres;

/// Three times what all workers together run at a time.
const TASKS: u32 = 200;

#[tokio::test]
async fn a_burst_goes_through_while_workers_come_and_go() {
    let Some(database) = Postgres::database().await else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/autoscale/simulate.py");
    let home = tempfile::tempdir().unwrap();
    let mut simulation = Command::new("python3");
    simulation.arg(script).arg("--program").arg(env!("CARGO_BIN_EXE_codex-agent"));
    simulation.arg("--database").arg(database.url()).args(["--tasks", &TASKS.to_string()]);
    // Fast enough for a test, and slow enough that workers are stopped in the middle of steps.
    simulation.args(["--think", "0.1", "--interval", "0.2", "--window", "0.5", "--most", "4"]);
    simulation.args(["--patience", &(PATIENCE.as_secs() - 10).to_string()]);
    // The system's temporary directory may be another user's.
    simulation.env("TMPDIR", home.path()).kill_on_drop(true);
    let output = match simulation.output().await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return skip("python3 is not installed"),
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    let ends = "SELECT status, attempt, COUNT(*) FROM tasks GROUP BY status, attempt";
    assert_eq!(database.psql(ends).await, format!("succeeded|1|{TASKS}"), "{said}");
    // Or else it was not tried: a task that is handed back is claimed again, and that is no further attempt.
    let handed_back = database.psql("SELECT COUNT(*) FROM tasks WHERE claim > attempt").await;
    assert!(handed_back.parse::<u32>().unwrap() > 0, "no task was handed back\n{said}");
    assert_eq!(database.psql("SELECT COUNT(*) FROM workers").await, "0", "a worker that has stopped says so");
    let twice =
        "SELECT COUNT(*) FROM tasks t WHERE iteration <> (SELECT COUNT(*) FROM iterations i WHERE i.seq = t.seq)";
    assert_eq!(database.psql(twice).await, "0", "each iteration is on record once");
}
