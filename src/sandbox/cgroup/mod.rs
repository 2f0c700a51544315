//! Control groups (version 2), where the service can make some: the kernel's own account of all that a command starts.
//!
//! ```text
//!  <the service's own group>            found by place.rs, which also says why there is none
//!    ├── codex-agent-…-service          the service itself, only if controllers are to be had: none may be beside them
//!    ├── codex-agent-…-0  ◄── lease ──  a command and its supervisor, which is born into it
//!    └── codex-agent-…-1                waits in the pool: to make one costs more than to use it again
//! ```
//!
//! Every group has the time of all its processes, also of those that nobody waits for, and ends them all at one word
//! (`cgroup.kill`, Linux 5.14). Memory and processes are bounded as well where these controllers have been delegated.
//! It comes on top of the other watch and is no wall: most containers have their groups read-only.
//!
//! Names tell the service: its process namespace, number and beginning. What one left that was killed the next one
//! removes. Deliberately absent: version 1, and groups that somebody else (systemd over its bus) would have to make.

mod meter;
mod place;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};

pub(super) use meter::Meter;

use place::{Controllers, Place};

/// The next group's number in this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The service's groups for commands.
#[derive(Debug)]
pub(super) struct Cgroups(Arc<Pool>);

/// What all processes of a command together get, where the kernel can see to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In bytes. Files in a private temporary directory are memory, too: they must have their room in it.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// A group that is one command's, until it is dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    pool: Arc<Pool>,
    /// Some until it is dropped.
    group: Option<Group>,
    meter: Meter,
}

#[derive(Debug)]
struct Pool {
    place: Place,
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    free: Vec<Group>,
    /// Given back before their last process was gone.
    busy: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    path: PathBuf,
    handle: OwnedFd,
    /// As they were set last.
    bounds: Option<Bounds>,
}

impl Cgroups {
    /// Looks for the place where groups can be made, tries it, and removes what a service that was killed has left there.
    /// Call it before anything is started: only who is alone in its group can make room for controllers.
    pub(super) fn find() -> Result<Self, String> {
        let place = Place::find()?;
        place.sweep();
        let cgroups = Self(Arc::new(Pool { place, groups: Mutex::default() }));
        let tried = cgroups.make().map_err(|error| format!("{}: {error}", cgroups.0.place.base.display()))?;
        let kind = fs::read_to_string(tried.path.join("cgroup.type")).unwrap_or_default();
        let killable = tried.path.join("cgroup.kill").exists();
        cgroups.0.groups().free.push(tried);
        match (kind.trim(), killable) {
            ("domain", true) => Ok(cgroups),
            ("domain", false) => Err("the kernel is older than 5.14 and cannot end a group".to_owned()),
            (kind, _) => Err(format!("{}: groups in it are {kind}", cgroups.0.place.base.display())),
        }
    }

    /// Which controllers bound a group.
    pub(super) fn controllers(&self) -> Controllers {
        self.0.place.controllers
    }

    /// A group without processes.
    pub(super) fn lease(&self, bounds: Bounds) -> io::Result<Cgroup> {
        let mut group = match self.0.free() {
            Some(group) => group,
            None => self.make()?,
        };
        let set = if group.bounds == Some(bounds) { Ok(()) } else { self.0.place.bound(&group.path, bounds) };
        let meter = set.and_then(|()| Meter::new(group.handle.try_clone()?));
        group.bounds = Some(bounds);
        match meter {
            Ok(meter) => Ok(Cgroup { pool: Arc::clone(&self.0), group: Some(group), meter }),
            Err(error) => {
                // Somebody has taken it away: so will the next one, or make another.
                let _ = fs::remove_dir(&group.path);
                Err(error)
            }
        }
    }

    fn make(&self) -> io::Result<Group> {
        let path = self.0.place.path(&NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Group { path, handle, bounds: None })
    }
}

impl Cgroup {
    /// For a supervisor, which makes its own [`Meter`] of a copy.
    pub(super) fn directory_fd(&self) -> BorrowedFd<'_> {
        self.meter.directory_fd()
    }

    /// What its processes have used since the lease began.
    #[cfg(test)]
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Cgroup {
    /// For when nobody will enter it any more.
    pub(super) fn give_back(mut self) {
        let Some(group) = self.group.take() else { return };
        if meter::is_populated(group.handle.as_fd()) {
            // They should be gone; they are certainly not to be another command's.
            let _ = self.meter.kill();
            self.pool.groups().busy.push(group);
        } else {
            self.pool.groups().free.push(group);
        }
    }
}

impl Drop for Cgroup {
    /// Given up while its command may be on its way into it: it is nobody else's then.
    fn drop(&mut self) {
        let Some(group) = self.group.take() else { return };
        let _ = self.meter.kill();
        if fs::remove_dir(&group.path).is_err() {
            self.pool.groups().busy.push(group);
        }
    }
}

impl Pool {
    fn groups(&self) -> std::sync::MutexGuard<'_, Groups> {
        // Its lists are whole at every moment.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self) -> Option<Group> {
        let mut groups = self.groups();
        let Groups { free, busy, .. } = &mut *groups;
        free.extend(busy.extract_if(.., |group| !meter::is_populated(group.handle.as_fd())));
        free.pop()
    }
}

impl Drop for Pool {
    /// The last lease is over, and so is the service.
    fn drop(&mut self) {
        let groups = std::mem::take(&mut *self.groups());
        for group in groups.free.into_iter().chain(groups.busy) {
            place::remove(&group.path);
        }
        self.place.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    const BOUNDS: Bounds = Bounds { memory: 1 << 30, processes: 100 };

    /// None, where this user or machine has no groups.
    fn cgroups() -> Option<Cgroups> {
        Cgroups::find().inspect_err(|why| eprintln!("skipped: {why}")).ok()
    }

    /// A shell in the group that does `script` when it is there.
    #[expect(clippy::disallowed_methods, reason = "a test starts what it watches")]
    fn run(cgroup: &Cgroup, script: &str) -> Child {
        let script = format!("read x; {script}");
        let mut child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        cgroup.meter().enter(child.id().cast_signed()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child
    }

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let asked = Instant::now();
        while !holds() {
            assert!(asked.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_time_of_children_that_nobody_waits_for_is_counted_and_all_of_them_are_ended() {
        let Some(cgroups) = cgroups() else { return };
        println!("controllers here: {:?}", cgroups.controllers());
        let cgroup = cgroups.lease(BOUNDS).unwrap();
        let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let mut child =
            run(&cgroup, &format!("trap '' CHLD; ({burn}) & ({burn}) & wait; setsid sleep 100 & sleep 100"));
        wait_until("time", || cgroup.meter().usage().unwrap().cpu > Duration::from_millis(100));
        cgroup.meter().kill().unwrap();
        assert!(!child.wait().unwrap().success());
        wait_until("end", || !meter::is_populated(cgroup.directory_fd()));
        let used = cgroup.meter().usage().unwrap().cpu;
        let path = cgroup.group.as_ref().unwrap().path.clone();
        cgroup.give_back();
        // The next command begins at nothing, in the same group.
        let again = cgroups.lease(BOUNDS).unwrap();
        assert!(again.meter().usage().unwrap().cpu < used && again.group.as_ref().unwrap().path == path);
        drop(again);
        drop(cgroups);
        assert!(!path.exists());
    }

    #[test]
    fn a_group_with_somebody_in_it_is_not_given_to_anybody_else() {
        let Some(cgroups) = cgroups() else { return };
        let cgroup = cgroups.lease(BOUNDS).unwrap();
        let path = cgroup.group.as_ref().unwrap().path.clone();
        let mut child = run(&cgroup, "sleep 100");
        let other = cgroups.lease(BOUNDS).unwrap();
        assert_ne!(other.group.as_ref().unwrap().path, path);
        cgroup.give_back();
        // It was ended with the lease.
        assert!(!child.wait().unwrap().success());
        wait_until("free", || cgroups.lease(BOUNDS).unwrap().group.as_ref().unwrap().path == path);
    }
}
