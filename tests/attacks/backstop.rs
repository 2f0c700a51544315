//! A wall behind the walls that are tested: a fork bomb that gets past them is not to take the machine along.

use std::path::{Path, PathBuf};

use crate::process::steward;

/// Many more than the limit under test lets through, and few enough for a machine to live with.
const PROCESSES: &str = "1500";

/// Where cgroups count processes, in the first version and in the second.
const PLACES: &[&str] = &["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];

/// A cgroup around a service, where this user may make one.
pub struct Backstop(Option<PathBuf>);

impl Backstop {
    /// Puts a process, and all that it will start, behind it. An ordinary user has the kernel's own limit instead.
    pub fn around(pid: u32) -> Self {
        let made = PLACES.iter().find_map(|place| {
            let group = Path::new(place).join(format!("codex-agent-attacks-{pid}"));
            std::fs::create_dir(&group).ok()?;
            let filled = std::fs::write(group.join("pids.max"), PROCESSES).and_then(|()| {
                let mut all = std::iter::once(pid).chain(steward(pid));
                all.try_for_each(|pid| std::fs::write(group.join("cgroup.procs"), pid.to_string()))
            });
            if filled.is_err() {
                let _ = std::fs::remove_dir(&group);
            }
            filled.is_ok().then_some(group)
        });
        Self(made)
    }
}

impl Drop for Backstop {
    /// Works once the service has gone.
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            let _ = std::fs::remove_dir(group);
        }
    }
}
