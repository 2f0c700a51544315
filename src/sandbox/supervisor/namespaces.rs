//! The namespaces of a command, seen from its supervisor, which was born into those for users and processes.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::UnshareFlags;

use super::super::spec::{Network, Spec};
use super::ready::Ready;
use super::{Failure, last_errno, privileges, root, step};

/// Leaves the machine: an own root, own processes, an own network. This process is number 1 of the command's.
pub(super) fn enter(spec: &Spec, ready: &Ready, workspace: BorrowedFd<'_>) -> Result<(), Failure> {
    // The user keeps its number: files look as they do outside.
    write(ready, "self/setgroups", "deny")?;
    let (user, group) = ready.user;
    write(ready, "self/uid_map", &format!("{user} {user} 1"))?;
    write(ready, "self/gid_map", &format!("{group} {group} 1"))?;
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if spec.network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    // SAFETY: no descriptor table is unshared, so no descriptor changes its meaning.
    step("namespaces", unsafe { rustix::thread::unshare_unsafe(flags) })?;
    if spec.network == Network::None {
        loopback()?;
    }
    root::enter(spec, workspace)?;
    privileges::bound_namespace(&spec.limits);
    root::seal_settings()
}

fn write(ready: &Ready, file: &str, text: &str) -> Result<(), Failure> {
    let failed = |errno| Failure::of("namespaces", file, errno);
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(ready.proc(), file, flags, Mode::empty()).map_err(failed)?;
    rustix::io::write(file, text.as_bytes()).map_err(failed)?;
    Ok(())
}

/// Switches the new network's loopback on: a test may start a server and talk to it.
fn loopback() -> Result<(), Failure> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = step("loopback", socket)?;
    // SAFETY: of a C struct of numbers and bytes, all zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).unwrap_or_default();
    // SAFETY: the kernel reads a request as long as this struct, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == 0 { Ok(()) } else { Err(Failure::of("loopback", "lo", last_errno())) }
}
