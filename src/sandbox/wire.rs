//! How the messages of [`spec`](super::spec) travel: frames, each a length of four bytes and then JSON; and the head of an
//! order, which comes with the handles of the command.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// More than the longest command with its environment; who says more is not the service.
const LONGEST: u32 = 64 * 1024 * 1024;

/// The most handles that a command has.
const HANDLES: usize = 6;

/// The head of an order, as the steward takes it.
pub(super) struct Head {
    /// After this the supervisor itself is ended.
    pub patience: Duration,
    pub handles: Handles<OwnedFd>,
}

/// What a command is given, and the connection over which it is supervised.
pub(super) struct Handles<F> {
    pub workspace: F,
    pub directory: F,
    pub stdout: F,
    pub stderr: F,
    pub control: F,
    /// The control group that it runs in, where there is one.
    pub group: Option<F>,
}

/// Sends the head of an order in one piece.
pub(super) fn send_head(
    socket: impl AsFd,
    patience: Duration,
    handles: &Handles<BorrowedFd<'_>>,
) -> rustix::io::Result<()> {
    let Handles { workspace, directory, stdout, stderr, control, group } = *handles;
    let handles: Vec<BorrowedFd<'_>> =
        [workspace, directory, stdout, stderr, control].into_iter().chain(group).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&handles));
    let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).to_ne_bytes();
    rustix::net::sendmsg(socket, &[IoSlice::new(&patience)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes the next head; `None` where the service has gone.
pub(super) fn receive_head(socket: impl AsFd) -> io::Result<Option<Head>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut patience = [0; 8];
    let mut slices = [IoSliceMut::new(&mut patience)];
    let received = rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut handles = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            handles.extend(rights);
        }
    }
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let group = (handles.len() == HANDLES).then(|| handles.pop()).flatten();
    let handles: [OwnedFd; HANDLES - 1] = handles.try_into().map_err(|_| bad("the handles are missing"))?;
    if received.bytes != patience.len() {
        return Err(bad("the head is torn"));
    }
    let [workspace, directory, stdout, stderr, control] = handles;
    let handles = Handles { workspace, directory, stdout, stderr, control, group };
    Ok(Some(Head { patience: Duration::from_millis(u64::from_ne_bytes(patience)), handles }))
}

/// A message with its length before it.
pub(super) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_ne_bytes());
    Ok(frame)
}

/// Sends a message.
pub(super) fn send(mut socket: impl Write, message: &impl Serialize) -> io::Result<()> {
    socket.write_all(&frame(message)?)
}

/// Takes a message.
pub(super) fn receive<T: DeserializeOwned>(mut socket: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut text = vec![0; length_of(length)?];
    socket.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// The length that these bytes say.
pub(super) fn length_of(bytes: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_ne_bytes(bytes);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    usize::try_from(length).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_head_brings_its_handles_and_a_message_comes_whole() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let one = null.as_fd();
        let handles = |group| Handles { workspace: one, directory: one, stdout: one, stderr: one, control: one, group };
        send_head(&ours, Duration::from_millis(1500), &handles(None)).unwrap();
        send_head(&ours, Duration::from_millis(7), &handles(Some(one))).unwrap();
        let (first, second) = (receive_head(&theirs).unwrap().unwrap(), receive_head(&theirs).unwrap().unwrap());
        assert_eq!((first.patience, first.handles.group.is_some()), (Duration::from_millis(1500), false));
        assert_eq!((second.patience, second.handles.group.is_some()), (Duration::from_millis(7), true));
        send(&ours, &vec!["a", "b"]).unwrap();
        assert_eq!(receive::<Vec<String>>(&theirs).unwrap(), ["a", "b"]);
        drop(ours);
        assert!(receive_head(&theirs).unwrap().is_none());
    }
}
