//! Landlock: which files a command reaches, and that it reaches nobody else.

use std::os::fd::BorrowedFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::super::spec::{Network, Spec};
use super::Failure;

/// The newest rights this crate knows; of these the kernel's are taken.
const NEWEST: ABI = ABI::V10;

/// The first version that keeps signals in: without it, and without a process namespace, nothing ends a command for sure.
const SCOPES: ABI = ABI::V6;

/// The version from which nothing that is used here is missing, for a system that has namespaces besides.
const FILES: ABI = ABI::V1;

/// Devices that every program takes for granted.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What of the machine's `/proc` a program may read where it has none of its own. None of it is about a process but
/// the command's first one, and of that one nothing that shows the machine's network.
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/self/auxv",
    "/proc/self/cgroup",
    "/proc/self/cmdline",
    "/proc/self/comm",
    "/proc/self/environ",
    "/proc/self/fd",
    "/proc/self/fdinfo",
    "/proc/self/io",
    "/proc/self/limits",
    "/proc/self/maps",
    "/proc/self/mountinfo",
    "/proc/self/smaps",
    "/proc/self/smaps_rollup",
    "/proc/self/stat",
    "/proc/self/statm",
    "/proc/self/status",
    "/proc/stat",
    "/proc/sys/fs",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/uptime",
    "/proc/version",
];

/// Puts this process in a domain that only keeps signals in. A process that it forks and that goes into a domain of its
/// own can then be reached by `kill(-1)`, and nobody outside can.
pub(super) fn keep_signals_in() -> Result<(), Failure> {
    // Every domain forbids files to change their directory, unless it says that they may.
    let ruleset = Ruleset::default().handle_access(AccessFs::Refer).and_then(|ruleset| ruleset.scope(Scope::Signal));
    let ruleset = ruleset.and_then(Ruleset::create).map_err(failed)?;
    let ruleset = allow(ruleset, Path::new("/"), AccessFs::Refer.into())?;
    in_force(&ruleset.restrict_self().map_err(failed)?, SCOPES)
}

/// Confines this process, and what it starts, for good.
pub(super) fn restrict(spec: &Spec, workspace: BorrowedFd<'_>) -> Result<(), Failure> {
    let namespaces = spec.walls.namespaces;
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST)).map_err(failed)?;
    // An own network has nobody else in it.
    if spec.network == Network::None && !namespaces {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST)).map_err(failed)?;
    }
    let mut ruleset = ruleset.scope(Scope::from_all(NEWEST)).and_then(Ruleset::create).map_err(failed)?;

    let read = AccessFs::from_read(NEWEST);
    // No device can be made, and none that lies there can be talked to.
    let write = AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    for path in spec.view.readable(namespaces) {
        // What has gone since the start, as an upgrade of the system takes files away, need not be shown.
        ruleset = allow_if_there(ruleset, path, read)?;
    }
    for path in &spec.view.write {
        ruleset = allow(ruleset, path, write)?;
    }
    for path in DEVICES {
        ruleset = allow_if_there(ruleset, Path::new(path), device)?;
    }
    if namespaces {
        // The root is this command's own: what is seen in it may be listed, and its processes are the only ones.
        ruleset = allow(ruleset, Path::new("/"), AccessFs::ReadDir.into())?;
        ruleset = allow(ruleset, Path::new("/proc"), AccessFs::ReadFile | AccessFs::ReadDir)?;
        ruleset = allow(ruleset, &spec.workspace, write)?;
    } else {
        for path in PROC_FILES {
            ruleset = allow_if_there(ruleset, Path::new(path), AccessFs::ReadFile | AccessFs::ReadDir)?;
        }
        ruleset = ruleset.add_rule(PathBeneath::new(workspace, write)).map_err(failed)?;
    }
    ruleset = allow(ruleset, &spec.temporary, write)?;
    in_force(&ruleset.restrict_self().map_err(failed)?, if namespaces { FILES } else { SCOPES })
}

fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Failure> {
    let at = |error: &dyn std::error::Error| Failure::new("landlock", format!("{}: {error}", path.display()));
    let handle = PathFd::new(path).map_err(|error| at(&error))?;
    // Of a file, only the rights that a file has.
    let is_dir = rustix::fs::fstat(&handle)
        .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
        .map_err(|error| at(&error))?;
    let access = if is_dir { access } else { access & AccessFs::from_file(NEWEST) };
    ruleset.add_rule(PathBeneath::new(handle, access)).map_err(|error| at(&error))
}

fn allow_if_there(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Failure> {
    if path.exists() { allow(ruleset, path, access) } else { Ok(ruleset) }
}

/// The crate does what the kernel can and says what that was: here it has to be enough.
fn in_force(status: &RestrictionStatus, least: ABI) -> Result<(), Failure> {
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. }
            if effective_abi >= least && status.ruleset != RulesetStatus::NotEnforced && status.no_new_privs =>
        {
            Ok(())
        }
        LandlockStatus::Available { effective_abi, .. } => Err(Failure::new(
            "landlock",
            format!("the kernel has version {}, and {} is needed", effective_abi as i32, least as i32),
        )),
        LandlockStatus::NotEnabled => Err(Failure::new("landlock", "is switched off in this kernel".to_owned())),
        LandlockStatus::NotImplemented => Err(Failure::new("landlock", "is not in this kernel".to_owned())),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn failed(error: RulesetError) -> Failure {
    Failure::new("landlock", error.to_string())
}
