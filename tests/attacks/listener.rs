//! Somebody outside to talk to. What arrives waits in the kernel until it is counted, so nothing runs beside the case.

use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;

/// A socket that counts who came.
pub enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener),
    UnixDgram(UnixDatagram),
}

impl Listener {
    pub fn tcp(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::Tcp(listener)
    }

    pub fn udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self::Udp(socket)
    }

    pub fn unix(path: &Path) -> Self {
        Self::of_unix(UnixListener::bind(path).unwrap())
    }

    pub fn abstract_unix(name: &str) -> Self {
        Self::of_unix(UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap())
    }

    pub fn unix_dgram(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self::UnixDgram(socket)
    }

    fn of_unix(listener: UnixListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        Self::Unix(listener)
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(listener) => listener.local_addr().unwrap().port(),
            Self::Udp(socket) => socket.local_addr().unwrap().port(),
            Self::Unix(_) | Self::UnixDgram(_) => panic!("has no port"),
        }
    }

    /// How many connections or datagrams have come since the last count.
    pub fn hits(&self) -> usize {
        let one = || match self {
            Self::Tcp(listener) => listener.accept().map(drop),
            Self::Udp(socket) => socket.recv(&mut [0; 16]).map(drop),
            Self::Unix(listener) => listener.accept().map(drop),
            Self::UnixDgram(socket) => socket.recv(&mut [0; 16]).map(drop),
        };
        std::iter::from_fn(|| match one() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            // A connection that was broken off before it was accepted came all the same.
            Ok(()) | Err(_) => Some(()),
        })
        .count()
    }
}

#[test]
fn a_listener_counts_who_came() {
    let listener = Listener::tcp("127.0.0.1:0");
    assert_eq!(listener.hits(), 0);
    drop(std::net::TcpStream::connect(("127.0.0.1", listener.port())).unwrap());
    assert_eq!(listener.hits(), 1);
    let listener = Listener::udp();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"xx", ("127.0.0.1", listener.port())).unwrap();
    assert_eq!((listener.hits(), listener.hits()), (1, 0));
}
