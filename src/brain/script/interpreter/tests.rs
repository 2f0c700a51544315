//! Programs are run on a made-up workspace: a map of texts, and tools that do to it what the real ones do.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::{Exchange, Reply};

/// A workspace, and what its commands answer.
#[derive(Clone, Default)]
struct World {
    files: BTreeMap<String, String>,
    /// The results of the commands that are not grep's, the first first; then they succeed.
    commands: VecDeque<Value>,
    ran: Vec<String>,
}

impl World {
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Self { files, ..Self::default() }
    }

    fn call(&mut self, name: &str, arguments: &Value) -> Value {
        let path = arguments["file_path"].as_str().unwrap_or_default();
        match name {
            "read_file" => {
                let Some(text) = self.files.get(path) else { return failure(&format!("{path}: not found")) };
                json!({"status": "success", "content": text, "size_bytes": text.len(), "sha256": format!("of {text}")})
            }
            "edit_file" => {
                let (new, old) = (arguments["new_content"].as_str().unwrap(), self.files.get(path));
                if let Some(expected) = arguments["expected_sha256"].as_str() {
                    assert_eq!(Some(expected), old.map(|text| format!("of {text}")).as_deref());
                }
                self.files.insert(path.to_owned(), new.to_owned());
                json!({"status": "success", "message": "file edited"})
            }
            "run_command" => {
                let command = arguments["command"].as_str().unwrap();
                let words = shlex::split(command).unwrap();
                if words[0] == "grep" { self.grep(&words) } else { self.command(command) }
            }
            other => panic!("{other}"),
        }
    }

    fn command(&mut self, command: &str) -> Value {
        self.ran.push(command.to_owned());
        self.commands.pop_front().unwrap_or_else(|| exit(0, ""))
    }

    /// As grep does it: lines of the files below a place.
    fn grep(&self, words: &[String]) -> Value {
        let after = |option: &str| words.iter().skip_while(|word| *word != option).nth(1).unwrap();
        let (needle, place) = (after("-e"), after("--"));
        let below = |path: &str| place == "." || path == place || path.starts_with(&format!("{place}/"));
        let has = |text: &str| text.split_terminator('\n').any(|line| line.contains(needle.as_str()));
        let found = self.files.iter().filter(|(path, text)| below(path) && has(text));
        let prefix = if place == "." { "./" } else { "" };
        let stdout = found.rev().flat_map(|(path, _)| [prefix, path, "\0"]).collect::<String>();
        exit(i32::from(stdout.is_empty()), &stdout)
    }

    /// Runs the program to its end, asking anew with the whole history at each step, as the driver does.
    fn run(&mut self, instruction: &str) -> Result<String, String> {
        let task = Json::of(&json!({"instruction": instruction}));
        let program = Program::parse(instruction)?;
        let mut request = StepRequest {
            task_id: "t".parse().unwrap(),
            iteration: 1,
            payload: Json::of(&json!({"event": "start", "task": task})),
            task,
            history: Some(Vec::new()),
        };
        for _ in 0..200 {
            let reply = program.step(&request)?;
            let call = match Reply::parse(&reply).unwrap() {
                Reply::ToolCall(call) => call,
                Reply::Finish { summary } => return Ok(summary.unwrap()),
                other => panic!("{other:?}"),
            };
            let arguments: Value = serde_json::from_str(call.arguments.as_str()).unwrap();
            let result = self.call(&call.name, &arguments);
            let payload = json!({"event": "tool_result", "name": call.name, "arguments": arguments, "result": result});
            let agent_input = std::mem::replace(&mut request.payload, Json::of(&payload));
            request.history.as_mut().unwrap().push(Exchange { agent_input, mcp_reply: Some(reply) });
            request.iteration += 1;
        }
        Err("goes round and round".to_owned())
    }
}

fn failure(message: &str) -> Value {
    json!({"status": "failure", "message": message})
}

fn exit(code: i32, stdout: &str) -> Value {
    let status = if code == 0 { "success" } else { "failure" };
    json!({"status": status, "returncode": code, "stdout": stdout, "stderr": "", "truncated": false, "duration_ms": 1})
}

#[test]
fn texts_are_replaced_in_all_files_that_are_meant_and_no_other() {
    let mut world = World::of(&[
        ("a.txt", "x.x x"),
        ("b/c.txt", "no x.\n"),
        ("b/d.md", "x."),
        ("e.txt", "xx"),
        (".git/f.txt", "x."),
    ]);
    let summary = world.run(r#"replace "x." with "\"$1\"\n" in **/*.txt"#).unwrap();
    assert_eq!(summary, "made 2 replacements in 2 files: a.txt, b/c.txt");
    assert_eq!(world.files["a.txt"], "\"$1\"\nx x");
    assert_eq!(world.files["b/c.txt"], "no \"$1\"\n\n");
    assert_eq!((world.files["b/d.md"].as_str(), world.files[".git/f.txt"].as_str()), ("x.", "x."));
}

#[test]
fn all_is_done_in_order_and_told_in_the_end() {
    let mut world = World::of(&[]);
    let summary =
        world.run("create a with \"one\"\nreplace \"one\" with \"two\" in a\nrun: x y\ncreate a b with").unwrap_err();
    assert!(summary.contains("has no `with`"), "{summary}");
    assert!(world.files.is_empty() && world.ran.is_empty(), "nothing is done of what is not understood as a whole");
    let summary =
        world.run("create a with \"one\"\nreplace \"one\" with \"two\" in a\nrun: x y\nuntil z passes").unwrap();
    assert_eq!(summary, "made 1 replacement in 1 file: a; wrote 1 file: a; ran 1 command; `z` passes");
    assert_eq!((world.files["a"].as_str(), world.ran), ("two", vec!["x y".to_owned(), "z".to_owned()]));
}

#[test]
fn an_until_does_again_what_came_since_the_one_before() {
    let mut world = World::of(&[("a", "....")]);
    world.commands = [exit(0, ""), exit(0, ""), exit(1, "one"), exit(1, "two")].into();
    let summary = world
        .run("run: first\nuntil early passes\nreplace \"..\" with \".\" in a\nuntil late passes\nrun: last")
        .unwrap();
    assert_eq!(world.ran, ["first", "early", "late", "late", "late", "last"]);
    assert_eq!(world.files["a"], ".");
    assert_eq!(summary, "made 3 replacements in 1 file: a; ran 2 commands; `early` passes; `late` passes in round 3");
}

#[test]
fn a_command_that_fails_twice_in_the_same_way_ends_it() {
    let mut world = World::of(&[("a", "x")]);
    world.commands = [exit(1, "one"), exit(1, "two"), exit(1, "two")].into();
    let error = world.run("replace \"x\" with \"y\" in a\nuntil t passes").unwrap_err();
    assert_eq!(error, "line 2, `until t passes`: failed twice in a row in the same way: return code 1: two");
    assert_eq!(world.ran.len(), 3);
}

#[test]
fn failures_end_it_and_say_where() {
    let error = |world: &World, text: &str| world.clone().run(text).unwrap_err();
    let world = World::of(&[("a", "x")]);
    assert_eq!(
        error(&world, "replace \"z\" with \"y\" in **"),
        "line 1, `replace \"z\" with \"y\" in **`: no file that GLOB names has the text X"
    );
    let mut failing = world.clone();
    failing.commands = [json!({"status": "failure", "returncode": 2, "stdout": "out", "stderr": "no rule\n"})].into();
    assert_eq!(error(&failing, "\nrun: make"), "line 2, `run: make`: return code 2: no rule: out");
    let mut refused = world.clone();
    refused.commands = [failure("refused by the command policy: sudo")].into();
    let told = error(&refused, "until sudo x passes");
    assert_eq!(told, "line 1, `until sudo x passes`: refused by the command policy: sudo");
    let large = World::of(&[("a", &"x".repeat(1024 * 1024 + 1))]);
    assert!(error(&large, "replace \"x\" with \"y\" in a").contains("a: the file has 1048577 bytes"));
    let mut interrupted = world.clone();
    interrupted.commands =
        [failure("interrupted: the worker stopped during this call, its effects are unknown")].into();
    assert!(error(&interrupted, "run: x").contains("its effects are unknown"));
    // Where it is for finding out, it is done once more.
    interrupted.run("until x passes").unwrap();
    assert_eq!(interrupted.ran, ["x", "x"]);
}

#[test]
fn a_search_that_was_interrupted_is_made_again() {
    let program = Program::parse("replace \"x\" with \"y\" in a").unwrap();
    let mut interpreter = Interpreter::new(&program);
    let search = interpreter.begin().unwrap();
    let interrupted = Observation { message: Some("interrupted: …".into()), ..Observation::default() };
    assert_eq!(interpreter.observe(&interrupted).unwrap(), search);
    assert_eq!(interpreter.observe(&interrupted).unwrap(), search);
    let found =
        Observation { status: "success".into(), returncode: Some(0), stdout: "a\0".into(), ..Observation::default() };
    assert_eq!(interpreter.observe(&found).unwrap(), Act::read("a"));
}

#[test]
fn a_history_that_is_not_the_directives_own_is_refused() {
    let program = Program::parse("run: x").unwrap();
    let start = Json::of(&json!({"event": "start", "task": {}}));
    let reply = Json::of(&json!({"event": "tool_call", "name": "run_command", "arguments": {"command": "y"}}));
    let mut request = StepRequest {
        task_id: "t".parse().unwrap(),
        iteration: 2,
        payload: Json::of(&json!({"event": "tool_result", "result": exit(0, "")})),
        task: Json::empty_object(),
        history: Some(vec![Exchange { agent_input: start, mcp_reply: Some(reply) }]),
    };
    assert!(program.step(&request).unwrap_err().starts_with("iteration 1 on record is not"));
    request.iteration = 3;
    assert!(program.step(&request).unwrap_err().contains("has 1 iterations"));
}

proptest! {
    #[test]
    fn files_become_what_replacing_makes_of_them(
        files in prop::collection::btree_map("[ab](/[ab.]{1,2})?", "[ab\"\\\\.*é\n]{0,12}", 0..6),
        from in "[ab\"\\\\.*é\n]{1,3}", to in "[ab$\\\\é\n]{0,3}"
    ) {
        prop_assume!(from != to);
        let mut world = World { files: files.clone(), ..World::default() };
        let instruction = format!("replace {} with {} in **", json!(from), json!(to));
        let outcome = world.run(&instruction);
        let count: usize = files.values().map(|text| text.matches(&from).count()).sum();
        prop_assert_eq!(outcome.is_ok(), count > 0, "{:?}", outcome);
        if count > 0 {
            let told = if count == 1 { "made 1 replacement in ".to_owned() } else { format!("made {count} replacements in ") };
            prop_assert!(outcome.unwrap().starts_with(&told));
        }
        for (path, text) in &files {
            prop_assert_eq!(&world.files[path], &text.replace(&from, &to));
        }
    }
}
