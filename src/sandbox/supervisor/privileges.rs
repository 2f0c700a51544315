//! What a process may do besides reaching files and making calls: privileges, limits, descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::limits::{Limits, PROCESSES_UNSEEN};
use super::{Failure, last_errno, step};

/// How far a command's priority lies below the service's.
const COURTESY: i32 = 10;

/// The kernel reserves the first 300 numbers and takes no smaller bound.
const LEAST_PIDS: u64 = 301;

/// Closes all descriptors but the first three and these.
pub(super) fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|handle| handle.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut from = 3;
    for next in kept.into_iter().chain([u32::MAX]) {
        // SAFETY: whoever calls this is single-threaded and uses none of these descriptors any more.
        if from < next && unsafe { libc::close_range(from, next - 1, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        from = from.max(next.saturating_add(1));
    }
    Ok(())
}

/// Makes the steward a process of its own, which no signal that is meant for the service ends: it ends when its commands
/// have, and those when the service says so or has gone.
pub(super) fn stand_apart() -> io::Result<()> {
    rustix::process::setsid()?;
    // It holds some for each command that runs.
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    for signal in IGNORED {
        // SAFETY: no handler is involved.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
    // The service may be root: its other groups are no business of a command's. An ordinary user cannot drop them.
    let _ = rustix::thread::set_thread_groups(&[]);
    go_first();
    Ok(())
}

/// What terminals and service managers send to all that belongs together.
const IGNORED: &[libc::c_int] = &[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Restores what the steward, and the standard library's start, changed for themselves.
pub(super) fn hear_signals() {
    for signal in IGNORED.iter().chain(&[libc::SIGPIPE]) {
        // SAFETY: no handler is involved.
        unsafe { libc::signal(*signal, libc::SIG_DFL) };
    }
}

/// The limits that the kernel keeps for each process. Those for all processes together are watched.
pub(super) fn limit(limits: &Limits, own_user: bool) -> Result<(), Failure> {
    let cpu = limits.cpu.as_secs().max(1);
    // The signal tells which limit it was; a second later it is no longer asked.
    set(Resource::Cpu, cpu, cpu + 1)?;
    set(Resource::Fsize, limits.file_size, limits.file_size)?;
    set(Resource::Nofile, limits.open_files, limits.open_files)?;
    // Zero would still hand a crash to a program outside, where the system is set up so; one does not.
    set(Resource::Core, 1, 1)?;
    // A net under the watch: what one process can take between two looks.
    set(Resource::Data, limits.memory.saturating_mul(2), limits.memory.saturating_mul(2))?;
    // The kernel counts all processes of the user, in a user namespace of its own those in it. Outside one, what runs on
    // the whole machine is taken for the user's: too much, but a bound.
    let others = if own_user { 0 } else { running()? };
    let most = others + limits.processes + PROCESSES_UNSEEN;
    set(Resource::Nproc, most, most)
}

/// Lets the steward and its supervisors run however many processes of commands want to. Only root may; for others a bomb is
/// bounded by the number of processes.
fn go_first() {
    let _ = rustix::process::setpriority_process(None, -20);
    schedule(libc::SCHED_RR, 1);
}

/// Makes this process an ordinary one. And when memory runs out, the kernel takes a command and not the service.
pub(super) fn go_last(proc: BorrowedFd<'_>) -> Result<(), Failure> {
    schedule(libc::SCHED_OTHER, 0);
    // A command gives way to whoever watches over it, and to the service.
    step("priority", rustix::process::setpriority_process(None, COURTESY))?;
    let file = rustix::fs::openat(proc, "self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    // Not fatal: the watch comes first.
    let _ = file.and_then(|file| rustix::io::write(file, b"1000"));
    Ok(())
}

fn schedule(policy: libc::c_int, priority: libc::c_int) {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads one struct, which outlives the call.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
}

/// Bounds the processes in a namespace for good, where the kernel counts them for each (since Linux 6.14): it exempts root
/// from the other limit.
pub(super) fn bound_namespace(limits: &Limits) {
    let most = (limits.processes + PROCESSES_UNSEEN).max(LEAST_PIDS);
    // An older kernel refuses it.
    let _ = std::fs::write("/proc/sys/kernel/pid_max", most.to_string());
}

/// Processes and threads on this machine.
fn running() -> Result<u64, Failure> {
    // SAFETY: the kernel fills in a C struct of numbers, for which all zero is a value.
    unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        match libc::sysinfo(&raw mut info) {
            0 => Ok(info.procs.into()),
            _ => Err(Failure::of("rlimit", "sysinfo", last_errno())),
        }
    }
}

fn set(resource: Resource, soft: u64, hard: u64) -> Result<(), Failure> {
    // A limit that was lower before cannot be raised, and need not be.
    let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let (current, maximum) = (Some(soft.min(most)), Some(hard.min(most)));
    step("rlimit", rustix::process::setrlimit(resource, Rlimit { current, maximum }))
}

/// Gives up every capability, and the ways to get one.
pub(super) fn drop_all() -> Result<(), Failure> {
    step("no_new_privs", rustix::thread::set_no_new_privs(true))?;
    for capability in 0..64 {
        // SAFETY: no memory is involved.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        // The first number past the last capability, or somebody who has none to drop.
        if done != 0 && matches!(last_errno(), Errno::INVAL | Errno::PERM) {
            break;
        }
    }
    step("capabilities", rustix::thread::clear_ambient_capability_set())?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    step("capabilities", rustix::thread::set_capabilities(None, none))
}

/// Looks once more, right before the program is started, whether all of it is in force.
pub(super) fn make_sure(seccomp: bool) -> Result<(), Failure> {
    let missing = |what: &str| Err(Failure::new("check", format!("{what} is not in force")));
    let capabilities = step("capabilities", rustix::thread::capabilities(None))?;
    if !(capabilities.effective | capabilities.permitted | capabilities.inheritable).is_empty() {
        return missing("the loss of capabilities");
    }
    if !step("no_new_privs", rustix::thread::no_new_privs())? {
        return missing("no_new_privs");
    }
    let mode = step("seccomp", rustix::thread::secure_computing_mode())?;
    if seccomp && mode != rustix::thread::SecureComputingMode::Filter {
        return missing("the system call filter");
    }
    Ok(())
}
