//! README.md does what it says: every command block is run, and what it prints is what stands there.
//!
//! ```text
//!  ```sh                commands, one a line; a ```text output``` behind it is what they print
//!  ```console           `$ ` a command, `> ` more of it, anything else is what it prints
//!  ```… file=PATH       the file of that name in the repository, laid out for the commands
//!  ```text              a drawing: nothing to run
//! ```
//!
//! A block runs in a directory of its own under bash. The ports 8080 and 8000 become free ones; ids, times, ports and
//! durations count as equal. `UPDATE=1 cargo test --test readme` writes the table of variables anew.
#![expect(clippy::disallowed_methods, reason = "the commands of a page are run, not those of a task")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail aloud")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const BINARY: &str = env!("CARGO_BIN_EXE_codex-agent");

/// Far more than any block takes: a block that hangs is ended, and fails.
const LIMIT_SECONDS: &str = "60";

/// The one test command.
const TEST: &str = "cargo test --all-features";

/// Stands between the outputs of a block's commands.
const MARK: &str = "@@ readme @@";

/// Where the table of variables is.
const TABLE: (&str, &str) = ("<!-- variables -->\n", "<!-- /variables -->\n");

#[test]
fn every_command_block_prints_what_it_shows() {
    for tool in ["bash", "curl", "git", "python3"] {
        let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return skip(&format!("{tool} is not installed, README.md's commands are not run"));
        }
    }
    let page = Page::read();
    let sessions = page.sessions();
    assert!(sessions.len() >= 5, "README.md has lost its transcripts");
    let faults: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> =
            sessions.iter().map(|session| scope.spawn(|| session.check(&page.files()).err())).collect();
        running.into_iter().filter_map(|session| session.join().expect("a block panicked")).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_test_command_is_the_one_that_ci_runs() {
    let page = Page::read();
    let commands: Vec<&str> = page.commands().filter(|line| line.starts_with("cargo test")).collect();
    let ci = repository_file(".ci/run");
    assert_eq!(commands, [TEST], "README.md names one test command");
    assert!(ci.lines().any(|line| line == commands[0]), ".ci/run does not run `{}`", commands[0]);
}

#[test]
fn files_shown_are_those_of_the_repository() {
    let files = Page::read().files();
    assert!(!files.is_empty(), "README.md has lost its brain");
    for (path, text) in files {
        assert_eq!(text, repository_file(&path), "README.md shows another {path}");
    }
}

#[test]
fn the_table_of_variables_is_that_of_the_help() {
    let page = Page::read();
    let (before, rest) = page.text.split_once(TABLE.0).expect("README.md has a table of variables");
    let (shown, after) = rest.split_once(TABLE.1).expect("the table has an end");
    let table = variables(&printed(&["--help"]));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(repository("README.md"), [before, TABLE.0, &table, TABLE.1, after].concat()).unwrap();
        return;
    }
    assert_eq!(shown, table, "update it with `UPDATE=1 cargo test --test readme`");
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let help = one_line(&printed(&["--help"]));
    let (_, codes) = help.split_once("Exit codes: ").expect("the help tells the exit codes");
    let rows: Vec<String> = codes.trim().split(" · ").map(|code| code.replacen(' ', " | ", 1)).collect();
    let page = Page::read();
    let table = page.table("| code | meaning |");
    assert_eq!(table, rows.iter().map(|row| format!("| {row} |")).collect::<Vec<_>>());
}

#[test]
fn the_calls_are_those_of_the_openapi_document() {
    let document: serde_json::Value = serde_json::from_str(&printed(&["openapi"])).unwrap();
    let calls: BTreeSet<String> = document["paths"].as_object().unwrap().iter().flat_map(calls_of).collect();
    let page = Page::read();
    let rows = page.table("| call | what it does |");
    let shown: BTreeSet<String> = rows.iter().filter_map(|row| Some(row.split('`').nth(1)?.to_owned())).collect();
    assert_eq!(shown, calls);
}

#[test]
fn files_and_directories_named_in_the_text_exist() {
    const ROOTS: [&str; 7] = ["src/", "tests/", "examples/", "migrations/", "deploy/", ".ci/", "docker"];
    let page = Page::read();
    let words = page.text.split('`').skip(1).step_by(2);
    let named: Vec<&str> = words
        .filter(|word| !word.contains(' ') && ROOTS.iter().any(|root| word.starts_with(root)) || *word == "Dockerfile")
        .collect();
    assert!(named.len() > 10, "README.md has lost its map: {named:?}");
    for path in named {
        assert!(repository(path).exists(), "README.md names {path}, which does not exist");
    }
}

/// README.md and its blocks.
struct Page {
    text: String,
    blocks: Vec<Block>,
}

/// A fenced block.
struct Block {
    line: usize,
    info: String,
    text: String,
}

/// Commands that share a directory and a shell.
struct Session {
    line: usize,
    steps: Vec<Step>,
}

/// A command and what it is to print.
struct Step {
    command: String,
    output: String,
}

impl Page {
    fn read() -> Self {
        let text = repository_file("README.md");
        let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
        for (at, line) in text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(info)) => {
                    open = Some(Block { line: at + 1, info: info.to_owned(), text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => block.text.extend([line, "\n"]),
                (None, None) => assert!(!line.trim_start().starts_with("```"), "line {}: an indented block", at + 1),
            }
        }
        assert!(open.is_none(), "README.md ends within a block");
        Self { text, blocks }
    }

    /// All that is to be run. A block that nobody knows how to run is a fault.
    fn sessions(&self) -> Vec<Session> {
        let mut sessions: Vec<Session> = Vec::new();
        let mut before = "";
        for block in &self.blocks {
            let line = block.line;
            match block.info.as_str() {
                "sh" => {
                    let steps = shell_lines(&block.text).filter(|command| *command != TEST).map(Step::silent);
                    sessions.push(Session { line, steps: steps.collect() });
                }
                "text output" => {
                    let step = sessions.last_mut().filter(|_| before == "sh").and_then(|last| last.steps.last_mut());
                    let step = step.unwrap_or_else(|| panic!("line {line}: an output without a command before it"));
                    step.output.clone_from(&block.text);
                }
                "console" => sessions.push(Session { line, steps: transcript(block) }),
                "text" => assert!(!block.text.contains("\n$ "), "line {line}: a command in a drawing is not run"),
                info if info.contains(" file=") => {}
                info => panic!("line {line}: no rule for a block of the kind {info:?}"),
            }
            before = &block.info;
        }
        sessions
    }

    /// The files that are shown, by their paths.
    fn files(&self) -> Vec<(String, String)> {
        let path = |block: &Block| Some(block.info.split_once(" file=")?.1.to_owned());
        self.blocks.iter().filter_map(|block| Some((path(block)?, block.text.clone()))).collect()
    }

    /// The lines of all shell blocks.
    fn commands(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().filter(|block| block.info == "sh").flat_map(|block| shell_lines(&block.text))
    }

    /// The rows of the table with this head.
    fn table(&self, head: &str) -> Vec<&str> {
        let rows = self.text.lines().skip_while(|line| *line != head).skip(2);
        rows.take_while(|line| line.starts_with('|')).collect()
    }
}

impl Step {
    fn silent(command: &str) -> Self {
        Self { command: command.to_owned(), output: String::new() }
    }
}

impl Session {
    /// Runs the commands in a new directory with `files` in it; the error tells all that was printed.
    fn check(&self, files: &[(String, String)]) -> Result<(), String> {
        let home = tempfile::Builder::new().prefix("codex-agent-readme-").tempdir().unwrap();
        let ports = [("8080", free_port()), ("8000", free_port())];
        let outwards = |text: &str| ports.iter().fold(text.to_owned(), |text, (ours, free)| text.replace(ours, free));
        let inwards = |text: &str| {
            ports
                .iter()
                .fold(text.to_owned(), |text, (ours, free)| text.replace(&format!(":{free}"), &format!(":{ours}")))
        };
        for (path, text) in files {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, outwards(text)).unwrap();
        }

        let script: String = self.steps.iter().map(|step| self.line_of_script(&outwards(&step.command))).collect();
        let (finished, printed) = run(&script, home.path());
        let printed = inwards(&printed).replace(&home.path().display().to_string(), "/tmp");

        let mut outputs: Vec<&str> = printed.split(MARK).collect();
        // Behind the last mark there is nothing but what a background job says when it is killed.
        outputs.pop();
        let expected = self.steps.iter().map(|step| masked(&step.output));
        let same = outputs.len() == self.steps.len()
            && outputs.iter().zip(expected).all(|(actual, expected)| masked(actual) == expected);
        if finished && same {
            return Ok(());
        }
        let shown =
            self.steps.iter().zip(&outputs).flat_map(|(step, output)| ["$ ", &step.command, "\n", output.trim(), "\n"]);
        let shown: String = shown.collect();
        let end = if finished { "" } else { "(it did not come to an end by itself)\n" };
        Err(format!("README.md, line {}: the block prints something else:\n{shown}{end}", self.line))
    }

    /// A failure is printed, so that none goes unseen.
    fn line_of_script(&self, command: &str) -> String {
        let command = command.replace("cargo run -- ", "codex-agent ");
        assert!(!command.starts_with("cargo "), "line {}: no rule for {command:?}", self.line);
        format!("{command}\nstatus=$?; [ $status = 0 ] || echo \"(exit code $status)\"; echo; echo '{MARK}'\n")
    }
}

/// Runs bash in `home`, and afterwards kills whatever it left; whether it ended well, and what was printed.
fn run(script: &str, home: &Path) -> (bool, String) {
    let (script_file, output_file) = (home.join(".script"), home.join(".printed"));
    fs::write(&script_file, script).unwrap();
    let output = fs::File::create(&output_file).unwrap();
    let mut path = std::ffi::OsString::from(Path::new(BINARY).parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut child = Command::new("timeout")
        .args(["--kill-after=1", LIMIT_SECONDS, "bash"])
        .arg(&script_file)
        .env_clear()
        .envs([("HOME", home), ("TMPDIR", home)])
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0)
        .spawn()
        .unwrap();
    let group = Pid::from_child(&child);
    let status = child.wait().unwrap();
    // It fails where nobody is left.
    let _ = kill_process_group(group, Signal::KILL);
    kill_all_in(home);
    (status.success(), String::from_utf8_lossy(&fs::read(output_file).unwrap()).into_owned())
}

/// Ends every process that works below `home`: a command of a service that was killed has left its group.
fn kill_all_in(home: &Path) {
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let works_here = fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(home));
        let id = process.file_name().to_str().and_then(|id| Pid::from_raw(id.parse().ok()?));
        if let (true, Some(id)) = (works_here, id) {
            // It fails where it has ended meanwhile.
            let _ = kill_process(id, Signal::KILL);
        }
    }
}

/// What the program prints to standard output, without any variable set.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).env_clear().current_dir("/").output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands of a shell block, without comments.
fn shell_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split_once(" #").map_or(line, |(command, _)| command).trim())
}

/// The commands of a console block, each with what it prints.
fn transcript(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut in_command = false;
    for line in block.text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step::silent(command));
            in_command = true;
            continue;
        }
        let step = steps.last_mut().unwrap_or_else(|| panic!("line {}: output before any command", block.line));
        if let Some(more) = line.strip_prefix("> ").filter(|_| in_command) {
            step.command.extend(["\n", more]);
        } else {
            in_command = false;
            step.output.extend([line, "\n"]);
        }
    }
    steps
}

/// The text with what differs from run to run made equal. In a mask `•` is a hexadecimal digit, `?` a letter or digit,
/// `#` a number.
fn masked(text: &str) -> String {
    const MASKS: [&str; 10] = [
        "••••••••-••••-••••-••••-••••••••••••",
        "#-#-#T#:#:#.#Z",
        "127.0.0.1:#",
        "codex-agent-demo-??????",
        "(# ms)",
        "took # ms in the median",
        "# ms at most",
        "step_ms\":#",
        "tool_ms\":#",
        "duration_ms\":#",
    ];
    let text: Vec<char> = text.trim().chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    while at < text.len() {
        let found = MASKS.iter().find_map(|mask| Some((mask, fits(mask, &text[at..])?)));
        if let Some((mask, length)) = found {
            out.push_str(mask);
            at += length;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// How many characters at the start of `text` a mask takes.
fn fits(mask: &str, text: &[char]) -> Option<usize> {
    let mut at = 0;
    for one in mask.chars() {
        let rest = &text[at..];
        let taken = match one {
            '#' => rest.iter().take_while(|c| c.is_ascii_digit()).count(),
            '•' => usize::from(rest.first().is_some_and(char::is_ascii_hexdigit)),
            '?' => usize::from(rest.first().is_some_and(char::is_ascii_alphanumeric)),
            one => usize::from(rest.first() == Some(&one)),
        };
        if taken == 0 {
            return None;
        }
        at += taken;
    }
    Some(at)
}

/// The rows of the table, made from the help: name, default and meaning.
fn variables(help: &str) -> String {
    let (_, listed) = help.split_once("Configuration (").expect("the help has a list of variables");
    let (listed, _) = listed.split_once("\nWithout a command").expect("the list has an end");
    let mut table = "| variable | default | meaning |\n| --- | --- | --- |\n".to_owned();
    for entry in listed.split("\n      --").skip(1) {
        let entry = one_line(entry.split_once('\n').expect("a flag has a meaning").1);
        let tag = |name: &str| Some(entry.split_once(&format!("[{name}: "))?.1.split_once(']')?.0.to_owned());
        let name = tag("env").expect("every setting is a variable");
        let name = name.trim_end_matches('=');
        let default = match tag("default").map(|default| default.replace('`', "")) {
            None => "–".to_owned(),
            Some(words) if words.contains(' ') => words,
            Some(value) => format!("`{value}`"),
        };
        let (meaning, _) = entry.split_once(" [").expect("its variable is named behind it");
        writeln!(table, "| `{name}` | {default} | {meaning} |").unwrap();
    }
    table
}

/// `POST /tasks` and the like, of one path in the OpenAPI document.
fn calls_of((path, methods): (&String, &serde_json::Value)) -> Vec<String> {
    let methods = methods.as_object().unwrap().keys();
    methods.map(|method| format!("{} {path}", method.to_uppercase())).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cargo runs tests in the package's directory. The one at compile time may be another: a copied target directory.
fn repository(path: &str) -> std::path::PathBuf {
    Path::new(".").join(path)
}

fn repository_file(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A port below those that the system hands out, so that nobody else is given it before it is used.
fn free_port() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 1000 * 10).unwrap();
    let port = (0..10_000).find_map(|_| {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    });
    port.expect("a free port").to_string()
}

/// Says that something is not tested, past libtest's capture; where everything must be tested, it fails.
fn skip(reason: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {reason}\n").as_bytes()).unwrap();
    assert!(std::env::var_os("CODEX_AGENT_NO_SKIP").is_none(), "skipped, and CODEX_AGENT_NO_SKIP is set: {reason}");
}
