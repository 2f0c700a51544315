//! A disk that fills up under load and is freed again, all of 8 MB: a file system of the test's own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::common::{eventually, skip};
use crate::storm::Storm;

/// Mounts, then starts the service, which goes when this shell goes. Its own root directory is what can be seen of the
/// mount from outside: the service itself hides.
const SCRIPT: &str = r#"mount -t tmpfs -o size=8m none "$OUTPUT_DIR" || exit 9
setpriv --pdeathsig KILL "$0" serve & wait $!"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_what_is_new_and_everything_is_whole_when_it_is_freed() {
    let storm = Storm::begin(5).await;
    std::fs::create_dir(storm.home.output()).unwrap();
    let Some(unshare) = unshare().await else {
        return skip("nothing can be mounted here, not even in a user namespace");
    };
    let service = storm.start_with(&[], |command| *command = within(&unshare, command)).await;
    storm.root.set(PathBuf::from(format!("/proc/{}/root", service.pid()))).unwrap();
    storm.busy(5).await;

    let filler = storm.seen(&storm.home.output().join("filler"));
    fill(&filler);
    storm.refused().await;
    let readyz = service.get("/readyz").await;
    let reasons = readyz.json()["reasons"].to_string();
    assert_eq!(readyz.status, 503, "{reasons}");
    assert!(reasons.contains("the disk of OUTPUT_DIR is nearly full"), "{reasons}");
    // What runs has come to where nothing more can be written, in the files or in the database.
    let stuck = || ["the record's file is behind", "a step waits"].iter().any(|said| service.log().contains(said));
    eventually("what runs has met the full disk", async || stuck()).await;

    std::fs::remove_file(&filler).unwrap();
    eventually("it is ready again", async || service.get("/readyz").await.status == 200).await;
    storm.busy(5).await;
    storm.settle(&service).await;
}

/// The arguments with which this user can mount something, if there are any.
async fn unshare() -> Option<Vec<&'static str>> {
    let ways = [vec!["--mount"], vec!["--user", "--map-root-user", "--mount"]];
    for way in ways {
        let mut tried = Command::new("unshare");
        tried.args(&way).args(["mount", "-t", "tmpfs", "-o", "size=8m", "none", "/mnt"]);
        if tried.stderr(Stdio::null()).status().await.is_ok_and(|status| status.success()) {
            return Some(way);
        }
    }
    None
}

/// The same command behind a mount.
fn within(unshare: &[&str], command: &Command) -> Command {
    let inner = command.as_std();
    let mut outer = Command::new("unshare");
    outer.args(unshare).args(["sh", "-c", SCRIPT]).arg(inner.get_program()).env_clear();
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    outer.current_dir(inner.get_current_dir().unwrap());
    outer
}

/// Writes until no more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [64 * 1024, 512] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
}
