//! From a thread that writes to a client that reads.
//!
//! An answer without a length ends where its sender ends it, so the end is said aloud: whatever else becomes of the writer, the
//! client sees an answer that broke off, and no shorter one that looks whole.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream::{self, Stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use crate::export::ExportError;

/// Chunks that may wait for the client.
const WAITING: usize = 4;

/// What is sent.
enum Part {
    Rows(Bytes),
    End,
}

/// What is written is sent. It waits, so it is for a thread that may.
#[derive(Clone)]
pub(super) struct Sending {
    parts: mpsc::Sender<Result<Part, ExportError>>,
    runtime: Handle,
    patience: Duration,
}

/// Parts on their way to the client. When it has gone, the export is stopped.
pub(super) struct Sent {
    parts: mpsc::Receiver<Result<Part, ExportError>>,
    _stop: DropGuard,
}

/// Both ends. A client who takes nothing for as long as `patience` is given up; `stop` is for when it has gone.
pub(super) fn way(runtime: Handle, patience: Duration, stop: DropGuard) -> (Sending, Sent) {
    let (parts, sent) = mpsc::channel(WAITING);
    (Sending { parts, runtime, patience }, Sent { parts: sent, _stop: stop })
}

impl Sending {
    /// All has been written.
    pub(super) fn end(self) {
        // If the client has gone, nobody has to be told.
        drop(self.send(Ok(Part::End)));
    }

    /// There will be no more.
    pub(super) fn fail(self, error: ExportError) {
        drop(self.send(Err(error)));
    }

    fn send(&self, part: Result<Part, ExportError>) -> io::Result<()> {
        let sent = async { tokio::time::timeout(self.patience, self.parts.send(part)).await };
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Ok(Part::Rows(Bytes::copy_from_slice(bytes)))).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sent {
    /// Waits for the first part, so that what cannot begin is no answer; then all of them are.
    pub(super) async fn begun(
        mut self,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Option<ExportError>> {
        let first = match self.parts.recv().await {
            Some(Ok(part)) => part,
            Some(Err(error)) => return Err(Some(error)),
            None => return Err(None),
        };
        Ok(stream::unfold((Some(first), self), async |(first, mut sent)| {
            let next = match first {
                Some(part) => Some(Ok(part)),
                None => sent.parts.recv().await,
            };
            let rows = match next {
                Some(Ok(Part::Rows(rows))) => Ok(rows),
                Some(Ok(Part::End)) => return None,
                Some(Err(error)) => Err(io::Error::other(error)),
                None => Err(io::Error::other("the export broke off")),
            };
            Some((rows, (None, sent)))
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// What a client has of an answer, and whether it is whole; what the writer has come to; and the stop.
    async fn answer<T: Send + 'static>(
        patience: Duration,
        write: impl FnOnce(Sending) -> T + Send + 'static,
    ) -> (String, bool, T) {
        let stop = CancellationToken::new();
        let (sending, sent) = way(Handle::current(), patience, stop.clone().drop_guard());
        let writing = tokio::task::spawn_blocking(move || write(sending));
        let parts = sent.begun().await.unwrap().take(100).collect::<Vec<_>>().await;
        let text = parts.iter().flatten().flat_map(|rows| rows.to_vec()).collect();
        assert!(stop.is_cancelled());
        (String::from_utf8(text).unwrap(), parts.iter().all(Result::is_ok), writing.await.unwrap())
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn an_answer_is_whole_if_its_end_was_said_and_only_then() {
        let whole = answer(LONG, |mut sending| {
            sending.write_all(b"one\n").unwrap();
            sending.end();
        });
        assert_eq!(whole.await, ("one\n".to_owned(), true, ()));
        assert_eq!(answer(LONG, Sending::end).await, (String::new(), true, ()));
        let failed = answer(LONG, |mut sending| {
            sending.write_all(b"one\n").unwrap();
            sending.fail(ExportError::Stopped);
        });
        assert_eq!(failed.await, ("one\n".to_owned(), false, ()));
        // As it is where the writer has panicked.
        let dropped = answer(LONG, |mut sending| sending.write_all(b"one\n").unwrap());
        assert_eq!(dropped.await, ("one\n".to_owned(), false, ()));
    }

    #[tokio::test]
    async fn what_cannot_begin_is_no_answer() {
        let stop = CancellationToken::new();
        let (sending, sent) = way(Handle::current(), LONG, stop.clone().drop_guard());
        tokio::task::spawn_blocking(move || sending.fail(ExportError::Stopped)).await.unwrap();
        assert!(matches!(sent.begun().await.err(), Some(Some(ExportError::Stopped))));
        let (sending, sent) = way(Handle::current(), LONG, stop.drop_guard());
        drop(sending);
        assert!(matches!(sent.begun().await.err(), Some(None)));
    }

    #[tokio::test]
    async fn a_client_who_takes_nothing_is_given_up_and_one_who_has_gone_is_missed_at_once() {
        let stop = CancellationToken::new();
        let (mut sending, sent) = way(Handle::current(), Duration::from_millis(20), stop.clone().drop_guard());
        let writing = tokio::task::spawn_blocking(move || {
            let given_up = (0..=WAITING).find_map(|_| sending.write_all(b"x").err()).unwrap();
            (given_up.kind(), sending)
        });
        let (given_up, mut sending) = writing.await.unwrap();
        assert_eq!(given_up, io::ErrorKind::TimedOut);
        drop(sent);
        let gone = tokio::task::spawn_blocking(move || sending.write_all(b"x").unwrap_err().kind()).await.unwrap();
        assert_eq!((gone, stop.is_cancelled()), (io::ErrorKind::BrokenPipe, true));
    }
}
