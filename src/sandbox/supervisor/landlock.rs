//! Landlock: which files a command reaches, and that it reaches nobody else.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};

use super::super::spec::{Network, Setup, Spec};
use super::Failure;

/// The newest rights this crate knows; of these the kernel's are taken.
const NEWEST: ABI = ABI::V10;

/// The first version that keeps signals in: without it, and without a process namespace, nothing ends a command for sure.
const SCOPES: ABI = ABI::V6;

/// The version from which nothing that is used here is missing, for a system that has namespaces besides.
const FILES: ABI = ABI::V1;

/// Devices that every program takes for granted.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What of the machine's `/proc` a program may read where it has none of its own: this is about no process,
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/fs",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/uptime",
    "/proc/version",
];

/// and this about the command's first one. Nothing of it shows the machine's network.
const OWN_PROC_FILES: &[&str] = &[
    "auxv",
    "cgroup",
    "cmdline",
    "comm",
    "environ",
    "fd",
    "fdinfo",
    "io",
    "limits",
    "maps",
    "mountinfo",
    "smaps",
    "smaps_rollup",
    "stat",
    "statm",
    "status",
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

/// What the rules are about, opened once: an inode's rule holds wherever it is seen, in a private root as well.
pub(super) struct Rules {
    opened: Vec<(OwnedFd, BitFlags<AccessFs>)>,
    /// Directories of which only a part may be read, and when the names in them last changed: what has come to lie there
    /// under an old name is another file.
    parts: Vec<(OwnedFd, Changed)>,
}

/// Seconds and nanoseconds.
type Changed = (i64, u64);

impl Rules {
    /// Opens what is to be seen.
    pub(super) fn new(setup: &Setup) -> Result<Self, Failure> {
        let mut rules = Self { opened: Vec::new(), parts: Vec::new() };
        let mut parts = BTreeSet::new();
        for path in setup.view.readable(setup.walls.namespaces) {
            // What has gone since the start, as an upgrade of the system takes files away, need not be shown.
            if rules.add_if_there(path, AccessFs::from_read(NEWEST))? == Some(FileType::RegularFile) {
                parts.extend(path.parent());
            }
        }
        for path in &setup.view.write {
            rules.add(path, writing())?;
        }
        for path in DEVICES {
            let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
            rules.add_if_there(Path::new(path), device)?;
        }
        if !setup.walls.namespaces {
            for path in PROC_FILES {
                rules.add_if_there(Path::new(path), AccessFs::ReadFile | AccessFs::ReadDir)?;
            }
        }
        for path in parts {
            let handle = open(path).map_err(|errno| at(path, &errno))?;
            let changed = changed(&handle).map_err(|errno| at(path, &errno))?;
            rules.parts.push((handle, changed));
        }
        Ok(rules)
    }

    /// Opens everything anew where names have changed.
    pub(super) fn refresh(&mut self, setup: &Setup) -> Result<(), Failure> {
        let same = |(handle, before): &(OwnedFd, Changed)| changed(handle).is_ok_and(|now| now == *before);
        if !self.parts.iter().all(same) {
            *self = Self::new(setup)?;
        }
        Ok(())
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.opened.iter().map(|(handle, _)| handle).chain(self.parts.iter().map(|(handle, _)| handle)).map(AsFd::as_fd)
    }

    /// Confines this process, and what it starts, for good.
    pub(super) fn restrict(&self, spec: &Spec, workspace: BorrowedFd<'_>) -> Result<(), Failure> {
        let namespaces = spec.walls.namespaces;
        let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(NEWEST)).map_err(failed)?;
        // An own network has nobody else in it.
        if spec.network == Network::None && !namespaces {
            ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST)).map_err(failed)?;
        }
        let mut ruleset = ruleset.scope(Scope::from_all(NEWEST)).and_then(Ruleset::create).map_err(failed)?;
        for (handle, access) in &self.opened {
            ruleset = ruleset.add_rule(PathBeneath::new(handle, *access)).map_err(failed)?;
        }
        ruleset = ruleset.add_rule(PathBeneath::new(workspace, writing())).map_err(failed)?;
        ruleset = allow(ruleset, &spec.temporary, writing())?;
        if namespaces {
            // The root is this command's own: what is seen in it may be listed, and its processes are the only ones.
            ruleset = allow(ruleset, Path::new("/"), AccessFs::ReadDir.into())?;
            ruleset = allow(ruleset, Path::new("/proc"), AccessFs::ReadFile | AccessFs::ReadDir)?;
        } else {
            ruleset = allow_own_process(ruleset)?;
        }
        in_force(&ruleset.restrict_self().map_err(failed)?, if namespaces { FILES } else { SCOPES })
    }

    fn add(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<FileType, Failure> {
        let (handle, access, kind) = opened(path, access)?;
        self.opened.push((handle, access));
        Ok(kind)
    }

    fn add_if_there(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<Option<FileType>, Failure> {
        if path.exists() { self.add(path, access).map(Some) } else { Ok(None) }
    }
}

/// No device can be made, and none that lies there can be talked to.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
}

fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Failure> {
    let (handle, access, _) = opened(path, access)?;
    ruleset.add_rule(PathBeneath::new(handle, access)).map_err(|error| at(path, &error))
}

fn allow_own_process(mut ruleset: RulesetCreated) -> Result<RulesetCreated, Failure> {
    let own = Path::new("/proc/self");
    let directory = open(own).map_err(|errno| at(own, &errno))?;
    for name in OWN_PROC_FILES {
        // Some kernels are built without one of them.
        let Ok(handle) = rustix::fs::openat(&directory, *name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
            continue;
        };
        let is_dir = matches!(*name, "fd" | "fdinfo");
        let access = if is_dir { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
        ruleset = ruleset.add_rule(PathBeneath::new(handle, access)).map_err(failed)?;
    }
    Ok(ruleset)
}

/// The handle of a file and, of the rights, those that a thing of its kind has.
fn opened(path: &Path, access: BitFlags<AccessFs>) -> Result<(OwnedFd, BitFlags<AccessFs>, FileType), Failure> {
    let handle = open(path).map_err(|errno| at(path, &errno))?;
    let stat = rustix::fs::fstat(&handle).map_err(|errno| at(path, &errno))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let access = if kind.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    Ok((handle, access, kind))
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn changed(directory: &OwnedFd) -> rustix::io::Result<Changed> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_ctime, stat.st_ctime_nsec))
}

fn at(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new("landlock", format!("{}: {error}", path.display()))
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
