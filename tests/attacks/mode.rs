//! All cases in one mode: one service, one brain, a table at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::backstop::Backstop;
use crate::canary::{self, CANARY};
use crate::case::{self, Case, Places};
use crate::common::brain::{Brain, Reply, Seen, call};
use crate::common::{Home, PATIENCE, Service, skip};
use crate::expect::{Expect, Outcome};
use crate::judge::{Before, Ran, judge};
use crate::mask::mask;
use crate::process::{self, Peak};
use crate::setup::{Prepared, lay_out};
use crate::table::{Played, Verdict, table};

/// Programs are looked for here, by the service and by the harness; nothing that lies in somebody's home.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Tasks at a time: enough to keep two cores busy while some sleep, and few enough that the times mean something.
const AT_A_TIME: usize = 6;

/// How often what must be watched is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Limits that are reached sooner than the service's own, so that reaching them does not take long.
const LIMITS: &[(&str, &str)] = &[
    ("CMD_MAX_MEMORY", "1073741824"),
    ("CMD_MAX_PROCESSES", "256"),
    ("CMD_MAX_FILE_SIZE", "67108864"),
    ("CMD_MAX_DISK", "134217728"),
    ("CMD_MAX_CPU", "2"),
    ("CMD_MAX_OPEN_FILES", "1024"),
    ("MAX_COMMANDS", "8"),
];

/// How commands are confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    Namespaces,
    Landlock,
}

/// Whether commands are refused by their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    On,
    Off,
}

/// What the brain knows of a case, and what it has seen of it.
#[derive(Default)]
struct Exchange {
    call: Value,
    word: Option<String>,
    asked: Option<Instant>,
    answered: Option<(Duration, Value, Vec<String>)>,
}

type Exchanges = Arc<Mutex<BTreeMap<String, Exchange>>>;

impl Sandbox {
    fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
        }
    }

    /// The layers that a case may be unable to do without.
    fn layers(self) -> &'static [&'static str] {
        match self {
            Self::Namespaces => {
                &["landlock", "seccomp", "seccomp_pidarg", "userns", "pidns", "mountns", "netns", "ipcns"]
            }
            Self::Landlock => &["landlock", "seccomp", "seccomp_pidarg"],
        }
    }
}

/// A service in a mode, ready for cases.
struct Stage {
    sandbox: Sandbox,
    policy: Policy,
    service: Service,
    exchanges: Exchanges,
    /// Among the system's files, there before the service starts; none where this user can make none.
    opt: Option<tempfile::TempDir>,
    _brain: Brain,
    /// Below the service: it goes after it.
    _backstop: Backstop,
}

/// Runs every case and fails with all that did not hold.
pub async fn run(sandbox: Sandbox, policy: Policy) {
    let stage = Stage::set(sandbox, policy).await;
    let started = Instant::now();
    // The policy only keeps commands from starting: what a dangerous one does behind the walls is tried without it.
    let cases = chosen().into_iter().filter(|case| policy == Policy::Off || case.danger.is_none());
    let (alone, together): (Vec<Case>, Vec<Case>) = cases.partition(Case::runs_alone);
    let together = together.into_iter().map(|case| stage.play(case));
    let mut verdicts: Vec<Played> = futures_util::stream::iter(together).buffer_unordered(AT_A_TIME).collect().await;
    for case in alone {
        verdicts.push(stage.play(case).await);
    }
    let name = format!("{} sandbox, policy {policy:?}", sandbox.name());
    let broken = table(&name, &mut verdicts, started.elapsed());
    let left = stage.strike().await;
    assert!(broken == 0 && left.is_empty(), "{name}: {broken} cases do not hold; at the end: {left:?}");
}

/// The cases, or those whose id has the words of ATTACKS in it, for somebody who works on one.
#[expect(clippy::disallowed_methods, reason = "a choice of the person who runs the tests")]
fn chosen() -> Vec<Case> {
    let wanted = std::env::var("ATTACKS").unwrap_or_default();
    let words: Vec<&str> = wanted.split(',').collect();
    case::all().into_iter().filter(|case| words.iter().any(|word| case.id.contains(word))).collect()
}

impl Stage {
    async fn set(sandbox: Sandbox, policy: Policy) -> Self {
        let home = Home::new();
        let secret = format!("{CANARY}\n");
        std::fs::create_dir_all(home.path().join(".ssh")).unwrap();
        std::fs::create_dir_all(home.output()).unwrap();
        for file in [home.path().join(".ssh/id"), home.output().join("agent.db"), home.output().join("logs.jsonl")] {
            std::fs::write(file, &secret).unwrap();
        }
        let opt = closed_file_in_opt(&secret);
        let exchanges = Exchanges::default();
        let (known, home_path) = (Arc::clone(&exchanges), home.path().to_owned());
        let brain = Brain::start(move |seen, _| answer(seen, &known, &home_path)).await;

        let key = format!("{CANARY}-key");
        let mut variables = vec![("OPENAI_API_KEY", key.as_str()), ("SOME_SECRET", CANARY), ("PATH", PATH)];
        variables.extend(LIMITS);
        let rules = home.path().join("rules.toml");
        if policy == Policy::Off {
            std::fs::write(&rules, "shell_operators = \"allow\"\n").unwrap();
            variables.push(("COMMAND_POLICY", rules.to_str().unwrap()));
        }
        let service = Service::start_with(home.clone(), &brain.url, &variables, |command| {
            if sandbox == Sandbox::Landlock {
                mask(&[libc::SYS_unshare, libc::SYS_setns], libc::EPERM).put_on(command);
            }
        })
        .await;
        let backstop = Backstop::around(service.pid());
        let stage = Self { sandbox, policy, service, exchanges, opt, _brain: brain, _backstop: backstop };
        stage.check_mode().await;
        stage
    }

    /// In another mode than the one meant the cases prove nothing.
    async fn check_mode(&self) {
        let ready = self.service.get("/readyz").await.json();
        assert_eq!(ready["sandbox"]["mode"], self.sandbox.name(), "{ready}");
    }

    /// Prepares a case, makes its call, and judges it.
    async fn play(&self, case: Case) -> (Case, Verdict, Duration) {
        let started = Instant::now();
        let verdict = match Self::reason_to_skip(&case) {
            Some(reason) => {
                skip(&format!("{}: {reason}", case.id));
                Verdict::Skipped(reason)
            }
            None => self.perform(&case).await,
        };
        (case, verdict, started.elapsed())
    }

    fn reason_to_skip(case: &Case) -> Option<String> {
        if let Some(arch) = case.arch.as_deref().filter(|arch| *arch != std::env::consts::ARCH) {
            return Some(format!("is about {arch}"));
        }
        // A missing program cannot do what is forbidden; but neither can it do what must pass.
        let passes = case.expect["outcome"] == "ok" || case.expect["outcome"] == "not_refused";
        let missing = case.programs().into_iter().find(|program| !is_installed(program));
        missing.filter(|_| passes || !case.needs.is_empty()).map(|program| format!("{program} is not on this machine"))
    }

    async fn perform(&self, case: &Case) -> Verdict {
        let home = &self.service.home;
        let case_dir = home.code().join(&case.id);
        let workspace = case_dir.join("ws");
        lay_out(&case_dir);
        let mut places = self.places(&case.id, &case_dir);
        let mut prepared = Prepared::new(&case.setup, &mut places, &case_dir).await;
        let mut expect: Expect =
            serde_json::from_value(places.fill(&case.expect)).unwrap_or_else(|error| panic!("{}: {error}", case.id));
        if self.policy == Policy::Off && case.is_of_the_policy() && expect.refused.is_some() {
            expect = expect.without_policy();
        }
        let around = [case_dir.join("outside"), case_dir.join("ws-evil"), home.path().join(".ssh")];
        let before = Before::new(&expect, &around, self.service.pid());
        let exchange = Exchange {
            call: call(&case.call.name, &places.fill(&case.call.arguments)),
            word: expect.no_process.clone(),
            ..Exchange::default()
        };
        self.exchanges.lock().unwrap().insert(case.id.clone(), exchange);

        let task = json!({"instruction": case.title, "task_id": case.id, "workspace": format!("{}/ws", case.id)});
        let (task, peak) = self.finish(&task, &expect).await;
        let answered = self.exchanges.lock().unwrap().remove(&case.id).and_then(|exchange| exchange.answered);
        let Some((took, result, alive)) = answered else {
            return Verdict::Broken(vec!["the brain never got a result".to_owned()], task);
        };
        let record = self.service.get(&format!("/tasks/{}/log", case.id)).await.body;
        let healthy = self.service.get("/healthz").await.status == 200;
        let service = self.service.pid();
        let ran = Ran { result, took, alive, peak, task, record, healthy, service, workspace };
        let broken = judge(case, &expect, &before, &mut prepared, &ran);
        drop(prepared);
        // What a case filled the disk with is not kept until the end, nor what it put where it should not.
        let _ = std::fs::remove_dir_all(&case_dir);
        for path in &expect.absent {
            let _ = std::fs::remove_file(path);
        }
        let has_a_layer = case.xfail_without.iter().any(|layer| self.sandbox.layers().contains(&layer.as_str()));
        match broken {
            broken if broken.is_empty() => Verdict::Held,
            broken if !case.xfail_without.is_empty() && !has_a_layer => Verdict::Expected(broken),
            broken => Verdict::Broken(broken, ran.result),
        }
    }

    /// The task at its end, and the most that was seen of its processes where that is asked for.
    async fn finish(&self, task: &Value, expect: &Expect) -> (Value, Peak) {
        let port = expect.host_connect_refused.as_ref().map(|port| port.parse().unwrap());
        let mut peak = Peak::default();
        let answer = self.service.post("/tasks", task.to_string()).await;
        if answer.status != 202 {
            // An attack before this one has hurt the service; the table is to show which.
            return (answer.json(), peak);
        }
        let ended = self.ended(task["task_id"].as_str().unwrap());
        if !expect.watches() {
            return (ended.await, peak);
        }
        let mut looks = tokio::time::interval(LOOK);
        tokio::pin!(ended);
        loop {
            tokio::select! {
                task = &mut ended => return (task, peak),
                _ = looks.tick() => peak.look(self.service.pid(), self.service.home.path(), port),
            }
        }
    }

    /// The task when it has ended, or as it stands when nobody would wait any longer.
    async fn ended(&self, id: &str) -> Value {
        let asked = Instant::now();
        loop {
            let task = self.service.get(&format!("/tasks/{id}?wait=10")).await.json();
            let over = ["succeeded", "failed", "cancelled"].contains(&task["status"].as_str().unwrap());
            if over || asked.elapsed() > PATIENCE {
                return task;
            }
        }
    }

    fn places(&self, case: &str, case_dir: &Path) -> Places {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        Places::new([
            ("WS", path(case_dir.join("ws"))),
            ("OUTSIDE", path(case_dir.join("outside"))),
            ("WS_SIBLING", path(case_dir.join("ws-evil"))),
            ("OUTPUT", path(self.service.home.output())),
            ("OPT", path(self.opt.as_ref().map_or_else(|| "/opt/none".into(), |opt| opt.path().to_owned()))),
            ("HOME_OF_SERVICE", path(self.service.home.path().to_owned())),
            ("SVC_PID", self.service.pid().to_string()),
            ("SVC_PORT", self.service.url.rsplit(':').next().unwrap().to_owned()),
            ("CASE", case.to_owned()),
            ("KEY", (0x0a77_0000 + u64::from(std::process::id())).to_string()),
            ("BIG", "a".repeat(1 << 20)),
            ("LONG", "a".repeat(200 << 10)),
        ])
    }

    /// Stops the service; whatever it or the commands left behind, or let out.
    async fn strike(self) -> Vec<String> {
        self.check_mode().await;
        let mut left = Vec::new();
        let pid = self.service.pid();
        left.extend(process::of_commands(pid, self.service.home.path()).iter().map(|pid| format!("process {pid}")));
        let log = self.service.log();
        let (home, code) = self.service.stop().await;
        if code != Some(0) {
            left.push(format!("the service ended with {code:?}"));
        }
        left.extend(canary::find(log.as_bytes()).map(|how| format!("the secret is in the log ({how})")));
        let known = ["agent.db", "logs.jsonl"].map(|name| home.output().join(name).display().to_string());
        let spilled = canary::files_with(&home.output());
        left.extend(spilled.into_iter().filter(|file| !known.iter().any(|known| file.starts_with(known))));
        let expected = ["code", "output", ".ssh", "rules.toml"];
        let names = std::fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.file_name());
        left.extend(names.map(|name| name.to_string_lossy().into_owned()).filter(|name| !expected.contains(&&**name)));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounted = mounts.lines().filter(|line| line.contains(home.path().to_str().unwrap()));
        left.extend(mounted.map(|line| format!("mount {line}")));
        left
    }
}

/// A directory in `/opt` that everybody may look into, with a file that only its owner may read and one for all.
fn closed_file_in_opt(secret: &str) -> Option<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("codex-agent-attacks-").tempdir_in("/opt").ok()?;
    for (name, mode) in [("secret", 0o600), ("public", 0o644)] {
        std::fs::write(dir.path().join(name), if name == "secret" { secret } else { "public\n" }).unwrap();
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    Some(dir)
}

/// The brain: the case's one call, then the end. What is alive is looked at while the result is in its hands.
fn answer(seen: &Seen, exchanges: &Exchanges, home: &Path) -> Reply {
    let mut exchanges = exchanges.lock().unwrap();
    let Some(exchange) = exchanges.get_mut(&seen.task_id()) else { return Reply::finish() };
    match seen.event().as_str() {
        "start" => {
            exchange.asked = Some(Instant::now());
            Reply::json(&exchange.call)
        }
        "tool_result" => {
            let took = exchange.asked.unwrap().elapsed();
            let alive = exchange.word.as_ref().map(|word| process::with_line(word, home)).unwrap_or_default();
            exchange.answered = Some((took, seen.payload()["result"].clone(), alive));
            Reply::finish()
        }
        _ => Reply::finish(),
    }
}

fn is_installed(program: &str) -> bool {
    std::env::split_paths(PATH).any(|directory| directory.join(program).exists())
}

/// Whether this user can have namespaces at all.
#[expect(clippy::disallowed_methods, reason = "a harness starts processes")]
pub async fn namespaces_are_there() -> bool {
    let unshare = tokio::process::Command::new("unshare").args(["--user", "--map-root-user", "true"]).output().await;
    unshare.is_ok_and(|output| output.status.success())
}

/// Every case is well-formed, whatever mode it runs in.
#[test]
fn the_cases_are_well_formed() {
    let mut ids = std::collections::BTreeSet::new();
    for case in case::all() {
        assert!(ids.insert(case.id.clone()), "{}: twice", case.id);
        let expect = serde_json::from_value::<Expect>(case.expect.clone());
        let expect = expect.unwrap_or_else(|error| panic!("{}: {error}", case.id));
        let checks = case.expect.as_object().unwrap().len();
        let only = expect.outcome == Some(Outcome::Any) && checks == 1;
        assert!(checks > 0 && !only, "{}: expects nothing", case.id);
    }
}
