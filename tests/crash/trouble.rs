//! What a brain gives instead of an answer when it is not well, and what passes by itself.

use axum::body::{Body, Bytes};
use axum::response::Response;
use fastrand::Rng;

/// A try that brings no reply.
#[derive(Clone, Copy)]
pub enum Trouble {
    /// This status, and when to come again, in seconds.
    Status(u16, Option<&'static str>),
    /// The connection is cut before the answer.
    Cut,
    /// The connection is cut in the middle of the answer.
    Half,
}

/// One of each kind. Seconds are long here, so there are few.
const TROUBLES: [Trouble; 12] = [
    Trouble::Status(500, None),
    Trouble::Status(502, Some("0")),
    Trouble::Status(503, None),
    Trouble::Status(503, Some("0")),
    Trouble::Status(503, Some("1")),
    Trouble::Status(429, None),
    Trouble::Status(429, Some("0")),
    Trouble::Status(408, None),
    Trouble::Status(425, Some("0")),
    Trouble::Cut,
    Trouble::Cut,
    Trouble::Half,
];

/// What comes of the first tries of a question.
pub fn some(dice: &mut Rng) -> Vec<Trouble> {
    (0..dice.usize(1..=2)).map(|_| *dice.choice(&TROUBLES).unwrap()).collect()
}

impl Trouble {
    pub fn response(self) -> Response {
        match self {
            Self::Status(status, after) => {
                let answer = Response::builder().status(status);
                let answer = after.into_iter().fold(answer, |answer, after| answer.header("retry-after", after));
                answer.body(Body::from("not now")).unwrap()
            }
            // It ends the connection's task, without a word from the hook for panics.
            Self::Cut => std::panic::resume_unwind(Box::new("cut")),
            Self::Half => {
                let half: [Result<Bytes, std::io::Error>; 2] =
                    [Ok(Bytes::from_static(b"{\"event\":")), Err(std::io::Error::other("cut"))];
                let body = Body::from_stream(futures_util::stream::iter(half));
                Response::builder().header("content-length", "100").body(body).unwrap()
            }
        }
    }
}
