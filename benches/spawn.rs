//! What a command costs beside a bare spawn of the same program, in processor time (P2): `cargo bench --bench spawn`.
//!
//! Each kind of walls in a process of its own, small and with a gigabyte of memory in use; the bare spawn is measured in
//! the same process, by turns with ours, so that a noisy machine is noisy for both.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and fails aloud")]
#![expect(unsafe_code, reason = "getrusage has no safe form here")]
#![expect(clippy::disallowed_methods, reason = "the bare spawn is what is compared with")]

#[path = "parts/walls.rs"]
mod walls;

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use codex_agent::sandbox::{Command, Requirement, Sandbox};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use tokio_util::sync::CancellationToken;

/// Commands a round; the median of the rounds counts.
const COMMANDS: u32 = 300;
const ROUNDS: usize = 5;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    if let (Some(kind), Some(megabytes)) = (arguments.next(), arguments.next()) {
        return measure(&kind, megabytes.parse().unwrap());
    }
    println!("walls       memory   bare spawn   ours      ratio   ours, by the clock");
    for kind in ["namespaces", "landlock"] {
        for megabytes in ["10", "1000"] {
            let me = std::env::current_exe().unwrap();
            assert!(std::process::Command::new(me).args([kind, megabytes]).status().unwrap().success());
        }
    }
}

fn measure(kind: &str, megabytes: usize) {
    if kind == "landlock" {
        without_namespaces();
    }
    let ballast = vec![1u8; megabytes << 20];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::new(walls::settings(Requirement::Required, home.path())).await.unwrap();
        assert_eq!(sandbox.status().mode.to_string(), kind);
        let (mut bare, mut ours, mut clock) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let before = processor_time();
            for _ in 0..COMMANDS {
                let mut command = tokio::process::Command::new("/bin/true");
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                assert!(command.output().await.unwrap().status.success());
            }
            bare.push(processor_time().saturating_sub(before) / COMMANDS);
            let (before, started) = (processor_time(), Instant::now());
            for _ in 0..COMMANDS {
                let directory = || File::open(home.path()).unwrap().into();
                let command = Command {
                    argv: vec!["/bin/true".to_owned()],
                    workspace: directory(),
                    directory: directory(),
                    timeout: Duration::from_secs(20),
                    max_output: 20_000,
                };
                let ran = sandbox.execute(command, &CancellationToken::new()).await.unwrap();
                assert_eq!(ran.returncode, 0);
            }
            ours.push(processor_time().saturating_sub(before) / COMMANDS);
            clock.push(started.elapsed() / COMMANDS);
        }
        let (bare, ours, clock) = (median(bare), median(ours), median(clock));
        let ratio = ours.as_secs_f64() / bare.as_secs_f64();
        println!("{kind:<11} {megabytes:>4} MB {bare:>12.2?} {ours:>9.2?} {ratio:>7.2} × {clock:>12.2?}");
    });
    drop(ballast);
}

/// As a container's runtime leaves it.
fn without_namespaces() {
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let rules = [(libc::SYS_unshare, Vec::new())].into();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}

/// Of this process and of all it has waited for, theirs included; and of its children that are alive, which is the steward.
fn processor_time() -> Duration {
    let of = |who| {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel fills in a struct of this size.
        let usage = unsafe {
            assert_eq!(libc::getrusage(who, usage.as_mut_ptr()), 0);
            usage.assume_init()
        };
        let time = |at: libc::timeval| {
            Duration::from_secs(at.tv_sec.unsigned_abs()) + Duration::from_micros(at.tv_usec.unsigned_abs())
        };
        time(usage.ru_utime) + time(usage.ru_stime)
    };
    of(libc::RUSAGE_SELF) + of(libc::RUSAGE_CHILDREN) + alive()
}

/// In the clock's ticks, ten milliseconds each: little beside what a round takes.
fn alive() -> Duration {
    let me = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let ticks = stats.filter_map(|stat| {
        // See proc(5): the parent is field 4, the times of a process and of those it waited for 14 to 17.
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
        let time = fields.get(11..15)?.iter().filter_map(|text| text.parse::<u64>().ok()).sum::<u64>();
        (*fields.get(1)? == me).then_some(time)
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}
