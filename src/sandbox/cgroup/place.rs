//! Where the service's groups are: below its own one, if that can be written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Bounds;

/// What all names begin with.
const PREFIX: &str = "codex-agent-";

/// The one the service itself goes to.
const SERVICE: &str = "service";

/// How long the end of what was killed is waited for before its group is left to the next start.
const END: Duration = Duration::from_millis(500);

/// Controllers that bound a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Controllers {
    pub memory: bool,
    pub pids: bool,
}

/// A directory in which groups can be made.
#[derive(Debug)]
pub(super) struct Place {
    pub base: PathBuf,
    pub controllers: Controllers,
    /// How this process's groups are called.
    own: String,
    /// What has been switched on here, and the service moved for.
    enabled: bool,
    moved: bool,
}

impl Place {
    pub(super) fn find() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let base = base(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)?;
        let own = own_name().map_err(|error| format!("/proc/self: {error}"))?;
        let mut place = Self { base, controllers: Controllers::default(), own, enabled: false, moved: false };
        place.enable();
        Ok(place)
    }

    /// Where the group with this ending is.
    pub(super) fn path(&self, ending: &str) -> PathBuf {
        self.base.join(format!("{}-{ending}", self.own))
    }

    /// Sets what can be bounded.
    pub(super) fn bound(&self, group: &Path, bounds: Bounds) -> io::Result<()> {
        if self.controllers.memory {
            fs::write(group.join("memory.max"), bounds.memory.to_string())?;
            // Not on a kernel without swap.
            let _ = fs::write(group.join("memory.swap.max"), "0");
        }
        if self.controllers.pids {
            fs::write(group.join("pids.max"), bounds.processes.to_string())?;
        }
        Ok(())
    }

    /// Removes the groups of services that are gone, and ends what is left in them.
    pub(super) fn sweep(&self) {
        for entry in fs::read_dir(&self.base).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_left) {
                remove(&entry.path());
            }
        }
    }

    /// Switches the controllers on that there are and that are not yet, if nobody else is concerned: in a group that gives
    /// them on, there may be no processes. What cannot be had is done without.
    fn enable(&mut self) {
        let words = |file: &str| fs::read_to_string(self.base.join(file)).unwrap_or_default();
        let has = |text: &str| {
            let has = |name: &str| text.split_whitespace().any(|word| word == name);
            Controllers { memory: has("memory"), pids: has("pids") }
        };
        let (there, given) = (has(&words("cgroup.controllers")), has(&words("cgroup.subtree_control")));
        self.controllers = given;
        let me = std::process::id().to_string();
        if there == given || words("cgroup.procs").lines().any(|pid| pid != me) {
            return;
        }
        if !self.give(there, '+') {
            let leaf = self.path(SERVICE);
            self.moved = fs::create_dir(&leaf).and_then(|()| fs::write(leaf.join("cgroup.procs"), &me)).is_ok();
            if !self.moved || !self.give(there, '+') {
                return self.leave();
            }
        }
        self.enabled = true;
        self.controllers = there;
    }

    fn give(&self, controllers: Controllers, sign: char) -> bool {
        let names = [("memory", controllers.memory), ("pids", controllers.pids)];
        let names: Vec<String> =
            names.iter().filter(|(_, there)| *there).map(|(name, _)| format!("{sign}{name}")).collect();
        fs::write(self.base.join("cgroup.subtree_control"), names.join(" ")).is_ok()
    }

    /// Goes back to how it was, as far as that goes: the next start finds what is left.
    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.enabled) {
            self.give(self.controllers, '-');
        }
        let leaf = self.path(SERVICE);
        if std::mem::take(&mut self.moved) {
            let _ = fs::write(self.base.join("cgroup.procs"), std::process::id().to_string());
        }
        let _ = fs::remove_dir(leaf);
    }
}

/// Ends what is in a group, and removes it.
pub(super) fn remove(group: &Path) {
    let asked = Instant::now();
    while fs::remove_dir(group).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) && asked.elapsed() < END {
        // An older kernel cannot; then it stays until they have ended.
        let _ = fs::write(group.join("cgroup.kill"), "1");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Where this process's group is to be seen, given what `/proc` says about groups and mounts (see cgroups(7), proc(5)).
fn base(groups: &str, mounts: &str) -> Result<PathBuf, String> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let own = Path::new(own.ok_or("this kernel has no control groups of version 2")?);
    let mut why = "no file system of control groups (version 2) is mounted".to_owned();
    for line in mounts.lines() {
        let Some((mount, rest)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = mount.split(' ').collect();
        let (Some(root), Some(at)) = (fields.get(3), fields.get(4)) else { continue };
        if rest.split(' ').next() != Some("cgroup2") {
            continue;
        }
        let Ok(below) = own.strip_prefix(root) else {
            why = format!("{at} does not show this process's control group");
            continue;
        };
        // Ends in a slash otherwise, if there is nothing below.
        let path = if below.as_os_str().is_empty() { PathBuf::from(at) } else { Path::new(at).join(below) };
        match rustix::fs::access(path.join("cgroup.procs"), rustix::fs::Access::WRITE_OK) {
            Ok(()) => return Ok(path),
            Err(errno) => why = format!("{}: {errno}", path.display()),
        }
    }
    Err(why)
}

/// `codex-agent-NAMESPACE-PID-BEGINNING` of this process.
fn own_name() -> io::Result<String> {
    let pid = std::process::id();
    let began = began(pid).ok_or_else(|| io::Error::other("its stat cannot be read"))?;
    Ok(format!("{PREFIX}{}-{pid}-{began}", namespace()?))
}

/// Whether a group of this name was a service's that is gone. Of those in another process namespace nobody here can tell.
fn is_left(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let mut numbers = rest.split('-').map(str::parse::<u64>);
    let (Some(Ok(space)), Some(Ok(pid)), Some(Ok(beginning))) = (numbers.next(), numbers.next(), numbers.next()) else {
        return false;
    };
    namespace().is_ok_and(|own| own == space) && u32::try_from(pid).is_ok_and(|pid| began(pid) != Some(beginning))
}

fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// When a process began, in ticks since the machine did; none, if it is gone or waits to be buried.
fn began(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22, where the third follows the name (see proc_pid_stat(5)).
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_among_mounts() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/cgroup.procs"), "").unwrap();
        let at = dir.path().display();
        let mounts = format!(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n\
             41 31 0:38 /other /nowhere rw - cgroup2 cgroup2 rw\n\
             42 31 0:38 / {at} rw,relatime shared:4 - cgroup2 cgroup2 rw\n"
        );
        assert_eq!(base("4:memory:/x\n0::/a/b\n", &mounts), Ok(dir.path().join("a/b")));
        assert_eq!(
            base("0::/\n", &mounts.replace("/ /sys", "/ /x")).unwrap_err(),
            format!("{at}: No such file or directory (os error 2)")
        );
        assert!(base("0::/a\n", "").unwrap_err().starts_with("no file system"));
        assert!(base("4:memory:/x\n", &mounts).unwrap_err().starts_with("this kernel"));
    }

    /// This machine may have no such controllers in version 2: a tree of files stands in for them, so it is what would be
    /// written that is tested, not what the kernel does then.
    #[test]
    fn controllers_are_switched_on_only_by_who_is_alone() {
        let place = |controllers: &str, given: &str, procs: &str| {
            let dir = tempfile::tempdir().unwrap();
            let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
            put("cgroup.controllers", controllers);
            put("cgroup.subtree_control", given);
            put("cgroup.procs", procs);
            let (base, own) = (dir.path().to_owned(), own_name().unwrap());
            let mut place = Place { base, controllers: Controllers::default(), own, enabled: false, moved: false };
            place.enable();
            let written = fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap();
            (dir, place, written)
        };
        let me = format!("{}\n", std::process::id());
        let both = Controllers { memory: true, pids: true };
        let (dir, alone, written) = place("cpu memory pids\n", "cpu\n", &me);
        assert_eq!((alone.controllers, &*written), (both, "+memory +pids"));
        let group = dir.path().join("g");
        fs::create_dir(&group).unwrap();
        alone.bound(&group, Bounds { memory: 1000, processes: 9 }).unwrap();
        for (file, text) in [("memory.max", "1000"), ("memory.swap.max", "0"), ("pids.max", "9")] {
            assert_eq!(fs::read_to_string(group.join(file)).unwrap(), text, "{file}");
        }
        let (_dir, beside, written) = place("memory pids\n", "", &format!("{me}1\n"));
        assert_eq!((beside.controllers, &*written), (Controllers::default(), ""));
        let (_dir, given, _) = place("memory pids\n", "memory pids\n", "1\n");
        assert_eq!(given.controllers, both);
    }

    #[test]
    fn what_is_left_is_told_from_what_is_in_use_and_from_what_is_foreign() {
        let own = own_name().unwrap();
        let (space, pid) = (namespace().unwrap(), std::process::id());
        assert!(!is_left(&format!("{own}-0")) && !is_left("codex-agent-x") && !is_left("system.slice"));
        // The same number, another process.
        assert!(is_left(&format!("{PREFIX}{space}-{pid}-1-0")));
        assert!(is_left(&format!("{PREFIX}{space}-{}-1-{SERVICE}", u32::MAX)));
        assert!(!is_left(&format!("{PREFIX}{}-{pid}-1-0", space + 1)));
    }

    #[test]
    fn what_a_killed_service_left_is_removed() {
        let Ok(place) = Place::find() else { return };
        let left = place.base.join(format!("{PREFIX}{}-{}-1-0", namespace().unwrap(), std::process::id()));
        if fs::create_dir(&left).is_ok() {
            place.sweep();
            assert!(!left.exists());
        }
    }
}
