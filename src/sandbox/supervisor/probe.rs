//! The self-test: small attacks from where a command would stand, behind the same walls.
//!
//! A wall that was put up without an error may still not stand, because of a kernel or a container that answers
//! differently from what was expected. So each is tried once, when the service starts.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use super::super::spec::{Network, Spec, Targets};

/// Long enough for this machine to answer.
const CONNECT: Duration = Duration::from_millis(200);

/// Tries everything; each hole that was found in a few words.
pub(super) fn attack(targets: &Targets, spec: &Spec) -> Vec<String> {
    let mut holes = Vec::new();
    let mut must_fail = |what: &str, succeeded: bool| {
        if succeeded {
            holes.push(what.to_owned());
        }
    };
    let outside = &targets.outside;
    if spec.walls.landlock || spec.walls.namespaces {
        must_fail("a directory outside could be listed", fs::read_dir(outside).is_ok());
        must_fail("a file outside could be written", File::create(outside.join(".probe")).is_ok());
        must_fail("the service's environment could be read", reads(&format!("/proc/{}/environ", targets.service)));
    }
    if spec.network == Network::None && spec.walls.any() {
        must_fail("a local port could be reached", connects(targets.stream));
        must_fail("a datagram could be sent to it", sends(targets.datagram));
    }
    if spec.walls.landlock || spec.walls.namespaces {
        let abstract_socket = UnixAddr::from_abstract_name(&targets.socket);
        let reached = abstract_socket.is_ok_and(|address| UnixStream::connect_addr(&address).is_ok());
        must_fail("an abstract socket could be reached", reached);
        // In a process namespace the number is somebody else's.
        must_fail("the service could be signalled", !spec.walls.namespaces && signals(targets.service));
    }
    if spec.walls.seccomp {
        for (what, call) in CALLS {
            must_fail(what, answers(*call));
        }
    }
    let own = spec.temporary.join(".probe");
    if fs::write(&own, "x").is_err() || fs::remove_file(&own).is_err() {
        holes.push("the temporary directory cannot be written".to_owned());
    }
    if fs::read_dir(&spec.workspace).is_err() {
        holes.push("the workspace cannot be listed".to_owned());
    }
    holes
}

/// System calls that must be refused whatever their arguments are.
const CALLS: &[(&str, libc::c_long)] = &[
    ("ptrace is possible", libc::SYS_ptrace),
    ("bpf is possible", libc::SYS_bpf),
    ("keyctl is possible", libc::SYS_keyctl),
    ("io_uring_setup is possible", libc::SYS_io_uring_setup),
    ("userfaultfd is possible", libc::SYS_userfaultfd),
    ("perf_event_open is possible", libc::SYS_perf_event_open),
    ("mount is possible", libc::SYS_mount),
    ("unshare is possible", libc::SYS_unshare),
];

fn reads(path: &str) -> bool {
    fs::read(path).is_ok()
}

fn connects(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), CONNECT).is_ok()
}

/// Where nobody takes the first datagram, the second one is answered with that.
fn sends(port: u16) -> bool {
    let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)) else { return false };
    socket.connect(("127.0.0.1", port)).is_ok() && (0..2).all(|_| socket.send(b"x").is_ok())
}

fn signals(pid: i32) -> bool {
    rustix::process::Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// Whether the kernel takes up a call at all, instead of refusing it before it looks at what is asked.
fn answers(call: libc::c_long) -> bool {
    // SAFETY: with null for every argument none of these calls touches memory of this process.
    let done = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
    let refused = std::io::Error::last_os_error();
    let by_filter = refused.kind() == ErrorKind::PermissionDenied || refused.raw_os_error() == Some(libc::ENOSYS);
    done == 0 || !by_filter
}
