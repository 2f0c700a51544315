//! What confines commands: what is said where a part of it is missing, and that nothing outlives the service.

use serde_json::{Value, json};

use crate::common::brain::call;
use crate::common::{Home, Service, eventually, processes_with, skip};
use crate::mask::mask;

/// Parts without which commands are not confined, and the word that names each.
const NEEDED: &[(libc::c_long, &str)] = &[
    (libc::SYS_landlock_create_ruleset, "landlock: "),
    (libc::SYS_landlock_add_rule, "landlock: "),
    (libc::SYS_landlock_restrict_self, "landlock: "),
    (libc::SYS_seccomp, "seccomp: "),
];

/// Parts of the namespaces, which are a gain and not needed.
const GAINS: &[(libc::c_long, &str)] = &[
    (libc::SYS_unshare, "namespaces: "),
    (libc::SYS_open_tree, "mounts: "),
    (libc::SYS_mount_setattr, "mounts: "),
    (libc::SYS_fsopen, "proc: "),
    (libc::SYS_move_mount, "root: "),
    (libc::SYS_pivot_root, "root: "),
];

fn masked(home: &Home, verb: &str, calls: &[libc::c_long]) -> tokio::process::Command {
    let mut command = home.command(&[verb]);
    command.env("LISTEN", "127.0.0.1:0").env("MCP_SERVER_URL", "script:");
    mask(calls, libc::ENOSYS).put_on(&mut command);
    command
}

async fn service(home: Home, calls: &[libc::c_long], variables: &[(&str, &str)]) -> Service {
    Service::start_with(home, "script:", variables, |command| mask(calls, libc::ENOSYS).put_on(command)).await
}

#[tokio::test]
async fn without_a_needed_part_the_service_does_not_start_and_names_it() {
    for (number, name) in NEEDED {
        let home = Home::new();
        let refused = masked(&home, "serve", &[*number]).output().await.unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.starts_with("codex-agent: SANDBOX: commands cannot be confined here: "), "{said}");
        assert!(said.contains(name) && said.lines().count() == 1, "{number}: {said}");
        assert!(!home.output().join("codex-agent.db").exists(), "a service that does not start leaves nothing");

        let told = masked(&home, "doctor", &[*number]).output().await.unwrap();
        let told = (told.status.code(), String::from_utf8(told.stdout).unwrap());
        assert!(told.0 == Some(1) && told.1.contains(&format!("missing  {name}")), "{told:?}");

        let service = service(home, &[*number], &[("SANDBOX", "best-effort")]).await;
        let sandbox = service.get("/readyz").await.json()["sandbox"].clone();
        assert!(["partial", "off"].contains(&sandbox["mode"].as_str().unwrap()), "{sandbox}");
        assert!(names(&sandbox, name), "{sandbox}");
        assert!(service.log().contains("parts of the sandbox are missing") && service.log().contains(name));
    }
}

#[tokio::test]
async fn without_namespaces_commands_are_confined_by_the_rest_and_it_is_said() {
    for (number, name) in GAINS {
        let home = Home::new();
        let told = masked(&home, "doctor", &[*number]).output().await.unwrap();
        let told = (told.status.code(), String::from_utf8(told.stdout).unwrap());
        assert!(told.0 == Some(0) && told.1.starts_with("sandbox  landlock\n"), "{told:?}");
        let service = service(home, &[*number], &[]).await;
        let ready = service.get("/readyz").await.json();
        assert_eq!((&ready["ready"], &ready["sandbox"]["mode"]), (&json!(true), &json!("landlock")));
        assert!(names(&ready["sandbox"], name), "{ready}");
        assert!(ready["sandbox"]["weaknesses"].to_string().contains("extended attributes"), "{ready}");
    }
}

fn names(sandbox: &Value, part: &str) -> bool {
    sandbox["missing"].as_array().unwrap().iter().any(|missing| missing.as_str().unwrap().starts_with(part))
}

#[tokio::test]
async fn a_command_and_what_it_left_running_die_with_a_service_that_is_killed() {
    for (number, calls) in [&[][..], &[libc::SYS_unshare]].into_iter().enumerate() {
        let home = Home::new();
        let service = service(home, calls, &[]).await;
        let (first, second) = (format!("70.11{number}"), format!("70.22{number}"));
        let run = format!("sh -c 'setsid sleep {first} & sleep {second}'");
        let script = json!([call("run_command", &json!({"command": run, "timeout": 100})), {"event": "finish"}]);
        service.submit(&json!({"instruction": "x", "script": script})).await;
        eventually("both run", async || !processes_with(&first).is_empty() && !processes_with(&second).is_empty())
            .await;
        let home = service.kill().await;
        eventually("nobody is left", async || processes_with(&first).is_empty() && processes_with(&second).is_empty())
            .await;
        eventually("no temporary directory is left", async || temporary(&home).is_empty()).await;
    }
}

/// What lies in the directory where commands' own directories are made.
fn temporary(home: &Home) -> Vec<String> {
    let names = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("codex-agent-")).collect()
}

#[tokio::test]
async fn what_a_command_sees_can_be_widened() {
    let home = Home::new();
    let (shown, cache) = (home.path().join("shown"), home.path().join("cache"));
    std::fs::create_dir(&shown).unwrap();
    std::fs::create_dir(&cache).unwrap();
    std::fs::write(shown.join("file"), "seen\n").unwrap();
    let variables = [
        ("SANDBOX_READ", shown.to_str().unwrap().to_owned()),
        ("SANDBOX_WRITE", cache.to_str().unwrap().to_owned()),
        ("SANDBOX_ENV", "HOME,GREETING=hello".to_owned()),
    ];
    for calls in [&[][..], &[libc::SYS_unshare]] {
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let service = service(home.clone(), calls, &variables).await;
        let run = "sh -c 'cat ../shown/file; echo x > ../cache/made; echo x > ../shown/made; echo $GREETING $HOME'";
        let script = json!([call("run_command", &json!({"command": run})), {"event": "finish"}]);
        let task = service.finish(&json!({"instruction": "x", "script": script})).await;
        let result = &service.record(task["task_id"].as_str().unwrap()).await[1]["agent_input"]["result"];
        assert_eq!(result["stdout"], format!("seen\nhello {}\n", home.path().display()), "{result}");
        assert!(cache.join("made").exists() && !shown.join("made").exists(), "{result}");
        std::fs::remove_file(cache.join("made")).unwrap();
        service.stop().await;
    }
}

#[tokio::test]
async fn nothing_of_the_services_own_may_be_shown() {
    let home = Home::new();
    std::fs::create_dir_all(home.output()).unwrap();
    let everything = home.path().display().to_string();
    for (name, value, said) in [
        ("SANDBOX_READ", everything.as_str(), "OUTPUT_DIR: "),
        ("SANDBOX_WRITE", "/none/such", "SANDBOX_WRITE: /none/such: "),
        ("CODE_DIR", everything.as_str(), "OUTPUT_DIR: "),
        ("SANDBOX_ENV", "OPENAI_API_KEY", "SANDBOX_ENV: "),
        ("SANDBOX", "perhaps", "SANDBOX (--sandbox): "),
        ("CMD_MAX_MEMORY", "12", "CMD_MAX_MEMORY (--cmd-max-memory): "),
    ] {
        let mut command = home.command(&["serve"]);
        let refused = command.env("LISTEN", "127.0.0.1:0").env(name, value).output().await.unwrap();
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{name}: {text}");
        assert!(text.starts_with(&format!("codex-agent: {said}")) && text.lines().count() == 1, "{name}: {text}");
    }
}

#[tokio::test]
async fn the_service_hides_its_environment_from_its_own_user() {
    if rustix::process::geteuid().is_root() {
        // Root reads everybody's; the attacks look from inside.
        return;
    }
    let service = Service::start("script:", &[]).await;
    let file = format!("/proc/{}/environ", service.pid());
    match std::fs::read(&file) {
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        Ok(_) => skip("this kernel shows processes that are not dumpable"),
    }
}
