//! Memory that processes share without a file, as far as no process has it in its tables: it stays when all of them let go
//! of it, and is on nobody's account then.
//!
//! What there is of it the kernel tells for the whole machine only. So what the machine has more of than when the command
//! began is the command's, as far as the command's processes have room for it in their address spaces.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a look at the processes' maps may take. For each the kernel may wait for a lock, and a crowd that forks holds
/// them all the time. What is not looked at is not counted: the next look begins elsewhere.
const LOOK: Duration = Duration::from_millis(50);

/// Of one command.
#[derive(Debug)]
pub(super) struct Shared {
    /// The machine's when the command began, in bytes.
    before: u64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { before: machines() }
    }

    /// What the machine has more of now, whoever has it.
    pub(super) fn grown(&self) -> u64 {
        machines().saturating_sub(self.before)
    }

    /// What of that may be these processes', which come in no order.
    pub(super) fn of<'a>(&self, proc: &Path, pids: impl Iterator<Item = &'a i32>) -> u64 {
        let mut mapped: HashMap<String, u64> = HashMap::new();
        let begun = Instant::now();
        for pid in pids.take_while(|_| begun.elapsed() < LOOK) {
            let maps = fs::read_to_string(proc.join(pid.to_string()).join("maps")).unwrap_or_default();
            for (file, length) in maps.lines().filter_map(mapping) {
                let longest = mapped.entry(file).or_default();
                *longest = length.max(*longest);
            }
        }
        mapped.values().sum::<u64>().min(self.grown())
    }
}

/// Of a line of a process's map (see `proc_pid_maps(5)`), if it is shared memory without a file: its number and how much of
/// it there must be for the mapping. The kernel calls it so wherever it came from.
fn mapping(line: &str) -> Option<(String, u64)> {
    let line = line.strip_suffix("/dev/zero (deleted)")?;
    let mut fields = line.split_ascii_whitespace();
    let (begin, end) = fields.next()?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (_, offset, device, inode) = (fields.next()?, number(fields.next()?)?, fields.next()?, fields.next()?);
    Some((format!("{device} {inode}"), offset.saturating_add(number(end)?.saturating_sub(number(begin)?))))
}

fn machines() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("Shmem:")?.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_told_from_files_and_counted_once() {
        let line = "7f00-9f00 rw-s 00001000 00:01 1042                       /dev/zero (deleted)";
        assert_eq!(mapping(line), Some(("00:01 1042".to_owned(), 0x3000)));
        assert_eq!(mapping("7f00-9f00 rw-s 00000000 fe:01 7 /tmp/x (deleted)"), None);
        assert_eq!(mapping("7f00-9f00 rw-p 00000000 00:00 0 "), None);
    }

    #[test]
    fn the_machine_tells() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        assert!(fs::read_to_string("/proc/meminfo").unwrap().contains("Shmem:"));
        // Nobody can have more than has been added.
        let shared = Shared { before: u64::MAX };
        assert_eq!((shared.grown(), shared.of(Path::new("/proc"), [me].iter())), (0, 0));
    }
}
