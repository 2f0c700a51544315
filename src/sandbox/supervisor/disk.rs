//! The room on disk that a command takes, as far as its processes' accounts do not show it.
//!
//! It is looked for only if a disk has lost as much as a command may take, and then by names first; what is left of a
//! file without a name is found where somebody holds it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::processes::has_ended;

/// Files that a command may leave; they take room on a disk that their length does not show.
const FILES: u64 = 200_000;

/// One look takes no longer, so that time and connection are looked at again.
const LOOK: Duration = Duration::from_millis(200);

/// After a walk that found nothing nobody walks for so many times as long as it took: the disk may be somebody else's to fill.
const PAUSE: u32 = 4;

/// A mapping of such a name is memory without a file on any disk.
const NO_FILES: &[&str] = &["/dev/zero", "/SYSV", "/memfd:", "/[aio]"];

/// What a command has put on the disks where it may write.
#[derive(Debug)]
pub(super) struct Disk {
    /// Each with the room there when the command began: bytes and files.
    places: Vec<(PathBuf, Option<(u64, u64)>)>,
    most: u64,
    /// In nanoseconds since 1970: what has changed since then was changed by this command, or by one beside it.
    since: i64,
    walk: Option<Walk>,
    rest: Option<Instant>,
    /// At the last look a process kept its files from this user. Each does for a moment while it ends.
    hid: bool,
}

/// A walk through the places, which may take some looks.
#[derive(Debug, Default)]
struct Walk {
    dirs: Vec<PathBuf>,
    grown: u64,
    count: u64,
    /// There are directories that the command has closed or put too deep.
    hides: bool,
    took: Duration,
}

impl Disk {
    pub(super) fn new(places: Vec<PathBuf>, most: u64) -> Self {
        // The clock that files' times are taken from: of the files that the command before has left none is this one's.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let since = nanoseconds(now.tv_sec, now.tv_nsec);
        let places = places.into_iter().map(|place| (room(&place), place)).map(|(room, place)| (place, room)).collect();
        Self { places, most, since, walk: None, rest: None, hid: false }
    }

    /// Whether the places have grown too much, with what `pids` hold open.
    pub(super) fn filled<'a>(&mut self, proc: &Path, pids: impl Iterator<Item = &'a i32>) -> bool {
        let (bytes, files) = self.lost();
        if (bytes <= self.most && files <= FILES) || self.rest.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let started = Instant::now();
        let until = started + LOOK;
        let places = &self.places;
        let walk = self.walk.get_or_insert_with(|| Walk {
            dirs: places.iter().map(|(place, _)| place.clone()).collect(),
            ..Walk::default()
        });
        let done = walk.go_on(self.since, self.most, until);
        let nameless = Nameless::of(proc, pids, until);
        let mut grown = walk.grown + nameless.open;
        let unexplained = bytes.saturating_sub(grown);
        let hides = std::mem::replace(&mut self.hid, nameless.hides) && nameless.hides;
        if done && (walk.hides || hides) {
            grown += unexplained;
        } else {
            // How much of a mapped file is on disk nobody tells.
            grown += nameless.mapped.min(if done { unexplained } else { 0 });
        }
        let too_much = grown > self.most || walk.count > FILES;
        walk.took += started.elapsed();
        if done {
            self.rest = Some(Instant::now() + walk.took * PAUSE);
            self.walk = None;
        }
        too_much
    }

    /// What the disk that has lost most has lost since the command began.
    fn lost(&self) -> (u64, u64) {
        let lost = self.places.iter().filter_map(|(place, before)| {
            let ((bytes, files), (bytes_now, files_now)) = ((*before)?, room(place)?);
            Some((bytes.saturating_sub(bytes_now), files.saturating_sub(files_now)))
        });
        lost.fold((0, 0), |most, lost| (most.0.max(lost.0), most.1.max(lost.1)))
    }
}

impl Walk {
    /// Adds up what has changed `since`, until it is too much or everything was seen; whether it is over.
    fn go_on(&mut self, since: i64, most: u64, until: Instant) -> bool {
        while let Some(dir) = self.dirs.pop() {
            if Instant::now() > until {
                self.dirs.push(dir);
                return false;
            }
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) => {
                    let gone = error.kind() == ErrorKind::NotFound;
                    // One that was closed before is not this command's to fill.
                    self.hides |= !gone && fs::metadata(&dir).map_or(true, |stat| changed(&stat) >= since);
                    continue;
                }
            };
            for entry in entries.flatten() {
                let Ok(stat) = entry.metadata() else { continue };
                if changed(&stat) >= since {
                    self.count += 1;
                    self.grown += stat.blocks() * 512;
                }
                if stat.is_dir() {
                    self.dirs.push(entry.path());
                }
            }
            if self.grown > most || self.count > FILES {
                return true;
            }
        }
        true
    }
}

/// Files without a name that processes hold, in bytes.
#[derive(Debug, Default)]
struct Nameless {
    /// On disk, of those that are open.
    open: u64,
    /// In the address space, of those that are mapped.
    mapped: u64,
    /// There are processes that keep this user from looking.
    hides: bool,
}

impl Nameless {
    fn of<'a>(proc: &Path, pids: impl Iterator<Item = &'a i32>, until: Instant) -> Self {
        let mut nameless = Self::default();
        let (mut seen, mut mapped) = (HashSet::new(), HashMap::new());
        // To tell a map the kernel may wait for a lock, and a crowd that forks holds them all the time.
        for pid in pids.take_while(|_| Instant::now() <= until) {
            let dir = proc.join(pid.to_string());
            match fs::read_dir(dir.join("fd")) {
                Ok(entries) => {
                    for entry in entries.flatten() {
                        // Followed to the file itself, which is there whatever its name was.
                        let Ok(stat) = fs::metadata(entry.path()) else { continue };
                        if stat.nlink() == 0 && stat.is_file() && seen.insert((stat.dev(), stat.ino())) {
                            nameless.open += stat.blocks() * 512;
                        }
                        if Instant::now() > until {
                            break;
                        }
                    }
                }
                // What has ended holds nothing, and is root's until somebody waits for it.
                Err(error) => nameless.hides |= error.kind() == ErrorKind::PermissionDenied && !has_ended(proc, *pid),
            }
            for (file, length) in fs::read_to_string(dir.join("maps")).iter().flat_map(|maps| deleted(maps)) {
                let longest = mapped.entry(file).or_default();
                *longest = length.max(*longest);
            }
        }
        nameless.mapped = mapped.values().sum();
        nameless
    }
}

/// The deleted files in a process's map of its memory (see `proc_pid_maps(5)`): device and number, and how much of each
/// there must be for the mapping.
fn deleted(maps: &str) -> Vec<(String, u64)> {
    let parse = |line: &str| {
        let (line, name) = line.split_once('/')?;
        let is_file = name.ends_with(" (deleted)") && !NO_FILES.iter().any(|no| name.starts_with(&no[1..]));
        let mut fields = line.split_ascii_whitespace();
        let (begin, end) = fields.next()?.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let (_, offset, device, inode) = (fields.next()?, number(fields.next()?)?, fields.next()?, fields.next()?);
        let length = offset.saturating_add(number(end)?.saturating_sub(number(begin)?));
        is_file.then(|| (format!("{device} {inode}"), length))
    };
    maps.lines().filter_map(parse).collect()
}

fn changed(stat: &fs::Metadata) -> i64 {
    nanoseconds(stat.ctime(), stat.ctime_nsec())
}

/// Good for some centuries.
fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The free bytes and files of the file system where `path` lies.
fn room(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_bavail * stat.f_frsize, stat.f_favail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn walked(dir: &Path, since: i64) -> Walk {
        let mut walk = Walk { dirs: vec![dir.to_owned()], ..Walk::default() };
        assert!(walk.go_on(since, 10 << 20, Instant::now() + Duration::from_mins(1)));
        walk
    }

    #[test]
    fn what_has_a_name_is_found_and_what_was_there_before_is_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), vec![1; 1 << 20]).unwrap();
        let walk = walked(dir.path(), 0);
        assert!(walk.grown >= 1 << 20 && walk.count == 2 && !walk.hides, "{walk:?}");
        assert_eq!(walked(dir.path(), i64::MAX).grown, 0);
    }

    #[test]
    fn what_cannot_be_looked_into_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let root = rustix::process::geteuid().is_root();
        assert_eq!(walked(dir.path(), 0).hides, !root);
        assert!(!walked(dir.path(), i64::MAX).hides);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn a_file_without_a_name_is_found_where_it_is_held() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let until = Instant::now() + Duration::from_mins(1);
        let before = Nameless::of(Path::new("/proc"), [me].iter(), until);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 3 << 20]).unwrap();
        let other = file.try_clone().unwrap();
        let after = Nameless::of(Path::new("/proc"), [me].iter(), until);
        // Once for both handles; other tests have their own.
        assert!(after.open >= 3 << 20 && !before.hides, "{before:?} {after:?}");
        drop(other);
    }

    #[test]
    fn a_map_tells_deleted_files_from_memory() {
        let maps = "\
7f0000000000-7f0000400000 rw-s 00001000 fd:01 77 /a b/f (deleted)
7f0001000000-7f0001200000 rw-s 00000000 fd:01 77 /a b/f (deleted)
7f0002000000-7f0002200000 rw-s 00000000 00:01 78 /dev/zero (deleted)
7f0003000000-7f0003200000 rw-s 00000000 fd:01 79 /a/kept
7f0004000000-7f0004200000 rw-p 00000000 00:00 0 [heap]
";
        let file = || "fd:01 77".to_owned();
        assert_eq!(deleted(maps), [(file(), 0x40_1000), (file(), 0x20_0000)]);
    }
}
