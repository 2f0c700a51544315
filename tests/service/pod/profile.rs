//! What a pod has taken from its processes, put on a command of this machine.
//!
//! ```text
//!  fork ─► a mount namespace: the root read-only, three directories writable ─► the filter of RuntimeDefault
//!       ─► setpriv: user 65532, no capabilities, no new privileges ─► the service
//! ```
//!
//! Root does all of it. An ordinary user has the same made in a user namespace, in which it is user 65532.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::UnshareFlags;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use tokio::process::Command;

use crate::common::Home;
use crate::mask::mask;

/// The user of the image.
pub const USER: u32 = 65532;

/// What the profile `RuntimeDefault` of containerd and CRI-O refuses to a process without capabilities, of what matters to
/// walls: the calls for namespaces and mounts, and those that commands are refused anyway.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_chroot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_sethostname,
    libc::SYS_reboot,
];

/// Flags of `clone` that the profile refuses: its other uses pass.
const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// A home as a pod has one: `code`, `output` and `tmp` can be written, and the program lies beside them.
pub fn home() -> Home {
    let home = Home::new();
    std::fs::write(home.path().join("codex-agent"), "").unwrap();
    for directory in writable(&home) {
        std::fs::create_dir_all(&directory).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&directory, Some(USER), Some(USER)).unwrap();
        }
    }
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    home
}

fn writable(home: &Home) -> [PathBuf; 3] {
    [home.code(), home.output(), home.path().join("tmp")]
}

/// Makes of `command`, which starts the program in `home`, one that starts it in the profile.
#[expect(clippy::disallowed_methods, reason = "a harness starts processes")]
pub fn put_on(home: &Home, command: &mut Command) {
    let wanted = command.as_std();
    let is_root = rustix::process::geteuid().is_root();
    let user = format!("--reuid={USER}");
    let group = format!("--regid={USER}");
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--no-new-privs", "--inh-caps=-all"]);
    if is_root {
        setpriv.args(["--bounding-set=-all", &user, &group, "--clear-groups"]);
    }
    setpriv.arg(home.path().join("codex-agent")).args(wanted.get_args()).env_clear().current_dir(home.path());
    setpriv.envs(wanted.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // A pod's own /tmp, and programs where a stranger finds them, too.
    let tmp = home.path().join("tmp");
    setpriv.env("TMPDIR", &tmp).env("HOME", &tmp).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    setpriv.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);

    let rooms = Rooms::of(home, is_root);
    before_exec(&mut setpriv, move || rooms.enter());
    mask(REFUSED, libc::EPERM).put_on(&mut setpriv);
    // Whose flags no filter can read; who asks is to take the older way.
    mask(&[libc::SYS_clone3], libc::ENOSYS).put_on(&mut setpriv);
    let no_namespaces = no_namespaces();
    before_exec(&mut setpriv, move || apply_filter(&no_namespaces).map_err(|_| io::Error::last_os_error()));
    *command = setpriv;
}

#[expect(unsafe_code, reason = "between fork and exec there is no other way to act on the child alone")]
fn before_exec(command: &mut Command, act: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: what is called makes system calls on memory that was there before the fork; it allocates nothing.
    unsafe { command.pre_exec(act) };
}

/// Refuses `clone` with any flag for a namespace.
fn no_namespaces() -> BpfProgram {
    let rule = |flag: &i32| {
        let flag = u64::from(flag.unsigned_abs());
        let is_set = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag);
        SeccompRule::new(vec![is_set.unwrap()]).unwrap()
    };
    let rules = BTreeMap::from([(libc::SYS_clone, NAMESPACES.iter().map(rule).collect())]);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(rules, SeccompAction::Allow, refused, machine).unwrap().try_into().unwrap()
}

/// The mounts of a pod, as the child needs them: without a word to be made between fork and exec.
struct Rooms {
    program: [CString; 2],
    writable: Vec<CString>,
    /// For an ordinary user: what its numbers are in a namespace of its own.
    users: Option<[String; 2]>,
}

impl Rooms {
    fn of(home: &Home, is_root: bool) -> Self {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
        let mapped = |id: u32| format!("{USER} {id} 1");
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self {
            program: [text(Path::new(env!("CARGO_BIN_EXE_codex-agent"))), text(&home.path().join("codex-agent"))],
            writable: writable(home).iter().map(|path| text(path)).collect(),
            users: (!is_root).then(|| [mapped(user), mapped(group)]),
        }
    }

    fn enter(&self) -> io::Result<()> {
        let mut flags = UnshareFlags::NEWNS;
        flags.set(UnshareFlags::NEWUSER, self.users.is_some());
        unshare(flags)?;
        if let Some([user, group]) = &self.users {
            for (file, text) in
                [(c"/proc/self/setgroups", "deny"), (c"/proc/self/uid_map", user), (c"/proc/self/gid_map", group)]
            {
                let file = rustix::fs::openat(CWD, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
                rustix::io::write(file, text.as_bytes())?;
            }
        }
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount_bind(&*self.program[0], &*self.program[1])?;
        for directory in &self.writable {
            mount_bind(&**directory, &**directory)?;
        }
        read_only(c"/", true)?;
        // A pod's own processes are told about in a /proc that is not read-only as a whole.
        for directory in self.writable.iter().map(|directory| &**directory).chain([c"/proc"]) {
            read_only(directory, false)?;
        }
        Ok(())
    }
}

#[expect(unsafe_code, reason = "rustix cannot know that no descriptor is shared")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: no descriptor table is unshared, so no descriptor changes its meaning.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Makes everything that is mounted at `path` and below read-only, or one mount writable again.
#[expect(unsafe_code, reason = "rustix has no mount_setattr")]
fn read_only(path: &std::ffi::CStr, yes: bool) -> io::Result<()> {
    let mut wanted = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };
    *(if yes { &mut wanted.attr_set } else { &mut wanted.attr_clr }) = libc::MOUNT_ATTR_RDONLY;
    let flags = if yes { libc::AT_RECURSIVE } else { 0 };
    let (wanted, size) = (&raw const wanted, size_of::<libc::mount_attr>());
    // SAFETY: the path is a C string, and the kernel reads as many bytes of `wanted` as it is told.
    let done = unsafe { libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, path.as_ptr(), flags, wanted, size) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
