//! What passes between the service, the steward and the supervisor of a command.
//!
//! ```text
//!  service ── Setup, once ──────────────► steward ── fork ──► supervisor (Spec = Setup + Order)
//!     │                                      │                    │
//!     ├── Order, on a connection of its own ─┼───────────────────►│
//!     │◄── Report ───────────────────────────┼────────────────────┘
//!     │◄── Aftermath ────────────────────────┘ when the supervisor has gone
//! ```
//!
//! All of them are the same binary, so the form is private to one version: see [`wire`](super::wire).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::{Limit, Limits};
use super::repository::Repository;
use super::view::View;

/// The walls that can be put up or not; which ones are chosen once, when the service starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Walls {
    /// Namespaces for users, processes, mounts, network and IPC, with a private root.
    pub namespaces: bool,
    /// Landlock: files, TCP, and (without namespaces) signals and abstract sockets.
    pub landlock: bool,
    /// A filter for system calls.
    pub seccomp: bool,
}

impl Walls {
    /// Whether there are any.
    pub(super) fn any(self) -> bool {
        self.namespaces || self.landlock || self.seccomp
    }

    /// Whether everything is there that keeps a command in.
    pub(super) fn complete(self) -> bool {
        self.landlock && self.seccomp
    }
}

/// Whether commands reach the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Network {
    /// Not at all.
    #[default]
    None,
    /// As the service does.
    Full,
}

/// What a steward is told, once: what is the same for all commands.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub walls: Walls,
    pub network: Network,
    pub view: View,
    pub limits: Limits,
    /// All of a command's environment but `HOME` and `TMPDIR`, which are its own unless they are in here.
    pub environment: Vec<(OsString, OsString)>,
    /// Where temporary directories are made, where there is no private root.
    pub temporary: PathBuf,
}

/// What a supervisor is told about its command.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub job: Job,
    /// The workspace as the service sees it; its handle says whether it is still the same.
    pub workspace: PathBuf,
    /// Where to start, below the workspace.
    pub workdir: PathBuf,
    /// How long it may take.
    pub timeout: Duration,
}

/// All that a supervisor goes by.
#[derive(Debug)]
pub(super) struct Spec {
    pub walls: Walls,
    pub network: Network,
    pub view: View,
    pub limits: Limits,
    pub job: Job,
    pub environment: Vec<(OsString, OsString)>,
    pub workspace: PathBuf,
    pub workdir: PathBuf,
    /// The private temporary directory: of the host's, where there is no private root.
    pub temporary: PathBuf,
    pub timeout: Duration,
}

/// What is done behind the walls.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// A program, the first of these files that there is, with its words.
    Run { programs: Vec<PathBuf>, argv: Vec<String> },
    /// The small attacks of the self-test, in place of a program.
    Probe(Targets),
}

/// What the self-test tries to reach, and must not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Targets {
    /// A directory of the service's.
    pub outside: PathBuf,
    /// The service itself.
    pub service: i32,
    /// A port of this machine where somebody takes connections.
    pub stream: u16,
    /// A port of this machine where somebody takes datagrams.
    pub datagram: u16,
    /// An abstract socket where somebody listens.
    pub socket: String,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It ran and is over: nothing of it is alive.
    Ended {
        /// As `wait` says it: the code, or −N for signal N.
        returncode: i32,
        /// The limit that ended it.
        limit: Option<Limit>,
        /// Ended because the service said so, or went away.
        stopped: bool,
    },
    /// Nothing was run.
    Failed {
        /// Which step.
        step: String,
        /// Why.
        error: String,
        /// The system's number for it.
        errno: Option<i32>,
    },
}

/// What the steward says when a supervisor has gone; a supervisor that was lost has said nothing before it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Aftermath {
    /// What became of what the workspace's repository would run later.
    pub repository: Repository,
}

/// The step in which the program itself was to be started; all others put up walls.
pub(super) const EXEC: &str = "exec";

/// The step in which the workspace was looked at.
pub(super) const WORKSPACE: &str = "workspace";
