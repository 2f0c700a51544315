//! Where the notes' tools are wrong: each row is run by both programs, and says why this service does otherwise.

use serde_json::{Value, json};

use super::{Files, NO_GIT, Ran, both, git_apply, git_is_installed, plain, repeating, tree};
use crate::common::brain::{Seen, call, finish};
use crate::common::skip;

/// One step at which the two part.
struct Row {
    why: &'static str,
    call: Value,
    /// The result of either, without added keys and diff; of an edit also what then is in the file.
    notes: Value,
    ours: Value,
}

const FILES: &Files = &[
    ("dos.txt", b"a\r\nb\r\n"),
    ("dos-whole.txt", b"\xef\xbb\xbfa\r\n"),
    ("dos-read.txt", b"a\r\nb\r\n"),
    ("open.txt", b"a\nb"),
    ("open-last.txt", b"a\nb"),
    ("separator.txt", "a\u{2028}b\nc\n".as_bytes()),
    ("patched.txt", b"a\nb\n"),
    ("two.txt", b"a\nb\n"),
    ("latin.txt", b"caf\xe9\n"),
    ("capture.txt", b"a;b\n"),
    ("slow.sh", b"echo begun\nexec sleep 30\n"),
    ("long.txt", &[b'x'; 4002]),
    ("directory/file", b""),
];

#[rustfmt::skip] // One row is one paragraph.
fn rows() -> Vec<Row> {
    let edit = |arguments| call("edit_file", &arguments);
    let read = |arguments| call("read_file", &arguments);
    let run = |command: &str| call("run_command", &json!({"command": command}));
    let edited = |text: &str| json!({"status": "success", "message": "file edited", "file": text});
    let failed = |message: &str| json!({"status": "failure", "message": message});
    let unchanged = |message: &str, text: Option<&str>| json!({"status": "failure", "message": message, "file": text});
    let content = |text: &str| json!({"status": "success", "content": text});
    let printed = |code: i32, stdout: &str| json!({"status": if code == 0 { "success" } else { "failure" }, "returncode": code, "stdout": stdout, "stderr": ""});
    let row = |why, call, notes, ours| Row { why, call, notes, ours };
    vec![
        row("an edit keeps the endings of the lines it does not mean",
            edit(json!({"file_path": "dos.txt", "new_content": "x", "insert_after_line": 0})),
            edited("a\nx\nb\n"), edited("a\r\nx\r\nb\r\n")),
        row("a whole new content keeps the file's line endings and byte order mark",
            edit(json!({"file_path": "dos-whole.txt", "new_content": "x\n"})),
            edited("x\n"), edited("\u{feff}x\r\n")),
        row("characters are those in the file, so that start and end count what is there",
            read(json!({"file_path": "dos-read.txt", "start": 0, "end": 3})),
            content("a\nb"), content("a\r\n")),
        row("an inserted line is a line of its own, and a missing last newline stays missing",
            edit(json!({"file_path": "open.txt", "new_content": "c", "insert_after_line": 1})),
            edited("a\nbc\n"), edited("a\nb\nc")),
        row("a missing last newline stays missing",
            edit(json!({"file_path": "open-last.txt", "new_content": "B", "replace_lines": [1, 1]})),
            edited("a\nB\n"), edited("a\nB")),
        row("lines end where git and editors end them, not at every Unicode separator",
            edit(json!({"file_path": "separator.txt", "new_content": "X", "replace_lines": [1, 1]})),
            edited("a\u{2028}X\nc\n"), edited("a\u{2028}b\nX\n")),
        row("a diff_patch is really applied",
            edit(json!({"file_path": "patched.txt", "diff_patch": "@@ -1,2 +1,2 @@\n a\n-b\n+B\n"})),
            unchanged("简化模式下 diff_patch 需同时提供 new_content", Some("a\nb\n")), edited("a\nB\n")),
        row("arguments are checked strictly: of two modes none is silently dropped",
            edit(json!({"file_path": "two.txt", "new_content": "x", "insert_after_line": 0, "replace_lines": [1, 1]})),
            edited("a\nx\nb\n"), unchanged("give only one of diff_patch, insert_after_line and replace_lines", Some("a\nb\n"))),
        row("a sibling whose name begins like the workspace's is outside of it",
            edit(json!({"file_path": "../code-evil/planted.txt", "new_content": "x"})),
            edited("x"), unchanged("../code-evil/planted.txt: this path leads out of the workspace", None)),
        row("what is outside is refused before anything is told of it",
            read(json!({"file_path": "../none.txt"})),
            failed("文件不存在"), failed("../none.txt: this path leads out of the workspace")),
        row("a directory is a failure that says so",
            read(json!({"file_path": "directory"})),
            failed("[Errno 21] Is a directory: '/app/code/directory'"), failed("directory: is a directory, not a regular file")),
        row("a file that is not UTF-8 is a failure that says so",
            read(json!({"file_path": "latin.txt"})),
            failed("'utf-8' codec can't decode byte 0xe9 in position 3: invalid continuation byte"), failed("latin.txt: is not UTF-8 text")),
        row("an unknown argument is named in the protocol's words",
            read(json!({"file_path": "dos.txt", "mode": "r"})),
            failed("read_file() got an unexpected keyword argument 'mode'"),
            failed("bad argument mode: unknown field `mode`, expected one of `file_path`, `start`, `end`")),
        row("start counts from 0; a negative one is no position",
            read(json!({"file_path": "open.txt", "start": -1})),
            content("\n"), failed("bad argument start: invalid value: integer `-1`, expected u64")),
        row("a brain that names only start, the next_start it was given, wants what follows",
            read(json!({"file_path": "long.txt", "start": 4000})),
            content(""), content("xx")),
        row("a word inside another is no reason to refuse",
            run("cat capture.txt"), failed("命令被安全策略阻止"), printed(0, "a;b\n")),
        row("a quoted ; is no reason to refuse",
            run("echo ';'"), failed("命令被安全策略阻止"), printed(0, ";\n")),
        row("a refusal names the word",
            run("true ; false"), failed("命令被安全策略阻止"),
            failed("refused by the command policy: \";\" is shell syntax and no shell runs; quote it, or use sh -c '...'")),
        row("a program that is not there is named",
            run("nonesuch -v"), failed("[Errno 2] No such file or directory: 'nonesuch'"), failed("program not found: nonesuch")),
        row("an empty command is a failure that says so",
            run(""), failed("list index out of range"), failed("command must not be empty")),
        row("output that is not UTF-8 is no reason to lose all of it and the return code",
            run("cat latin.txt"), failed("'utf-8' codec can't decode byte 0xe9 in position 3: invalid continuation byte"),
            printed(0, "caf\u{fffd}\n")),
        row("output is what was printed",
            run("cat dos-read.txt"), printed(0, "a\nb\n"), printed(0, "a\r\nb\r\n")),
        row("of too long an output the head and the tail are kept, and the rest is counted",
            run("seq 99"), printed(0, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n1"),
            printed(0, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n[... 248 bytes left out ...]\n3\n94\n95\n96\n97\n98\n99\n")),
        row("a command that ran out of time gives what it printed so far",
            call("run_command", &json!({"command": "sh slow.sh", "timeout": 1})), failed("执行超时 1s"),
            json!({"status": "failure", "message": "timed out after 1 s", "limit": "wall", "returncode": -9, "stdout": "begun\n", "stderr": ""})),
        row("a command does not see the service's keys",
            run("printenv OPENAI_API_KEY"), printed(0, "sk-notes\n"), printed(1, "")),
        row("an unknown tool is named, with those there are",
            call("browse", &json!({"url": "x"})), failed("未知工具"),
            failed("unknown tool \"browse\"; the tools are edit_file, read_file and run_command")),
    ]
}

#[tokio::test]
async fn where_the_notes_program_is_wrong_the_two_differ_as_listed_and_nowhere_else() {
    let rows = rows();
    let brain = repeating(rows.iter().map(|row| row.call.clone()).chain([finish()]).collect()).await;
    let variables = [
        ("MAX_MCP_ITERATIONS", "60"),
        ("CMD_MAX_OUTPUT", "40"),
        ("OPENAI_API_KEY", "sk-notes"),
        ("OPENAI_FINETUNED_MODEL_ID", "tuned"),
    ];
    let task = json!({"task_id": "faults", "instruction": "x"});
    let Some((notes, ours)) = both(&brain, &task, FILES, &variables).await else { return };
    assert_eq!((notes.record.len(), ours.record.len()), (rows.len() + 1, rows.len() + 1));
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(outcome(&notes, index, &row.call), row.notes, "the notes, where {}", row.why);
        assert_eq!(outcome(&ours, index, &row.call), row.ours, "ours, because {}", row.why);
        let frame = |ran: &Ran| {
            let mut line = plain(ran.record[index + 1].clone());
            line["agent_input"]["result"] = Value::Null;
            line
        };
        assert_eq!(frame(&notes), frame(&ours));
    }

    // The notes promise both to the brain and send neither.
    let (theirs, own) = (&notes.asked[0], &ours.asked[0]);
    assert_eq!(theirs.payload(), json!({"event": "start", "task": task}));
    assert_eq!(own.payload(), json!({"event": "start", "task": task, "models": {"finetuned": "tuned"}}));
    let authorization = |seen: &Seen| seen.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!((authorization(theirs), authorization(own)), (None, Some("Bearer sk-notes".to_owned())));
}

/// The result of a row's call, and the file that an edit leaves.
fn outcome(ran: &Ran, index: usize, call: &Value) -> Value {
    let mut result = plain(ran.record[index + 1].clone())["agent_input"]["result"].take();
    let code = ran.home.code();
    result.as_object_mut().unwrap().remove("diff");
    if call["name"] == "edit_file" {
        let path = code.join(call["arguments"]["file_path"].as_str().unwrap());
        result["file"] = json!(std::fs::read_to_string(path).ok());
    }
    // The notes' directory, under the name it has there.
    serde_json::from_str(&result.to_string().replace(&code.display().to_string(), "/app/code")).unwrap()
}

#[tokio::test]
async fn our_diffs_alone_tell_a_new_file_and_a_missing_last_newline() {
    let edit = |path: &str, text: &str| call("edit_file", &json!({"file_path": path, "new_content": text}));
    let brain = repeating(vec![edit("new.txt", "x\n"), edit("old.txt", "b"), finish()]).await;
    let task = json!({"task_id": "diffs", "instruction": "x"});
    let files: &Files = &[("old.txt", b"a")];
    let Some((notes, ours)) = both(&brain, &task, files, &[]).await else { return };
    let diffs = |ran: &Ran| -> Vec<_> {
        ran.record[1..].iter().map(|line| line["agent_input"]["result"]["diff"].clone()).collect()
    };
    assert_eq!(
        diffs(&notes),
        ["--- a/new.txt+++ b/new.txt@@ -0,0 +1 @@+x\n", "--- a/old.txt+++ b/old.txt@@ -1 +1 @@-a+b"]
    );
    let new = "diff --git a/new.txt b/new.txt\nnew file mode 100644\n--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+x\n";
    let no_newline = "\\ No newline at end of file\n";
    let old = format!("--- a/old.txt\n+++ b/old.txt\n@@ -1 +1 @@\n-a\n{no_newline}+b\n{no_newline}");
    assert_eq!(diffs(&ours), [new, old.as_str()]);
    if !git_is_installed() {
        return skip(NO_GIT);
    }
    assert_eq!(git_apply(files, &diffs(&ours)), Some(tree(&ours.home.code())));
}
