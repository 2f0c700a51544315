//! How a command is confined, and certainly ended.
//!
//! ```text
//!  start: Settings ─► View (what is seen) ─► self-test of each kind of walls ─► Sandbox (one kind, for good)
//!
//!  tools/run_command ── Command ─► Sandbox::execute ── Order ──► steward ──► supervisor ──► walls ──► program
//!                                     │  stdout, stderr ─► Capture (head and tail, counted)
//!                                     └─ end, limit or stop: all of it is dead, then the result
//! ```
//!
//! There are two kinds of walls. Landlock and a system call filter need no privileges and hold by themselves.
//! Namespaces with a private root come on top where they can be had: they give commands an own `/tmp`, `/proc` and
//! loopback, and hide what Landlock cannot (see [`Status::weaknesses`]). Which kind it is, the self-test decides
//! once, when the service starts, by small attacks through the same path that commands take.
//!
//! This is the only room that starts processes. Deliberately absent: which words are refused. That is the policy's, in
//! `tools/`.

mod capture;
mod cgroup;
mod execute;
mod hidden;
mod limits;
mod remove;
mod repository;
mod selftest;
mod spec;
mod steward;
pub mod supervisor;
mod view;
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

pub use capture::Captured;
pub use execute::{Command, ExecuteError, Execution, MOST_PRINTED};
pub use limits::{Limit, Limits};
pub use repository::Repository;
pub use selftest::StartError;
pub use spec::Network;
pub use view::{Private, ViewError};

use cgroup::Cgroups;
use steward::Steward;

/// Whether commands may run without walls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Requirement {
    /// The service does not start without them.
    #[default]
    Required,
    /// With what there is.
    BestEffort,
    /// Without any.
    Off,
}

/// What a sandbox is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `SANDBOX`
    pub requirement: Requirement,
    /// `SANDBOX_NETWORK`
    pub network: Network,
    /// `SANDBOX_READ`
    pub read: Vec<PathBuf>,
    /// `SANDBOX_WRITE`
    pub write: Vec<PathBuf>,
    /// All of a command's environment but `HOME`, `TMPDIR` and `PATH`, which can be overridden here.
    pub environment: Vec<(OsString, OsString)>,
    /// Where programs are looked for.
    pub path: OsString,
    /// What a command may use.
    pub limits: Limits,
    /// Where the workspaces are; a command sees its own.
    pub code_dir: PathBuf,
    /// What no command may see: canonical paths, each with the variable it comes from.
    pub private: Vec<Private>,
    /// Where commands' temporary directories are made, if they cannot have an own `/tmp`.
    pub temporary: PathBuf,
    /// This program, which is also the supervisor.
    pub supervisor: PathBuf,
}

/// Runs commands behind the walls that were chosen.
pub struct Sandbox {
    settings: Settings,
    /// Where commands find programs: of the service's search path what they are shown. A program that looks for itself
    /// would otherwise find another, which it cannot read.
    path: OsString,
    steward: Steward,
    /// Where commands' control groups are made, if they can be.
    groups: Option<Arc<Cgroups>>,
    status: Status,
}

/// What confines commands, as `/readyz`, `doctor` and the log tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Sandbox)]
pub struct Status {
    /// Which kind of walls.
    pub mode: Mode,
    /// The layers that are in force.
    pub layers: Vec<&'static str>,
    /// The layers that are not, each with the reason.
    pub missing: Vec<String>,
    /// What the layers in force cannot keep a command from.
    pub weaknesses: Vec<&'static str>,
}

/// A kind of walls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Namespaces with a private root, Landlock, and a system call filter.
    Namespaces,
    /// Landlock and a system call filter.
    Landlock,
    /// Some of them, as `SANDBOX=best-effort` allows.
    Partial,
    /// None.
    Off,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Partial => "partial",
            Self::Off => "off",
        })
    }
}

impl Sandbox {
    /// Waits until nothing of it is left; commands that still run are seen to their end.
    pub async fn close(&self) {
        self.steward.close().await;
    }

    /// What confines commands.
    pub fn status(&self) -> &Status {
        &self.status
    }
}

/// Keeps others of the same user from reading this process's environment, memory and open files. A command is kept from
/// them by its walls as well; this holds for whatever else may run, and where the walls are off.
pub fn hide_this_process() {
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the service's environment can be read by its own user");
    }
}
