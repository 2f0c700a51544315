//! Runs the program, and the checks that are written in the language of those who take an export.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::common::{Home, PATIENCE, skip};

/// Exports to a directory of that name; it has to succeed.
pub async fn export(home: &Home, name: &str, arguments: &[&str]) -> PathBuf {
    let directory = home.path().join(name);
    let output = try_export(home, &directory, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    directory
}

pub async fn try_export(home: &Home, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = home.command(&["export", "-q", "--to"]);
    finished(command.arg(directory).args(arguments)).await
}

/// What the check of that name counted in an export; `None` if the packages that it needs are not there.
pub async fn python(script: &str, packages: &[&str], arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Option<Value> {
    // Whether they can be found, without the seconds that it takes to import them.
    let look = "import importlib.util as util, sys; sys.exit(not all(map(util.find_spec, sys.argv[1:])))";
    let found = finished(Command::new("python3").arg("-c").arg(look).args(packages)).await;
    if !found.status.success() {
        skip(&format!("python3 with {packages:?} is not installed: {script} cannot run"));
        return None;
    }
    let mut command = Command::new("python3");
    // Nothing is written beside the scripts.
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(beside(script)).args(arguments);
    Some(counted(script, &finished(&mut command).await))
}

/// The same in Node, where `package` is looked for in `NODE_PATH`.
pub async fn node(script: &str, package: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Option<Value> {
    let found = Command::new("node").args(["-e", "require.resolve(process.argv[1])", package]).output().await;
    if !found.is_ok_and(|output| output.status.success()) {
        skip(&format!("node with {package} is not installed: {script} cannot run"));
        return None;
    }
    Some(counted(script, &finished(Command::new("node").arg(beside(script)).args(arguments)).await))
}

fn beside(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export").join(script)
}

async fn finished(command: &mut Command) -> Output {
    let command = command.stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it takes too long").unwrap()
}

/// The last line is what was counted.
fn counted(script: &str, output: &Output) -> Value {
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {said}{complained}");
    let last = said.lines().last().unwrap_or_default();
    println!("{script}: {last}");
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{script}: {error}: {said}"))
}
