//! The process that starts the service's commands: what it does when the service is gone, and the service when it is.

use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::brain::call;
use crate::common::{Home, Service, eventually, processes_with};
use crate::mask::mask;

/// As the system leaves it, and as a container does.
const KINDS: &[&[libc::c_long]] = &[&[], &[libc::SYS_unshare]];

async fn service(home: Home, calls: &[libc::c_long], variables: &[(&str, &str)]) -> Service {
    Service::start_with(home, "script:", variables, |command| mask(calls, libc::ENOSYS).put_on(command)).await
}

fn run(command: &str) -> Value {
    let script = json!([call("run_command", &json!({"command": command, "timeout": 30})), {"event": "finish"}]);
    json!({"instruction": "x", "script": script})
}

async fn result(service: &Service, command: &str) -> Value {
    let task = service.finish(&run(command)).await;
    service.record(task["task_id"].as_str().unwrap()).await[1]["agent_input"]["result"].clone()
}

/// The steward of a service.
fn steward_of(service: &Service) -> Pid {
    let mine = |path: &std::path::PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(&service.pid().to_string())
    };
    let path = processes_with("__supervise").into_iter().find(mine).unwrap();
    Pid::from_raw(path.file_name().unwrap().to_str().unwrap().parse().unwrap()).unwrap()
}

#[tokio::test]
async fn another_is_started_where_one_was_lost() {
    for calls in KINDS {
        let service = service(Home::new(), calls, &[]).await;
        assert_eq!(result(&service, "echo one").await["stdout"], "one\n");
        let steward = steward_of(&service);
        // What is meant for all that belongs together is not meant for it.
        kill_process(steward, Signal::TERM).unwrap();
        assert_eq!(result(&service, "echo two").await["stdout"], "two\n");
        assert_eq!(steward_of(&service), steward);
        kill_process(steward, Signal::KILL).unwrap();
        eventually("it has gone", async || kill_process(steward, Signal::CONT).is_err() || zombie(steward)).await;
        assert_eq!(result(&service, "echo three").await["stdout"], "three\n");
        assert_ne!(steward_of(&service), steward);
        let (home, code) = service.stop().await;
        assert_eq!(code, Some(0));
        drop(home);
    }
}

fn zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.contains(") Z")
}

#[tokio::test]
async fn hooks_are_put_back_also_when_the_service_is_killed() {
    for calls in KINDS {
        let home = Home::new();
        let git = home.code().join(".git");
        for dir in ["objects", "refs", "hooks"] {
            std::fs::create_dir_all(git.join(dir)).unwrap();
        }
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::write(git.join("config"), "[core]\n\tbare = false\n").unwrap();
        let service = service(home, calls, &[]).await;
        let hook = git.join("hooks/post-checkout");
        // A place that cannot be written is no reason to give up.
        let evil =
            "sh -c 'echo evil > .git/hooks/post-checkout; echo evil > .git/commondir; echo > begun; sleep 987.1'";
        service.submit(&run(evil)).await;
        let begun = service.home.code().join("begun");
        eventually("the command has begun", async || begun.exists()).await;
        assert!(git.join("commondir").exists());
        let _home = service.kill().await;
        eventually("it is put back", async || !git.join("commondir").exists() && !hook.exists()).await;
        eventually("nobody is left", async || processes_with("987.1").is_empty()).await;
    }
}

#[tokio::test]
async fn a_shared_repository_is_put_back_as_it_was() {
    for calls in KINDS {
        let home = Home::new();
        let git = home.code().join(".git");
        for dir in ["objects", "refs", "hooks"] {
            std::fs::create_dir_all(git.join(dir)).unwrap();
        }
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::write(git.join("hooks/pre-commit"), "#!/bin/sh\n").unwrap();
        // As `git init --shared` makes it: what is new in it belongs to its group.
        std::fs::set_permissions(git.join("hooks"), std::fs::Permissions::from_mode(0o2755)).unwrap();
        let service = service(home, calls, &[]).await;
        result(&service, "sh -c 'echo evil > .git/hooks/evil; mv .git/hooks .git/old; mkdir .git/hooks'").await;
        assert!(!git.join("hooks/evil").exists());
        assert_eq!(std::fs::read_to_string(git.join("hooks/pre-commit")).unwrap(), "#!/bin/sh\n");
        assert_eq!(std::fs::metadata(git.join("hooks")).unwrap().permissions().mode() & 0o7777, 0o2755);
    }
}

/// Runs git outside, as the repository's owner.
#[expect(clippy::disallowed_methods, reason = "what an owner does is done without the service")]
fn git(at: &std::path::Path, words: &[&str]) {
    let who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always"];
    let done = std::process::Command::new("git").arg("-C").arg(at).args(who).args(words).output().unwrap();
    assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn git_brings_submodules_up_to_date() {
    for calls in KINDS {
        let home = Home::new();
        let (code, library) = (home.code(), home.code().join("lib"));
        std::fs::create_dir_all(&library).unwrap();
        git(&library, &["init", "-q"]);
        git(&library, &["commit", "-q", "--allow-empty", "-m", "x"]);
        git(&code, &["init", "-q"]);
        git(&code, &["submodule", "--quiet", "add", "./lib", "sub"]);
        let config = std::fs::read_to_string(code.join(".git/modules/sub/config")).unwrap();
        let service = service(home, calls, &[]).await;
        let updated = result(&service, "git submodule update").await;
        assert_eq!(updated["returncode"], 0, "{updated}");
        let evil = result(&service, "git config -f .git/modules/sub/config core.fsmonitor evil").await;
        assert!(evil["message"].to_string().contains("undone"), "{evil}");
        assert_eq!(std::fs::read_to_string(code.join(".git/modules/sub/config")).unwrap(), config);
    }
}

#[tokio::test]
async fn a_small_limit_of_open_files_is_the_commands_alone() {
    for calls in KINDS {
        let service = service(Home::new(), calls, &[("CMD_MAX_OPEN_FILES", "64"), ("MAX_COMMANDS", "40")]).await;
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.push(service.submit(&run("sleep 0.5")).await);
        }
        for id in ids {
            service.ended(&id).await;
            let result = &service.record(&id).await[1]["agent_input"]["result"];
            assert_eq!(result["returncode"], 0, "{result}");
        }
    }
}

#[tokio::test]
async fn time_that_nobody_waits_for_counts_where_there_are_control_groups() {
    let service = service(Home::new(), &[], &[("CMD_MAX_CPU", "1")]).await;
    let sandbox = service.get("/readyz").await.json()["sandbox"].clone();
    let has = |list: &str, what: &str| {
        sandbox[list].as_array().unwrap().iter().any(|layer| layer.as_str().unwrap().starts_with(what))
    };
    // Each child is gone before a look can see it.
    let burn = "python3 -c 'import os,signal,time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
  if os.fork() == 0:
    until = time.process_time() + 0.004
    while time.process_time() < until: pass
    os._exit(0)
  time.sleep(0.006)'";
    if has("layers", "cgroup cpu") {
        let result = result(&service, burn).await;
        assert_eq!((&result["limit"], &result["returncode"]), (&json!("cpu"), &json!(-9)), "{result}");
    } else {
        assert!(has("missing", "cgroup: "), "{sandbox}");
    }
}
