//! One question over a connection, and its answer.
//!
//! ```text
//!  Line::wait    the question goes out; then nothing is held but the connection, for as long as the brain thinks
//!  Line::answer  with the first bytes hyper takes over, and reads the answer to its end
//! ```
//!
//! A connection of hyper's own has 16 KiB of buffers from its beginning to its end; thousands of steps that wait for
//! their brains would each hold them for nothing. What goes out is one piece of text and needs no hyper: that one is
//! called when there is something to read, and is told that it has asked.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use http_body_util::Empty;
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1::{self, Connection};
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper::{Method, Request, StatusCode};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::brain::connect::Stream;
use crate::brain::retry::causes;

/// The most that the first read of an answer takes: nearly all of them are shorter.
const FIRST: usize = 8 * 1024;

/// What the brain said.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<HeaderValue>,
    /// Up to the first piece that went over the limit.
    pub(super) body: Vec<u8>,
    /// For the next question, if it can be had.
    pub(super) stream: Option<Stream>,
}

/// A connection with a question on it.
pub(super) struct Line {
    stream: Stream,
    /// What is to be sent; empty once it is.
    question: Vec<u8>,
    sent: usize,
    /// What has come of the answer and is not yet read by hyper.
    begun: Bytes,
    /// Whether hyper has asked, as it believes.
    asked: bool,
}

/// Whether a connection that was kept can take another question: the brain may have closed it meanwhile.
pub(super) fn is_open(stream: &mut Stream) -> bool {
    // The kernel is asked: tokio knows of a socket only what it was told when it last waited, and of any after the first
    // hundred or so that a task looks at it says that there is nothing.
    let mut byte = [0; 1];
    let (peek, now) = (RecvFlags::PEEK, RecvFlags::DONTWAIT);
    // Nothing is to be heard on it. A byte would belong to no question, and what has no more bytes is closed.
    let silent = rustix::net::recv(stream.socket(), &mut byte, peek | now).err() == Some(Errno::AGAIN);
    // What has been read, and is kept by TLS.
    let mut space = [MaybeUninit::uninit(); 1];
    let mut buffer = ReadBuf::uninit(&mut space);
    silent && Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), buffer.unfilled()).is_pending()
}

impl Line {
    pub(super) fn new(stream: Stream, question: Vec<u8>) -> Self {
        Self { stream, question, sent: 0, begun: Bytes::new(), asked: false }
    }

    /// Sends the question and waits until the answer begins. It may begin early, with an error in most cases.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            let sent = self.poll_send(cx);
            let mut space = [MaybeUninit::uninit(); FIRST];
            let mut buffer = ReadBuf::uninit(&mut space);
            if Pin::new(&mut self.stream).poll_read(cx, buffer.unfilled())?.is_pending() {
                // A brain may refuse what it does not want to read to its end: that is heard first.
                return if let Poll::Ready(Err(error)) = sent { Poll::Ready(Err(error)) } else { Poll::Pending };
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer")));
            }
            self.begun = Bytes::copy_from_slice(buffer.filled());
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// The question, if none of it has left.
    pub(super) fn unsent(self) -> Option<Vec<u8>> {
        Some(self.question).filter(|question| self.sent == 0 && !question.is_empty())
    }

    /// Reads the answer; its body no further than `limit`.
    pub(super) async fn answer(self, limit: usize) -> Result<Answer, String> {
        let (mut sender, connection) = http1::handshake(self).await.map_err(|error| causes(&error))?;
        let mut talk = Talk { connection, over: false };
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::POST;
        let mut answering = pin!(sender.send_request(request));
        let response = std::future::poll_fn(|cx| talk.poll(cx, |cx| answering.as_mut().poll(cx))).await?;
        let (head, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        while let Some(frame) =
            std::future::poll_fn(|cx| talk.poll(cx, |cx| Pin::new(&mut incoming).poll_frame(cx).map(Option::transpose)))
                .await?
        {
            body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if body.len() > limit {
                break;
            }
        }
        drop(incoming);
        let over = std::future::poll_fn(|cx| Poll::Ready(talk.is_over(cx))).await;
        let stream = talk.end(over);
        Ok(Answer { status: head.status, retry_after: head.headers.get(RETRY_AFTER).cloned(), body, stream })
    }

    /// Until all of the question has left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.question.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.question[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        if !self.question.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            // Its memory is not needed while the brain thinks.
            (self.question, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

/// An answer being read by hyper.
struct Talk {
    connection: Connection<Line, Empty<Bytes>>,
    over: bool,
}

impl Talk {
    /// Polls what waits for something of the connection's, and the connection, which works only when it is polled.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut waiting: impl FnMut(&mut Context<'_>) -> Poll<hyper::Result<T>>,
    ) -> Poll<Result<T, String>> {
        // Twice, as each hands to the other: otherwise the task would go round through the scheduler.
        for _ in 0..2 {
            let _ = self.is_over(cx);
            if let Poll::Ready(done) = waiting(cx) {
                return Poll::Ready(done.map_err(|error| causes(&error)));
            }
        }
        if self.over { Poll::Ready(Err("closed within an answer".to_owned())) } else { Poll::Pending }
    }

    /// Whether the connection has come to its end with the answer.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.over = self.over || self.connection.poll_without_shutdown(cx).is_ready();
        self.over
    }

    /// The connection, if it can take another question.
    fn end(self, over: bool) -> Option<Stream> {
        let parts = self.connection.into_parts();
        let line = parts.io;
        let clean = !over && parts.read_buf.is_empty() && line.begun.is_empty() && line.question.is_empty();
        clean.then_some(line.stream)
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // hyper looks for the end of the connection before it asks. `Talk::poll` polls it again at once.
        if !self.asked {
            return Poll::Pending;
        }
        // After an answer that came early the rest of the question is only good for keeping the brain from stalling.
        let _ = self.poll_send(cx);
        if self.begun.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.begun.len().min(buffer.remaining());
        buffer.put_slice(&self.begun.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// What hyper writes is the question that has been sent.
impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
