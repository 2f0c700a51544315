//! A burst goes through while an autoscaler, by the rules that KEDA is given, adds workers and takes busy ones away.

use std::process::Stdio;

use crate::postgres::Postgres;
use crate::tools::{are_there, repository};

/// Enough to want several workers, and few enough for a test; `--tasks` of the script is 1,000 if nothing is said.
const TASKS: &str = "250";

/// How much faster time passes: five minutes, in which the number of workers only grows, are three seconds.
const SPEED: &str = "100";

#[tokio::test]
async fn a_burst_goes_through_and_none_is_lost_when_workers_are_taken_away() {
    if !are_there(&["python3", "kubernetes-validate"]) {
        return;
    }
    let Some(database) = Postgres::database().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut python = tokio::process::Command::new("python3");
    python.arg(repository("deploy/simulate_autoscaler.py")).args(["--tasks", TASKS, "--speed", SPEED]);
    python.args(["--program", env!("CARGO_BIN_EXE_codex-agent"), "--database", &database.url()]);
    python.arg("--directory").arg(dir.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = python.output().await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    // Otherwise the run has shown nothing.
    let count = |before: &str, after: &str| -> u32 {
        let text = said.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(number, _)| number);
        text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number before {after:?}: {said}"))
    };
    assert!(count(" s; at most ", " workers, 0 at the end") >= 4, "it was not scaled out: {said}");
    assert!(count("taken away, ", " of them while tasks were unfinished") >= 2, "it was not scaled in: {said}");
    assert_eq!(count("unfinished; ", " faults"), 0, "{said}");
}
