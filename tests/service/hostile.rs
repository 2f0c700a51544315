//! A day on which every brain has been talked into the worst: those tasks come to nothing, and the others to their end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::brain::call;
use crate::common::{Home, Service, eventually, processes_with};

/// Hostile tasks at a time, and harmless ones beside them.
const HOSTILE: usize = 10;
const HARMLESS: usize = 50;

/// In the words of every process that one of them leaves, so that it can be found.
const MARK: &str = "987.654";

/// Less than a machine has, so that the day is a short one; what is tried goes far beyond.
const LIMITS: &[(&str, &str)] = &[
    ("CMD_MAX_MEMORY", "268435456"),
    ("CMD_MAX_DISK", "268435456"),
    ("CMD_MAX_FILE_SIZE", "134217728"),
    ("MAX_COMMANDS", "4"),
];

/// What each of the hostile tasks does, one after the other, and the limits that may end it.
fn attacks() -> Vec<(&'static str, String, &'static [&'static str])> {
    let python = |code: &str| format!("python3 -c '{code}' {MARK}");
    vec![
        (
            "a fork bomb",
            python("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"),
            &["processes", "memory"],
        ),
        (
            "2 GB of memory in four processes",
            python("import os,time\nfor i in range(3): os.fork()\nb=bytearray(250<<20)\ntime.sleep(60)"),
            &["memory"],
        ),
        (
            "5 GB written",
            python(
                "z=bytes(1<<20)\nfor i in range(50):\n  f=open(\"big%d\"%i,\"wb\")\n  for j in range(100): f.write(z)\n  f.flush()",
            ),
            &["disk", "wall"],
        ),
        (
            "a file without end",
            python("z=bytes(1<<20)\nf=open(\"one\",\"wb\")\nwhile True: f.write(z)"),
            &["file_size"],
        ),
        (
            "1 GB printed",
            python("import sys\nfor i in range(1024): sys.stdout.write(\"x\"*(1<<20))"),
            &["output", "wall"],
        ),
        (
            "daemons in sessions of their own",
            format!(
                "sh -c 'for i in 1 2 3; do setsid sh -c \"trap : 1 2 15; sleep {MARK}; sleep {MARK}\" & done; sleep 0.1'"
            ),
            &[],
        ),
        ("a held pipe", format!("sh -c 'setsid sleep {MARK} & echo held'"), &[]),
        ("a million files", python("for i in range(1000000): open(\"f%d\"%i,\"w\").close()"), &["disk", "wall"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_tasks_finish_while_ten_attack_and_nothing_is_left() {
    let home = Home::new();
    for number in 0..HOSTILE {
        std::fs::create_dir_all(home.code().join(format!("hostile-{number}"))).unwrap();
    }
    std::fs::create_dir_all(home.code().join("harmless")).unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let service = Service::start_in(home, "script:", LIMITS).await;
    let before = temporary(&service.home);

    let mut hostile = Vec::new();
    for number in 0..HOSTILE {
        let calls = attacks().into_iter();
        let mut script: Vec<Value> =
            calls.map(|(_, command, _)| call("run_command", &json!({"command": command, "timeout": 4}))).collect();
        script.push(json!({"event": "finish"}));
        let task = json!({"instruction": "x", "workspace": format!("hostile-{number}"), "script": script,
                          "max_iterations": 20, "priority": 1});
        hostile.push(service.submit(&task).await);
    }
    let mut harmless = Vec::new();
    for number in 0..HARMLESS {
        let file = format!("f{number}");
        let script = json!([
            call("edit_file", &json!({"file_path": file, "new_content": "one\n"})),
            call("run_command", &json!({"command": format!("wc -l {file}")})),
            call("read_file", &json!({"file_path": file})),
            {"event": "finish", "summary": "done"},
        ]);
        harmless.push(service.submit(&json!({"instruction": "x", "workspace": "harmless", "script": script})).await);
    }

    let mut alive = Vec::new();
    let measured = async {
        loop {
            let started = Instant::now();
            assert_eq!(service.get("/healthz").await.status, 200);
            alive.push(started.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = async {
        for id in &harmless {
            let task = service.ended(id).await;
            assert_eq!((&task["status"], &task["summary"]), (&json!("succeeded"), &json!("done")), "{task}");
        }
        for id in &hostile {
            let task = service.ended(id).await;
            assert_eq!(task["status"], "succeeded", "{task}");
        }
    };
    tokio::select! {
        () = measured => unreachable!(),
        () = ended => {}
    }
    alive.sort();
    let (p99, longest) = (alive[alive.len() * 99 / 100], alive[alive.len() - 1]);
    println!("{} calls of /healthz during the day: p99 {p99:?}, longest {longest:?}", alive.len());

    for id in &hostile {
        let record = service.record(id).await;
        for ((what, _, limits), line) in attacks().iter().zip(&record[1..]) {
            let result = &line["agent_input"]["result"];
            let limit = result["limit"].as_str();
            let as_expected = if limits.is_empty() {
                result["returncode"] == 0
            } else {
                limit.is_some_and(|limit| limits.contains(&limit) || limit == "wall")
            };
            assert!(as_expected, "{what}: {result}");
        }
    }
    eventually("no process is left", async || processes_with(MARK).is_empty()).await;
    assert_eq!(temporary(&service.home), before);
    assert_eq!(std::fs::read_to_string("/proc/mounts").unwrap(), mounts);
    assert_eq!(service.stop().await.1, Some(0));
}

/// Where commands' temporary directories are made.
fn temporary(home: &Home) -> BTreeSet<std::ffi::OsString> {
    std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}
