//! The steward as the service sees it: one process, started once, that forks a supervisor for each command.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::Mutex;

use super::spec::Setup;
use super::supervisor;
use super::wire::{self, Handles};

/// Nothing runs any more when it is told to go, and a large temporary directory is the most that is left to do.
const LAST: Duration = Duration::from_secs(5);

/// Started when the first command needs it, and again should it ever be lost.
pub(super) struct Steward {
    program: PathBuf,
    setup: Setup,
    link: Mutex<Option<Link>>,
}

struct Link {
    socket: UnixStream,
    process: Child,
}

impl Steward {
    /// One for commands that have this in common; `program` is this binary.
    pub(super) fn new(program: PathBuf, setup: Setup) -> Self {
        Self { program, setup, link: Mutex::new(None) }
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Has a supervisor started; what it is to do it is told over the connection among `handles`.
    pub(super) async fn order(&self, patience: Duration, handles: &Handles<BorrowedFd<'_>>) -> io::Result<()> {
        let mut link = self.link.lock().await;
        if let Some(Link { socket, .. }) = &*link {
            match send(socket, patience, handles).await {
                Err(error) if is_gone(&error) => tracing::warn!("the steward of commands was lost; another is started"),
                sent => return sent,
            }
        }
        send(&link.insert(self.start().await?).socket, patience, handles).await
    }

    /// Returns when it has seen what still runs to its end, and has gone.
    pub(super) async fn close(&self) {
        let gone = async {
            let Some(Link { socket, mut process }) = self.link.lock().await.take() else { return true };
            drop(socket);
            process.wait().await.is_ok()
        };
        if tokio::time::timeout(LAST, gone).await != Ok(true) {
            tracing::warn!("the steward of commands is still at work");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
    async fn start(&self) -> io::Result<Link> {
        let (ours, theirs) = StdUnixStream::pair()?;
        // No pre_exec and a program with a path: the standard library then uses posix_spawn, whose cost does not grow
        // with the memory of this process as fork's does.
        let process = tokio::process::Command::new(&self.program)
            .arg(supervisor::VERB)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not killed on drop: when its connection ends it sees commands to their end first.
            .kill_on_drop(false)
            .spawn()?;
        ours.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(ours)?;
        tokio::io::AsyncWriteExt::write_all(&mut socket, &wire::frame(&self.setup)?).await?;
        Ok(Link { socket, process })
    }
}

async fn send(socket: &UnixStream, patience: Duration, handles: &Handles<BorrowedFd<'_>>) -> io::Result<()> {
    let send = || Ok(wire::send_head(socket.as_fd(), patience, handles)?);
    socket.async_io(Interest::WRITABLE, send).await
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}
