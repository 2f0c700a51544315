//! What the steward makes ready once, for all commands.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use seccompiler::BpfProgram;

use super::super::spec::{Order, Setup, Spec, Walls};
use super::landlock::Rules;
use super::{Failure, seccomp, step};

/// Filters are compiled, most of them in force, and what the rules are about is opened: commands inherit all of it.
pub(super) struct Ready {
    setup: Setup,
    /// The machine's `/proc`, which shows a process to itself also where a private root has another.
    proc: OwnedFd,
    /// The user and the group that all this runs as.
    pub user: (u32, u32),
    pub rules: Option<Rules>,
    /// The filters that are a command's alone.
    filters: Vec<BpfProgram>,
}

impl Ready {
    pub(super) fn new(setup: Setup) -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = step("proc", rustix::fs::open("/proc", flags, Mode::empty()))?;
        let rules = setup.walls.landlock.then(|| Rules::new(&setup)).transpose()?;
        let filters = if setup.walls.seccomp {
            let filters = seccomp::filters(setup.walls, setup.network).map_err(|error| not_in_force(&error))?;
            put_in_force(&filters.stewards)?;
            filters.commands
        } else {
            Vec::new()
        };
        let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Ok(Self { setup, proc, user, rules, filters })
    }

    pub(super) fn walls(&self) -> Walls {
        self.setup.walls
    }

    /// Puts those filters in force that are a command's alone.
    pub(super) fn confine(&self) -> Result<(), Failure> {
        put_in_force(&self.filters)
    }

    /// Looks whether what was opened is still what lies there.
    pub(super) fn refresh(&mut self) -> Result<(), Failure> {
        match &mut self.rules {
            Some(rules) => rules.refresh(&self.setup),
            None => Ok(()),
        }
    }

    pub(super) fn proc(&self) -> BorrowedFd<'_> {
        self.proc.as_fd()
    }

    /// All descriptors in here.
    pub(super) fn handles(&self) -> Vec<BorrowedFd<'_>> {
        self.rules.iter().flat_map(Rules::handles).chain([self.proc()]).collect()
    }

    /// What a supervisor goes by. It is the only one that this process will ever be.
    pub(super) fn spec(&mut self, order: Order, temporary: Option<&Path>) -> Spec {
        let Setup { walls, network, view, limits, environment, .. } = &mut self.setup;
        let temporary = temporary.unwrap_or(Path::new("/tmp")).to_owned();
        // Its home is its own: what lies in the service's is none of its business.
        let mut environment = std::mem::take(environment);
        for name in ["HOME", "TMPDIR"] {
            if !environment.iter().any(|(given, _)| given == name) {
                environment.push((name.into(), temporary.clone().into()));
            }
        }
        let Order { job, workspace, workdir, timeout } = order;
        Spec {
            walls: *walls,
            network: *network,
            view: std::mem::take(view),
            limits: *limits,
            job,
            environment,
            workspace,
            workdir,
            temporary,
            timeout,
        }
    }
}

fn put_in_force(filters: &[BpfProgram]) -> Result<(), Failure> {
    filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter).map_err(|error| not_in_force(&error)))
}

fn not_in_force(error: &seccompiler::Error) -> Failure {
    Failure::new("seccomp", error.to_string())
}
