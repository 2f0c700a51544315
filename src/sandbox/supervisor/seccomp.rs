//! The system calls that a command may not make.
//!
//! A list of what is refused, not of what is allowed: a brain runs any program, and the walls for files, processes and
//! network stand elsewhere. Here is what those cannot see, and what widens the kernel's surface for nothing.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::super::spec::{Network, Walls};

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;
type Result<T> = std::result::Result<T, seccompiler::Error>;

/// Refused to everybody: other processes' memory, mounts, namespaces, the kernel's own tools and keys, the clock.
const NEVER: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_memfd_secret,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Only on this kind of processor.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[c_long] =
    &[libc::SYS__sysctl, libc::SYS_ioperm, libc::SYS_iopl, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_ustat];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[c_long] = &[];

/// Answered as by a kernel that does not have them, so that programs take the older way, as for `clone3`, which hides its flags from
/// a filter, `openat2` the mode of a new file; `io_uring` would make calls that no filter sees; the memory of a file
/// without a name would be on nobody's account.
const UNKNOWN: &[c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_memfd_create,
    libc::SYS_openat2,
];

/// Without namespaces of their own these are shared with the whole machine.
const SHARED: &[c_long] = &[
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_msgget,
    libc::SYS_msgctl,
    libc::SYS_msgrcv,
    libc::SYS_msgsnd,
    libc::SYS_semctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmget,
];
#[cfg(target_arch = "x86_64")]
const SHARED_HERE: &[c_long] = &[libc::SYS_inotify_init];
#[cfg(not(target_arch = "x86_64"))]
const SHARED_HERE: &[c_long] = &[];

/// A call that names a process, which argument does, and the one that says it is a process's number with the value that
/// says so.
type NamesAProcess = (c_long, u8, Option<(u8, u64)>);

/// Without a process namespace only one's own (0) may be named.
const NAMES_A_PROCESS: &[NamesAProcess] = &[
    (libc::SYS_ioprio_set, 1, Some((0, IOPRIO_WHO_PROCESS))),
    (libc::SYS_prlimit64, 0, None),
    (libc::SYS_sched_setaffinity, 0, None),
    (libc::SYS_sched_setattr, 0, None),
    (libc::SYS_sched_setparam, 0, None),
    (libc::SYS_sched_setscheduler, 0, None),
    (libc::SYS_setpriority, 1, Some((0, libc::PRIO_PROCESS as u64))),
];

/// From `linux/ioprio.h`.
const IOPRIO_WHO_PROCESS: u64 = 1;

/// All that make a namespace.
const NEW_NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
    0x80, // CLONE_NEWTIME; in clone's argument it is a part of the signal's number
];

/// What a supervisor does itself to make namespaces, before its command is refused it.
const SUPERVISORS: &[c_long] = &[
    libc::SYS_clone,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_umount2,
    libc::SYS_unshare,
];

/// The filters of a command. Of several the kernel takes the strictest answer. To put one in force costs the more the longer
/// it is: so the steward takes most of them on itself, once, and all that it starts inherits them.
pub(super) struct Filters {
    pub stewards: Vec<BpfProgram>,
    pub commands: Vec<BpfProgram>,
}

/// The filters for these walls.
pub(super) fn filters(walls: Walls, network: Network) -> Result<Filters> {
    let mut rules = Rules::new();
    rules.extend(NEVER.iter().chain(NEVER_HERE).map(|number| (*number, Vec::new())));
    rules.insert(libc::SYS_clone, NEW_NAMESPACES[..7].iter().map(|flag| has_flag(0, *flag)).collect::<Result<_>>()?);
    // What pushes characters into a terminal's input, and what does the same on the console.
    rules.insert(libc::SYS_ioctl, vec![is(1, libc::TIOCSTI)?, is(1, libc::TIOCLINUX)?]);
    // To ask for one's own, and to have the usual one, is no harm.
    rules.insert(libc::SYS_personality, vec![is_none_of(0, &[0, u64::from(u32::MAX)])?]);
    // Whoever opens or starts a file with a lease on it stands still until the lease is given back.
    rules.insert(libc::SYS_fcntl, vec![is(1, libc::F_SETLEASE.unsigned_abs())?]);
    rules.extend(privileged_files()?);
    rules.insert(libc::SYS_socketpair, socket_pairs(walls)?);
    // A process that hides what it does hides what it has written.
    rules.insert(libc::SYS_prctl, vec![is(0, libc::PR_SET_DUMPABLE.unsigned_abs())?]);
    let families = families(walls, network);
    let sockets = if families.is_empty() { Vec::new() } else { vec![is_none_of(0, &families)?] };
    rules.insert(libc::SYS_socket, sockets);
    if walls.namespaces {
        // Number 1 is the supervisor, and has the command's user: without room for another descriptor it would be blind.
        for (number, argument, _) in NAMES_A_PROCESS {
            rules.insert(*number, vec![is(*argument, 1u64)?]);
        }
    } else {
        rules.extend(SHARED.iter().chain(SHARED_HERE).map(|number| (*number, Vec::new())));
        for (number, argument, kind) in NAMES_A_PROCESS {
            let others = is_none_of(*argument, &[0])?;
            let kinds = kind.map(|(argument, process)| is_none_of(argument, &[process])).transpose()?;
            rules.insert(*number, std::iter::once(others).chain(kinds).collect());
        }
    }
    let unknown = UNKNOWN.iter().map(|number| (*number, Vec::new())).collect();
    // The steward puts back what a command has done to a repository, and there may be directories that lend their group.
    let of_files: Vec<c_long> = privileged_files()?.into_keys().collect();
    let own = |number: &c_long| of_files.contains(number) || walls.namespaces && SUPERVISORS.contains(number);
    let commands: Rules = rules.extract_if(.., |number, _| own(number)).collect();
    let stewards = vec![compile(rules, libc::EPERM)?, compile(unknown, libc::ENOSYS)?, foreign_numbers()];
    // A steward needs this one, to have a supervisor born into a group.
    let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
    let commands = vec![compile(commands, libc::EPERM)?, compile(clone3, libc::ENOSYS)?];
    Ok(Filters { stewards, commands })
}

/// A pair is connected to itself; but one for datagrams may still send to any path, and without a root of its own that
/// leads outside.
fn socket_pairs(walls: Walls) -> Result<Vec<SeccompRule>> {
    /// Of the type's argument the part that is not a flag, from `linux/net.h`.
    const KIND: u64 = 0xf;
    let mut refused = vec![is_none_of(0, &[libc::AF_UNIX as u64])?];
    if !walls.namespaces {
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
            refused.push(rule(vec![condition(1, SeccompCmpOp::MaskedEq(KIND), u64::from(kind.unsigned_abs()))?])?);
        }
    }
    Ok(refused)
}

/// No file may be given the bits that lend its owner's rights to whoever runs it: it would do so outside.
fn privileged_files() -> Result<Rules> {
    const BITS: [libc::mode_t; 2] = [libc::S_ISUID, libc::S_ISGID];
    let mut rules = Rules::new();
    for (number, mode) in MODES.iter().chain(MODES_HERE) {
        rules.insert(*number, BITS.iter().map(|bit| has_flag(*mode, bit.cast_signed())).collect::<Result<_>>()?);
    }
    for (number, flags, mode) in OPENS.iter().chain(OPENS_HERE) {
        let mut refused = Vec::new();
        // Only a new file has a mode; else the argument is whatever lay in the register.
        for new in [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY] {
            for bit in BITS {
                refused.push(rule(vec![flag(*flags, new)?, flag(*mode, bit.cast_signed())?])?);
            }
        }
        rules.insert(*number, refused);
    }
    Ok(rules)
}

/// Calls that set a mode, and which argument it is.
const MODES: &[(c_long, u8)] =
    &[(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (libc::SYS_fchmodat2, 2), (libc::SYS_mknodat, 2)];
#[cfg(target_arch = "x86_64")]
const MODES_HERE: &[(c_long, u8)] = &[(libc::SYS_chmod, 1), (libc::SYS_creat, 1), (libc::SYS_mknod, 1)];
#[cfg(not(target_arch = "x86_64"))]
const MODES_HERE: &[(c_long, u8)] = &[];

/// Calls that open a file, and which arguments are the flags and the mode.
const OPENS: &[(c_long, u8, u8)] = &[(libc::SYS_openat, 2, 3)];
#[cfg(target_arch = "x86_64")]
const OPENS_HERE: &[(c_long, u8, u8)] = &[(libc::SYS_open, 1, 2)];
#[cfg(not(target_arch = "x86_64"))]
const OPENS_HERE: &[(c_long, u8, u8)] = &[];

/// The kinds of sockets. An own network has nobody else in it; without one even a local socket could lead outside.
fn families(walls: Walls, network: Network) -> Vec<u64> {
    let mut families: Vec<libc::c_int> = Vec::new();
    if walls.namespaces {
        families.push(libc::AF_UNIX);
    }
    if walls.namespaces || network == Network::Full {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    if network == Network::Full {
        // Which addresses and routes there are.
        families.push(libc::AF_NETLINK);
    }
    families.into_iter().map(|family| u64::from(family.unsigned_abs())).collect()
}

fn compile(rules: Rules, errno: libc::c_int) -> Result<BpfProgram> {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?)
}

/// Answered as by an older kernel: calls that are newer than this list, for nobody has thought about them here; and the x32
/// numbers, which name the same calls a second time, past the filters above.
fn foreign_numbers() -> BpfProgram {
    /// `removexattrat`, of Linux 6.13. New calls have had one number on all kinds of processors since Linux 5.1.
    const NEWEST: u32 = 466;
    vec![
        // The number of the call is the first word of what a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 0, 1, NEWEST),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> seccompiler::sock_filter {
    // All codes are below 256.
    seccompiler::sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}

fn is(argument: u8, value: impl Into<u64>) -> Result<SeccompRule> {
    rule(vec![condition(argument, SeccompCmpOp::Eq, value.into())?])
}

fn has_flag(argument: u8, bit: libc::c_int) -> Result<SeccompRule> {
    rule(vec![flag(argument, bit)?])
}

fn flag(argument: u8, bit: libc::c_int) -> Result<SeccompCondition> {
    let bit = u64::from(bit.unsigned_abs());
    condition(argument, SeccompCmpOp::MaskedEq(bit), bit)
}

fn is_none_of(argument: u8, values: &[u64]) -> Result<SeccompRule> {
    rule(values.iter().map(|value| condition(argument, SeccompCmpOp::Ne, *value)).collect::<Result<_>>()?)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    // The kernel takes these arguments as ints: what stands in the upper half must not hide the lower one.
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule> {
    Ok(SeccompRule::new(conditions)?)
}
