//! The script brain in the running service: directives change real files, and recorded tasks are replayed.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::brain::{call, finish};
use crate::common::{Home, Service, eventually, processes_with};

const SCRIPT: &str = "script:";

async fn service(files: &[(&str, &str)]) -> Service {
    let home = Home::new();
    for (path, text) in files {
        let path = home.code().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Service::start_in(home, SCRIPT, &[("MAX_MCP_ITERATIONS", "60")]).await
}

fn text(service: &Service, path: &str) -> String {
    std::fs::read_to_string(service.home.code().join(path)).unwrap()
}

fn message(task: &Value) -> &str {
    task["error"]["message"].as_str().unwrap_or_else(|| panic!("it did not fail: {task}"))
}

fn summary(task: &Value) -> &str {
    task["summary"].as_str().unwrap_or_else(|| panic!("it did not succeed: {task}"))
}

#[tokio::test]
async fn directives_edit_the_files_that_are_meant_whatever_the_texts_are_made_of() {
    let odd = "it's \"$(x)\" `y` [a-z]* \\ é😀 && ;";
    let files = [
        ("src/a.rs", "use old_name;\nold_name(old_name)\n"),
        ("src/deep/er/b.rs", "old_name"),
        ("src/c.txt", "old_name\n"),
        ("docs/d.rs", "old_name\n"),
        ("crlf.txt", "one\r\ntwo\r\nthree\r\n"),
        ("odd name's.txt", &format!("<{odd}>\n-v\n")),
    ];
    let service = service(&files).await;
    std::fs::create_dir_all(service.home.code().join(".git")).unwrap();
    std::fs::write(service.home.code().join(".git/e.rs"), "old_name").unwrap();
    let instruction = format!(
        "# All of this is done in one task.\n\
         replace \"old_name\" with \"new_name\" in src/**/*.rs\n\
         replace \"one\\ntwo\" with \"1\\n2\\n2.5\" in crlf.txt\n\
         replace {} with {} in **/*name's.txt\n\
         replace \"-v\\n\" with \"--\" in **\n\
         create new/f.txt with\n```\nfirst\n\n\"last\"\n```\n\
         run: cat new/f.txt\n",
        json!(odd),
        json!("\\1 & $0 \"\t"),
    );
    let task = service.finish(&json!({"instruction": instruction})).await;
    assert_eq!(
        summary(&task),
        "made 7 replacements in 4 files: src/a.rs, src/deep/er/b.rs, crlf.txt, odd name's.txt; wrote 1 file: new/f.txt; \
         ran 1 command"
    );
    assert_eq!(text(&service, "src/a.rs"), "use new_name;\nnew_name(new_name)\n");
    assert_eq!(text(&service, "src/deep/er/b.rs"), "new_name");
    for other in ["src/c.txt", "docs/d.rs", ".git/e.rs"] {
        assert!(text(&service, other).starts_with("old_name"), "{other} was not meant");
    }
    assert_eq!(text(&service, "crlf.txt"), "1\r\n2\r\n2.5\r\nthree\r\n");
    assert_eq!(text(&service, "odd name's.txt"), "<\\1 & $0 \"\t>\n--");
    assert_eq!(text(&service, "new/f.txt"), "first\n\n\"last\"\n");
    let record = service.record(task["task_id"].as_str().unwrap()).await;
    assert_eq!(record.last().unwrap()["agent_input"]["result"]["stdout"], "first\n\n\"last\"\n");
}

#[tokio::test]
async fn an_until_goes_round_as_often_as_it_takes() {
    let service = service(&[("list.txt", "a,,,,b\n")]).await;
    let instruction = "replace \",,\" with \",\" in list.txt\nuntil sh -c \"! grep ',,' list.txt\" passes";
    let task = service.finish(&json!({"instruction": instruction})).await;
    assert_eq!(
        summary(&task),
        "made 3 replacements in 1 file: list.txt; `sh -c \"! grep ',,' list.txt\"` passes in round 2"
    );
    assert_eq!(text(&service, "list.txt"), "a,b\n");

    let task = service.finish(&json!({"instruction": "until test -e never passes"})).await;
    assert_eq!(task["error"]["code"], "brain_protocol");
    assert!(message(&task).contains("failed twice in a row in the same way: return code 1"), "{}", message(&task));
    assert_eq!(task["iteration"], 3);
}

#[tokio::test]
async fn what_cannot_be_done_or_understood_ends_the_task_and_says_so() {
    let service = service(&[("large.txt", &"x".repeat(1024 * 1024 + 1)), ("a.txt", "x")]).await;
    let failed = async |instruction: &str| {
        let task = service.finish(&json!({"instruction": instruction})).await;
        assert_eq!(task["error"]["code"], "brain_protocol", "{instruction}: {task}");
        (task["iteration"].clone(), message(&task).to_owned())
    };
    let (iterations, told) = failed("run: touch b.txt\nand then make it work").await;
    assert!(told.contains("line 2, `and then make it work`, is no directive") && told.contains("MCP_SERVER_URL"));
    assert_eq!((iterations, service.home.code().join("b.txt").exists()), (json!(1), false));
    let (_, told) = failed("replace \"x\" with \"y\" in *.txt").await;
    assert!(told.contains("large.txt: the file has 1048577 bytes"), "{told}");
    let (_, told) = failed("replace \"z\" with \"y\" in *.txt").await;
    assert!(told.contains("no file that GLOB names"), "{told}");
    let (_, told) = failed("replace \"z\" with \"y\" in nowhere/*.txt").await;
    assert!(told.contains("No such file"), "{told}");
    let (_, told) = failed("run: sh -c 'echo out; echo why >&2; exit 3'\nrun: touch b.txt").await;
    assert!(told.contains("return code 3: why: out"), "{told}");
    let (_, told) = failed("create ../b.txt with \"x\"").await;
    assert!(told.contains("../b.txt"), "{told}");
    let (_, told) = failed("run: sudo ls").await;
    assert!(told.contains("refused by the command policy"), "{told}");
    assert!(!service.home.code().join("b.txt").exists());
}

#[tokio::test]
async fn a_task_just_recorded_is_replayed_and_a_changed_workspace_is_noticed() {
    let service = service(&[("a.txt", "one\n")]).await;
    let steps = json!([
        call("read_file", &json!({"file_path": "a.txt"})),
        call("run_command", &json!({"command": "cat a.txt"})),
        {"event": "finish", "summary": "seen", "usage": {"prompt_tokens": 5}},
    ]);
    let first = service.finish(&json!({"instruction": "Look.", "task_id": "first", "script": steps})).await;
    assert_eq!(first["usage"]["prompt_tokens"], 5);
    // The log waits for the record to be complete.
    let recorded = service.record("first").await;

    let strict = json!({"instruction": "Look.", "replay": "first"});
    let task = service.finish(&strict).await;
    assert_eq!((summary(&task), &task["usage"]), ("seen", &json!(null)));
    let replayed = service.record(task["task_id"].as_str().unwrap()).await;
    assert_eq!(replayed[1]["mcp_reply"], recorded[1]["mcp_reply"]);
    let inline = service.finish(&json!({"instruction": "Look.", "replay": recorded})).await;
    assert_eq!(summary(&inline), "seen");

    std::fs::write(service.home.code().join("a.txt"), "two\n").unwrap();
    let task = service.finish(&strict).await;
    assert_eq!((&task["error"]["code"], &task["iteration"]), (&json!("brain_protocol"), &json!(2)));
    let expected = "the replay of first.jsonl stopped at iteration 2: /result/content was \"one\\n\" on record and is \
                    \"two\\n\" now";
    assert!(message(&task).starts_with(expected), "{}", message(&task));
    let lenient = json!({"instruction": "Look again.", "replay": "first.jsonl", "replay_mode": "lenient"});
    assert_eq!(summary(&service.finish(&lenient).await), "seen");
    let other = service.finish(&json!({"instruction": "Look away.", "replay": "first"})).await;
    assert!(message(&other).contains("/task/instruction was \"Look.\""), "{}", message(&other));
}

#[tokio::test]
async fn only_records_below_the_replay_dir_are_replayed() {
    let home = Home::new();
    let records = home.path().join("records");
    std::fs::create_dir(&records).unwrap();
    let line = json!({"iteration": 1, "agent_input": {"event": "start"}, "mcp_reply": finish()});
    for place in [records.join("in.jsonl"), home.path().join("out.jsonl")] {
        std::fs::write(place, format!("{line}\n")).unwrap();
    }
    std::os::unix::fs::symlink("../out.jsonl", records.join("link")).unwrap();
    let service = Service::start_in(home.clone(), SCRIPT, &[("REPLAY_DIR", records.to_str().unwrap())]).await;
    let replay =
        async |name: &str| service.finish(&json!({"instruction": "x", "replay": name, "replay_mode": "lenient"})).await;
    assert_eq!(summary(&replay("in").await), "done");
    let absolute = home.path().join("out.jsonl");
    for name in ["../out", "../out.jsonl", "./../out.jsonl", "link", absolute.to_str().unwrap(), "../records/in"] {
        let task = replay(name).await;
        assert!(message(&task).contains("outside"), "{name}: {}", message(&task));
    }
    let task = replay("nothing").await;
    assert!(message(&task).contains("there is no such record in REPLAY_DIR"), "{}", message(&task));
}

#[tokio::test]
async fn a_task_of_directives_goes_on_after_kill_9() {
    let service = service(&[("a.txt", "x")]).await;
    let waits = "sh -c 'test -e go && exit 0; touch begun; sleep 60.0707; exit 1'";
    let instruction = format!(
        "replace \"x\" with \"y\" in a.txt\nrun: sh -c 'echo ran >> count.txt'\nuntil true passes\nuntil {waits} passes\n\
         create b.txt with \"z\""
    );
    let id = service.submit(&json!({"instruction": instruction})).await;
    let code = service.home.code();
    eventually("the command has begun", async || code.join("begun").exists()).await;
    let home = service.kill().await;
    eventually("the command died with its service", async || processes_with("60.0707").is_empty()).await;
    std::fs::write(code.join("go"), "").unwrap();
    let service = Service::start_in(home, SCRIPT, &[("MAX_MCP_ITERATIONS", "60")]).await;
    let task = service.ended(&id).await;
    assert_eq!(task["attempt"], 2);
    assert_eq!(
        summary(&task),
        format!(
            "made 1 replacement in 1 file: a.txt; wrote 1 file: b.txt; ran 1 command; `true` passes; `{waits}` passes in \
             round 2"
        )
    );
    let record = service.record(&id).await;
    let numbers: Vec<u64> = record.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=record.len() as u64).collect::<Vec<_>>());
    let read = |path: &str| text(&service, path);
    assert_eq!((read("a.txt"), read("b.txt"), read("count.txt")), ("y".into(), "z".into(), "ran\n".into()));
}

#[cfg(not(feature = "kill-points"))]
#[test]
fn directives_come_to_the_same_wherever_the_service_dies() {
    crate::common::skip("the service has no points to die at without --features kill-points");
}

#[cfg(feature = "kill-points")]
#[tokio::test]
async fn directives_come_to_the_same_wherever_the_service_dies() {
    const POINTS: [&str; 10] = [
        "reply-received",
        "reply-recorded",
        "line-torn",
        "line-written",
        "edit-intended",
        "edit-made",
        "command-called",
        "command-ran",
        "result-recorded",
        "end-recorded",
    ];
    let instruction = "replace \"x\" with \"xy\" in **/*.txt\nuntil true passes\ncreate d.txt with \"z\"";
    let task = json!({"task_id": "t", "instruction": instruction, "max_iterations": 30}).to_string();
    for point in POINTS {
        let passes = if point == "end-recorded" { 1..=1 } else { 1..=2 };
        for pass in passes {
            let home = Home::new();
            for name in ["a.txt", "b.txt", "c.txt"] {
                std::fs::write(home.code().join(name), "x x\n").unwrap();
            }
            let at = format!("{point}:{pass}");
            let service = Service::start_in(home, SCRIPT, &[("CODEX_AGENT_KILL_AT", &at)]).await;
            let post = service.request("POST", "/tasks").header("content-type", "application/json").body(task.clone());
            // It may die before it has answered.
            drop(post.send().await);
            let (home, code) = service.ended_by_itself().await;
            assert_eq!(code, None, "{at}: it was not killed");
            let service = Service::start_in(home, SCRIPT, &[]).await;
            service.post("/tasks", task.clone()).await;
            let ended = service.ended("t").await;
            assert!(ended["status"] == "succeeded", "{at}: {ended}");
            let record = service.record("t").await;
            let numbers: Vec<u64> = record.iter().map(|line| line["iteration"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (1..=record.len() as u64).collect::<Vec<_>>(), "{at}");
            let again = summary(&ended).contains("round 2");
            // Only the command of the `until` may have to be found out anew, and then all before it is done again.
            assert!(!again || (point.starts_with("command-") && pass == 2), "{at}: {}", summary(&ended));
            let text = if again { "xyy xyy\n" } else { "xy xy\n" };
            for name in ["a.txt", "b.txt", "c.txt"] {
                assert_eq!(std::fs::read_to_string(service.home.code().join(name)).unwrap(), text, "{at}: {name}");
            }
            assert_eq!(std::fs::read_to_string(service.home.code().join("d.txt")).unwrap(), "z", "{at}");
        }
    }
}

#[tokio::test]
async fn the_tasks_among_the_examples_succeed() {
    let mut count = 0;
    // Cargo runs tests in the package's directory.
    for entry in std::fs::read_dir(Path::new("examples/tasks")).unwrap() {
        let path = entry.unwrap().path();
        let task: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let service = service(&[]).await;
        let ended = service.finish(&task).await;
        assert_eq!(ended["status"], "succeeded", "{}: {ended}", path.display());
        count += 1;
    }
    assert!(count >= 2, "examples/tasks has lost its tasks");
}
