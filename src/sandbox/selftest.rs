//! Chooses the walls, once: the best kind that small attacks do not get through.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cgroup::Cgroups;
use super::spec::{Job, Network, Setup, Targets, Walls};
use super::steward::Steward;
use super::view::{View, ViewError};
use super::{Command, Mode, Requirement, Sandbox, Settings, Status};

/// Longer than it takes on any machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What every kind has.
const ALWAYS: &[&str] = &["supervisor", "limits", "no_new_privs", "no capabilities", "fixed environment"];

/// Why no command could be run as required.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something of the service's would be seen, or a path of a list cannot be used.
    #[error(transparent)]
    View(#[from] ViewError),
    /// No kind of walls stands.
    #[error(
        "SANDBOX: commands cannot be confined here: {}; SANDBOX=best-effort goes on with what there is, SANDBOX=off without",
        .0.join("; ")
    )]
    Missing(Vec<String>),
}

/// A kind of walls that did not stand, and why.
struct Fallen {
    step: String,
    reason: String,
}

impl Sandbox {
    /// Puts up the walls that this machine has, or says which are missing.
    pub async fn new(settings: Settings) -> Result<Self, StartError> {
        let confined = settings.requirement != Requirement::Off;
        let private = if confined { &settings.private[..] } else { &[] };
        let code_dir = confined.then_some(settings.code_dir.as_path());
        let view = View::new(&settings.read, &settings.write, code_dir, private)?;
        let path = if confined { view.shown(&settings.path) } else { settings.path.clone() };
        // Before anything is started: see there.
        let groups = if confined { Cgroups::find() } else { Err(String::new()) };
        let groups = groups.map(Arc::new);
        let mut missing: Vec<String> = Vec::new();
        for walls in kinds(settings.requirement) {
            let setup = Setup {
                walls,
                network: settings.network,
                view: view.clone(),
                limits: settings.limits,
                environment: environment(&settings, &path),
                temporary: settings.temporary.clone(),
            };
            let steward = Steward::new(settings.supervisor.clone(), setup);
            let mut status = status_of(walls, settings.network, missing.clone());
            status.layers.extend(groups.iter().flat_map(|groups| layers_of(groups)));
            let mut sandbox =
                Self { settings: settings.clone(), path: path.clone(), steward, groups: groups.clone().ok(), status };
            match sandbox.test().await {
                // What some of the walls let through is said; all of them must let nothing through.
                Ok(holes) if holes.is_empty() || !walls.complete() => {
                    let holes = holes.into_iter().map(|hole| format!("self-test: {hole}"));
                    sandbox.status.missing.extend(holes);
                    sandbox
                        .status
                        .missing
                        .extend(groups.err().filter(|_| confined).map(|why| format!("cgroup: {why}")));
                    return Ok(sandbox);
                }
                fallen => {
                    sandbox.close().await;
                    let said = match fallen {
                        Ok(holes) => format!("self-test: {}", holes.join(", ")),
                        Err(Fallen { step, reason }) => format!("{step}: {reason}"),
                    };
                    if !missing.contains(&said) {
                        missing.push(said);
                    }
                }
            }
        }
        Err(StartError::Missing(missing))
    }

    /// Attacks these walls from inside, and then lets an ordinary program through; the holes that were found.
    async fn test(&self) -> Result<Vec<String>, Fallen> {
        let failed = |error: io::Error| Fallen { step: "self-test".to_owned(), reason: error.to_string() };
        let home = tempfile::Builder::new().prefix("codex-agent-test-").tempdir_in(&self.settings.temporary);
        let home = home.map_err(failed)?;
        let (workspace, outside) = (home.path().join("workspace"), home.path().join("outside"));
        std::fs::create_dir(&workspace).and_then(|()| std::fs::create_dir(&outside)).map_err(failed)?;
        let stream = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let datagram = UdpSocket::bind(("127.0.0.1", 0)).map_err(failed)?;
        let socket = format!("codex-agent-{}-{}", std::process::id(), stream.local_addr().map_err(failed)?.port());
        let address = SocketAddr::from_abstract_name(&socket).map_err(failed)?;
        let _listener = UnixListener::bind_addr(&address).map_err(failed)?;
        let targets = Targets {
            outside,
            service: std::process::id().cast_signed(),
            stream: stream.local_addr().map_err(failed)?.port(),
            datagram: datagram.local_addr().map_err(failed)?.port(),
            socket,
        };
        let handle = || File::open(&workspace).map(OwnedFd::from);
        let command = |argv: &[&str]| {
            Ok::<_, io::Error>(Command {
                argv: argv.iter().map(ToString::to_string).collect(),
                workspace: handle()?,
                directory: handle()?,
                timeout: TIMEOUT,
                max_output: 10_000,
            })
        };
        let stop = CancellationToken::new();
        let probe = command(&[]).map_err(failed)?;
        let fallen = |error: super::ExecuteError| match error {
            super::ExecuteError::Wall { step, error } => Fallen { step, reason: error },
            other => Fallen { step: "self-test".to_owned(), reason: other.to_string() },
        };
        let attacked = self.supervise(Job::Probe(targets), probe, &stop).await.map_err(fallen)?;
        let holes: Vec<String> = attacked.stdout.text.lines().map(str::to_owned).collect();
        if attacked.returncode != 0 && holes.is_empty() {
            return Err(Fallen { step: "self-test".to_owned(), reason: format!("ended with {}", attacked.returncode) });
        }
        // A machine without it has perhaps no program at all; that is not the walls' fault.
        match self.execute(command(&["true"]).map_err(failed)?, &stop).await {
            Ok(ran) if ran.returncode == 0 => Ok(holes),
            Ok(ran) => Err(Fallen {
                step: "self-test".to_owned(),
                reason: format!("true ended with {}: {}", ran.returncode, ran.stderr.text.trim()),
            }),
            Err(super::ExecuteError::NotFound(_)) => Ok(holes),
            Err(error) => Err(fallen(error)),
        }
    }
}

/// What a control group keeps account of.
fn layers_of(groups: &Cgroups) -> impl Iterator<Item = &'static str> {
    let controllers = groups.controllers();
    let all = [("cgroup cpu", true), ("cgroup memory", controllers.memory), ("cgroup pids", controllers.pids)];
    all.into_iter().filter_map(|(name, there)| there.then_some(name))
}

/// What a command has of an environment besides `HOME` and `TMPDIR`.
fn environment(settings: &Settings, path: &OsStr) -> Vec<(OsString, OsString)> {
    let given = &settings.environment;
    let own = (!given.iter().any(|(name, _)| name == "PATH")).then(|| ("PATH".into(), path.to_owned()));
    own.into_iter().chain(given.iter().cloned()).collect()
}

/// The kinds to be tried, the best one first.
fn kinds(requirement: Requirement) -> Vec<Walls> {
    let kind = |namespaces, landlock, seccomp| Walls { namespaces, landlock, seccomp };
    let complete = [kind(true, true, true), kind(false, true, true)];
    let partial =
        [kind(true, false, true), kind(false, true, false), kind(true, false, false), kind(false, false, true)];
    let none = [kind(false, false, false)];
    match requirement {
        Requirement::Required => complete.to_vec(),
        Requirement::BestEffort => [&complete[..], &partial, &none].concat(),
        Requirement::Off => none.to_vec(),
    }
}

fn status_of(walls: Walls, network: Network, missing: Vec<String>) -> Status {
    let mode = match walls {
        Walls { namespaces: true, landlock: true, seccomp: true } => Mode::Namespaces,
        Walls { namespaces: false, landlock: true, seccomp: true } => Mode::Landlock,
        Walls { namespaces: false, landlock: false, seccomp: false } => Mode::Off,
        _ => Mode::Partial,
    };
    let mut layers = ALWAYS.to_vec();
    let mut add = |there: bool, names: &[&'static str]| {
        if there {
            layers.extend(names);
        }
    };
    let no_network = network == Network::None;
    add(walls.namespaces, &["user namespace", "pid namespace", "mount namespace with a private root", "ipc namespace"]);
    add(walls.namespaces && no_network, &["network namespace"]);
    add(walls.landlock, &["landlock files", "landlock scopes"]);
    add(walls.landlock && !walls.namespaces && no_network, &["landlock tcp"]);
    add(walls.seccomp, &["seccomp"]);
    let mut weaknesses = Vec::new();
    if !walls.namespaces {
        weaknesses.push(
            "commands can change mode, times and extended attributes of files outside that belong to the service's user",
        );
        weaknesses
            .push("what commands do to .git/hooks and .git/config is put back after they have ended, not prevented");
    }
    if !(walls.namespaces || walls.landlock) {
        weaknesses.push("commands reach every file of the service's user");
    }
    if !walls.seccomp {
        weaknesses.push("commands can make every system call");
    }
    if !no_network {
        weaknesses.push("commands reach the network, this machine's own ports included");
    }
    Status { mode, layers, missing, weaknesses }
}
