//! The first message of a supervisor's connection: a length, the handles, then the spec.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use super::spec::Spec;

/// More than the longest command with its environment; who says more is not the service.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Sends the length and the handles: few bytes, which a new connection always takes. The spec itself follows.
pub(super) fn send_head(socket: impl AsFd, length: usize, handles: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&handles));
    let length = (length as u64).to_ne_bytes();
    rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Takes the whole message.
pub(super) fn receive(mut socket: &UnixStream) -> io::Result<(Spec, [OwnedFd; 2])> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0; 8];
    let mut slices = [IoSliceMut::new(&mut length)];
    let received = rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut handles = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            handles.extend(rights);
        }
    }
    let handles = handles.try_into().map_err(|_| bad("the handles are missing"))?;
    let length = u64::from_ne_bytes(length);
    if received.bytes != 8 || length > LONGEST {
        return Err(bad("the length is missing"));
    }
    let mut text = vec![0; usize::try_from(length).map_err(|_| bad("the length is too great"))?];
    socket.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, handles))
}
