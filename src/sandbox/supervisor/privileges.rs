//! What a process may do besides reaching files and making calls: privileges, limits, descriptors.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::limits::Limits;
use super::{Failure, last_errno, step};

/// How many more processes than its limit a command may start before it is noticed.
const PROCESSES_UNSEEN: u64 = 64;

/// How far a command's priority lies below the service's.
const COURTESY: i32 = 10;

/// The kernel reserves the first 300 numbers and takes no smaller bound.
const LEAST_PIDS: u64 = 301;

/// Leaves standard input, output and error to whoever is started next, and nothing else.
pub(super) fn close_others() -> Result<(), Failure> {
    // SAFETY: descriptors are marked, none is closed here.
    let done = unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    if done == 0 { Ok(()) } else { Err(Failure::of("descriptors", "close_range", last_errno())) }
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
    set(Resource::Nproc, most, most)?;
    // A command gives way to whoever watches over it, and to the service.
    step("priority", rustix::process::setpriority_process(None, COURTESY))?;
    Ok(())
}

/// Lets the supervisor run however many processes of the command want to. Only root may; for others a bomb is bounded by
/// the number of processes.
pub(super) fn go_first() {
    let _ = rustix::process::setpriority_process(None, -20);
    // SAFETY: the kernel reads one struct, which outlives the call.
    unsafe {
        let (policy, lowest) = (libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, libc::sched_param { sched_priority: 1 });
        libc::sched_setscheduler(0, policy, &raw const lowest);
    }
}

/// When memory runs out, the kernel takes a command and not the service. Not fatal: the watch comes first.
pub(super) fn go_last() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
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
