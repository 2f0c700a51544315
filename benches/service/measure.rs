//! What the kernel says of a process: its processor time and its memory.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// The clock's ticks in /proc: 100 a second on every Linux. A round takes hundreds of them, so that one more or less
/// is nothing.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of a process, with its threads that have ended, without its children.
pub fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // See proc(5): fields 14 and 15; the name in parentheses may have spaces.
    let fields = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace();
    let ticks: u32 = fields.skip(11).take(2).map(|field| field.parse::<u32>().unwrap()).sum();
    TICK * ticks
}

/// The memory of a process that is in use, in bytes, counted page by page.
pub fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// How many files a process has open.
pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Lets this process, and what it starts, open as many files as the system allows.
pub fn open_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// How many files a process may have open here.
pub fn most_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that this part of the others is not above.
pub fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into what is not empty")]
    let index = (part * values.len() as f64) as usize;
    values[index.min(values.len() - 1)]
}

/// The medians of what was measured together, each for itself.
pub fn medians(pairs: &[(f64, f64)]) -> (f64, f64) {
    (median(pairs.iter().map(|pair| pair.0)), median(pairs.iter().map(|pair| pair.1)))
}
