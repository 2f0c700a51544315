//! Ordinary work: what a developer would run gives in the sandbox what it gives outside.
#![expect(clippy::disallowed_methods, reason = "what is run outside is what is compared with")]

use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::process::Command;

use crate::common::brain::call;
use crate::common::{Home, Service, skip};
use crate::mask::mask;

/// A project of each kind, small enough to be built in a moment.
const FILES: &[(&str, &str)] = &[
    ("Makefile", "all: out.txt\nout.txt: in.txt\n\tcp in.txt out.txt\nbroken:\n\t@echo no >&2; exit 3\n"),
    ("in.txt", "in\n"),
    ("test_sum.py", "def test_right():\n    assert 1 + 1 == 2\n\ndef test_wrong():\n    assert 1 + 1 == 3\n"),
    ("pool.py", "import multiprocessing as m\nif __name__ == '__main__':\n    print(m.Pool(2).map(abs, [-1, -2]))\n"),
    (
        "serve.py",
        "import http.server, threading, urllib.request as u\n\
         s = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n\
         threading.Thread(target=s.serve_forever, daemon=True).start()\n\
         print(u.urlopen(f'http://127.0.0.1:{s.server_port}/in.txt').read())\n",
    ),
    ("sum.test.js", "const t = require('node:test');\nt('sum', () => require('assert').equal(1 + 1, 2));\n"),
    ("crate/Cargo.toml", "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n"),
    (
        "crate/src/lib.rs",
        "#[test]\nfn right() {}\n#[test]\nfn wrong() {\n    assert_eq!(std::fs::read_to_string(\"Cargo.toml\").unwrap(), \"\");\n}\n",
    ),
    ("crate/src/main.rs", "fn main() {\n    println!(\"hello\");\n    std::process::exit(7);\n}\n"),
];

/// What is run: the directory, the words, and what must be on the machine for it.
const WORK: &[(&str, &[&str], &str)] = &[
    (".", &["git", "status", "--short"], "git"),
    (".", &["git", "add", "."], "git"),
    (".", &["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "all of it"], "git"),
    (".", &["git", "log", "--format=%s"], "git"),
    (".", &["sh", "-c", "echo more >> in.txt"], "sh"),
    (".", &["git", "--no-pager", "diff"], "git"),
    (".", &["git", "stash", "list"], "git"),
    (".", &["git", "nonsense"], "git"),
    (".", &["make"], "make"),
    (".", &["make", "broken"], "make"),
    (".", &["python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "test_sum.py"], "pytest"),
    (".", &["python3", "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(5)"], "python3"),
    (".", &["python3", "-c", "import os; os.kill(os.getpid(), 15)"], "python3"),
    (".", &["node", "-e", "console.log([1, 2].map(x => x * 2)); process.exitCode = 4"], "node"),
    (".", &["node", "--test", "--test-reporter=dot", "sum.test.js"], "node"),
    ("crate", &["cargo", "build", "--offline", "-q"], "cargo"),
    ("crate", &["cargo", "run", "--offline", "-q"], "cargo"),
    ("crate", &["cargo", "test", "--offline", "-q", "--", "--test-threads=1"], "cargo"),
];

/// What only namespaces give back.
const WITH_NAMESPACES: &[(&str, &[&str], &str)] =
    &[(".", &["python3", "pool.py"], "python3"), (".", &["python3", "serve.py"], "python3")];

#[tokio::test]
async fn work_gives_the_same_inside_as_outside() {
    let (tools, shown) = (Tools::find().await, [&[][..], &[libc::SYS_unshare]]);
    for (number, calls) in shown.into_iter().enumerate() {
        let work: Vec<_> = WORK.iter().chain(if number == 0 { WITH_NAMESPACES } else { &[] }).collect();
        let (inside, outside) = (prepare(&tools).await, prepare(&tools).await);
        let variables = [("SANDBOX_READ", tools.read.as_str()), ("PATH", tools.path.as_str())];
        let put_on = |command: &mut Command| mask(calls, libc::EPERM).put_on(command);
        let service = Service::start_with(inside.clone(), "script:", &variables, put_on).await;
        let wanted = if number == 0 { "namespaces" } else { "landlock" };
        if service.get("/readyz").await.json()["sandbox"]["mode"] != wanted {
            skip(&format!("this machine has no sandbox of the kind {wanted}"));
            continue;
        }
        for (directory, words, needs) in work {
            if !tools.has(needs) {
                skip(&format!("{needs} is not installed: {words:?}"));
                continue;
            }
            let command = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect::<Vec<_>>();
            let arguments = json!({"command": command.join(" "), "workdir": directory, "timeout": 120});
            let script = json!([call("run_command", &arguments), {"event": "finish"}]);
            let task = service.finish(&json!({"instruction": "x", "script": script})).await;
            let record = service.record(task["task_id"].as_str().unwrap()).await;
            let result = &record[1]["agent_input"]["result"];
            let same = run(&tools, &outside.code().join(directory), words).await;
            let text = |name: &str| plain(result[name].as_str().unwrap_or_default(), &inside);
            let got = (result["returncode"].as_i64().unwrap_or(-999), text("stdout"), text("stderr"));
            let expected = (same.0, plain(&same.1, &outside), plain(&same.2, &outside));
            assert_eq!(got, expected, "{wanted}: {words:?}: {result}");
        }
        service.stop().await;
    }
}

/// The programs, and what the sandbox has to show of them.
struct Tools {
    path: String,
    read: String,
}

impl Tools {
    /// The system's own, and the Rust toolchain and the Python environment that these tests run with, wherever they are.
    async fn find() -> Self {
        let mut read: Vec<String> = Vec::new();
        let mut path: Vec<String> = Vec::new();
        if let Some(root) = said(Command::new("rustc").args(["--print", "sysroot"])).await {
            path.push(format!("{root}/bin"));
            read.push(root);
        }
        if let Some(prefix) = said(Command::new("python3").args(["-c", "import sys, pytest; print(sys.prefix)"])).await
            && !prefix.starts_with("/usr")
        {
            path.push(format!("{prefix}/bin"));
            read.push(prefix);
        }
        path.extend(["/usr/local/bin", "/usr/bin", "/bin"].map(str::to_owned));
        Self { path: path.join(":"), read: read.join(":") }
    }

    fn has(&self, program: &str) -> bool {
        let dirs = self.path.split(':').map(PathBuf::from);
        dirs.map(|dir| dir.join(program)).any(|file| file.exists())
            || (program == "pytest" && Path::new("/usr/lib/python3/dist-packages/pytest").exists())
    }
}

async fn said(command: &mut Command) -> Option<String> {
    let output = command.output().await.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

async fn prepare(tools: &Tools) -> Home {
    let home = Home::new();
    for (name, text) in FILES {
        let file = home.code().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    run(tools, &home.code(), &["git", "init", "-q", "-b", "main"]).await;
    home
}

/// Runs it outside, with the same environment.
async fn run(tools: &Tools, directory: &Path, words: &[&str]) -> (i64, String, String) {
    use std::os::unix::process::ExitStatusExt;
    let own = tempfile::tempdir().unwrap();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(directory).env_clear().env("PATH", &tools.path).env("TERM", "dumb");
    command.env("HOME", own.path()).env("TMPDIR", own.path()).stdin(std::process::Stdio::null());
    let output = command.output().await.unwrap();
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (code.into(), text(&output.stdout), text(&output.stderr))
}

/// Without what differs between any two runs: where it ran, and how long it took.
fn plain(text: &str, home: &Home) -> String {
    let text = text.replace(&home.code().display().to_string(), "CODE");
    text.lines()
        .map(|line| {
            let line = line.split(" in 0.").next().unwrap_or_default();
            let line = line.split("; finished in ").next().unwrap_or_default();
            // A thread's or a server's number.
            let digits = |c: char| c.is_ascii_digit();
            if line.contains("thread '") || line.contains("GET /") { line.replace(digits, "") } else { line.to_owned() }
        })
        .filter(|line| !line.contains("GET /"))
        .collect::<Vec<_>>()
        .join("\n")
}
