//! What this process takes of the machine, under the names that every Prometheus client gives it.
//!
//! Read here and not by the crate's own collector: that one counts processor time in whole seconds, and brings a second
//! copy of what asks the system.

use prometheus::{Counter, Gauge, Opts, Registry};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::measured::Made;
use crate::domain::Timestamp;

/// Adds what the system tells; what it does not tell is left out.
pub(super) fn add_to(registry: &Registry, started: Timestamp) {
    let made = Made { registry };
    let gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            made.made(Gauge::with_opts(Opts::new(name, help))).set(value);
        }
    };
    let used = "Processor time that the process has used, in its own code and in the kernel's.";
    made.made(Counter::with_opts(Opts::new("process_cpu_seconds_total", used))).inc_by(cpu_seconds());

    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.", bytes(&status, "VmRSS:"));
    gauge("process_virtual_memory_bytes", "Addresses that the process has.", bytes(&status, "VmSize:"));
    gauge("process_open_fds", "Files that the process has open.", open_files());
    let most = getrlimit(Resource::Nofile).current.map(float);
    gauge("process_max_fds", "Files that it may have open.", most);
    let started = Some(millis(started) / 1000.0);
    gauge("process_start_time_seconds", "When the service was started, in seconds since 1970.", started);
}

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    std::time::Duration::try_from(used).unwrap_or_default().as_secs_f64()
}

/// A line of `/proc/self/status`, which counts in kilobytes.
fn bytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(float(kilobytes * 1024))
}

fn open_files() -> Option<f64> {
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that was read.
    Some(float(files.saturating_sub(1) as u64))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has nothing but floats, exact up to 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn millis(at: Timestamp) -> f64 {
    at.millis() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_all_of_it() {
        let registry = Registry::new();
        add_to(&registry, Timestamp::from_millis(1500));
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        let (resident, virtual_memory) =
            (value("process_resident_memory_bytes"), value("process_virtual_memory_bytes"));
        assert!(1e6 < resident && resident <= virtual_memory, "{text}");
        assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")), "{text}");
        assert!(text.contains("\nprocess_start_time_seconds 1.5\n"), "{text}");
    }
}
