//! When a question is asked again: the one place that says so, for every transport and every brain.
//!
//! | what happened | again? |
//! | --- | --- |
//! | no connection, or one that broke; no answer in time | yes |
//! | a certificate that this machine does not trust | no: it is the same one the next time |
//! | HTTP 408, 425, 429, 5xx | yes, after `Retry-After` where there is one |
//! | gRPC `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `ABORTED`, `CANCELLED`, `INTERNAL`, `UNKNOWN` | yes, after `grpc-retry-pushback-ms` |
//! | any other status, and what is no reply by the protocol | no |

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::HeaderValue;
use tonic::Code;

use super::BrainError;
use crate::domain::{Clock, Timestamp, one_line};

/// The first pause is at most this long, each further one at most twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// No pause of ours is longer: a brain that comes back should not wait for us.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A `Retry-After` is honoured up to here; beyond it a person has to look anyway.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Why one try brought no reply.
#[derive(Clone, Debug)]
pub(super) enum TryError {
    /// It may work later; `after` is the brain's own word on when.
    Again { message: String, after: Option<Duration> },
    /// It will not.
    Final(BrainError),
}

impl TryError {
    /// It may work later, and nobody said when.
    pub(super) fn again(message: impl Into<String>) -> Self {
        Self::Again { message: message.into(), after: None }
    }

    /// The brain answered, and it is no reply.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::Final(BrainError::Protocol(message.into()))
    }
}

/// No answer came within the time for one try.
pub(super) fn timed_out() -> TryError {
    TryError::again("operation timed out")
}

/// A connection that did not come about, or broke.
pub(super) fn by_error(error: &(dyn Error + 'static)) -> TryError {
    let message = causes(error);
    if is_untrusted(error) {
        return TryError::Final(BrainError::Unreachable(format!(
            "{message}: this machine does not trust the certificate; add the authority that signed it to the system's \
             store, or name its file in SSL_CERT_FILE"
        )));
    }
    TryError::again(message)
}

/// Whether what an HTTP status tells of may pass by itself.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// An answer with an HTTP status that is no success; `message` has all that is told of it.
pub(super) fn by_status(status: StatusCode, message: String, after: Option<Duration>) -> TryError {
    if may_pass(status.as_u16()) {
        TryError::Again { message, after }
    } else {
        TryError::Final(BrainError::Status { status: status.as_u16(), message })
    }
}

/// The same of gRPC's.
pub(super) fn by_code(code: Code, message: String, after: Option<Duration>) -> TryError {
    match code {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled
        | Code::Internal
        | Code::Unknown => TryError::Again { message, after },
        // As HTTP puts the same.
        Code::Unauthenticated => TryError::Final(BrainError::Status { status: 401, message }),
        Code::PermissionDenied => TryError::Final(BrainError::Status { status: 403, message }),
        Code::Unimplemented => TryError::Final(BrainError::Status { status: 501, message }),
        _ => TryError::protocol(message),
    }
}

/// Tries up to `retries` times more, with exponential backoff and full jitter.
pub(super) async fn retry<T, F: Future<Output = Result<T, TryError>>>(
    retries: u32,
    name: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, BrainError> {
    let mut tried = 0;
    loop {
        let (message, after) = match attempt().await {
            Ok(reply) => return Ok(reply),
            Err(TryError::Final(BrainError::Unreachable(message))) => {
                return Err(BrainError::Unreachable(format!("{name}: {message}")));
            }
            Err(TryError::Final(error)) => return Err(error),
            Err(TryError::Again { message, after }) => (message, after),
        };
        tried += 1;
        if tried > retries {
            let count = if tried == 1 { "1 try".to_owned() } else { format!("{tried} tries, the last") };
            return Err(BrainError::Unreachable(format!("{name}: no reply after {count}: {message}")));
        }
        // What is asked for is the least: whoever was told the same moment must not come back in it together, and one that
        // asks for no pause at all gets the usual one.
        let pause = after.unwrap_or_default().min(LONGEST_RETRY_AFTER) + backoff(tried, fastrand::f64());
        let message = one_line(&message);
        tracing::info!(brain = name, %message, tried, ?pause, "the brain is asked again");
        tokio::time::sleep(pause).await;
    }
}

/// A random part (`jitter`, 0 to 1) of the pause before try `tried + 1`.
fn backoff(tried: u32, jitter: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(tried.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE).mul_f64(jitter)
}

/// The pause a `Retry-After` header asks for.
pub(super) fn retry_after(header: Option<&HeaderValue>, clock: &dyn Clock) -> Option<Duration> {
    pause(header?.to_str().ok()?, UNIX_EPOCH + clock.now().since(Timestamp::from_millis(0)))
}

/// Seconds, or a date (RFC 9110).
fn pause(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default())
}

/// An error with its causes, as one line.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// Whether a certificate is the cause.
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    matches!(cause(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// The first error of this type in `error` and its causes.
pub(super) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // An I/O error is its own inner error's wrapper, and names only that one's source.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.and_then(|inner| cause(inner)).or_else(|| error.source().and_then(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        assert_eq!(backoff(1, 1.0), Duration::from_millis(500));
        assert_eq!(backoff(3, 0.5), Duration::from_secs(1));
        assert_eq!(backoff(40, 1.0), LONGEST_PAUSE);
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        assert_eq!(pause(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(pause("Sun, 06 Nov 1983 08:49:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(pause("soon", now), None);
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        let again = |error| matches!(error, TryError::Again { .. });
        for (status, expected) in
            [(408, true), (425, true), (429, true), (500, true), (503, true), (401, false), (302, false)]
        {
            assert_eq!(
                again(by_status(StatusCode::from_u16(status).unwrap(), String::new(), None)),
                expected,
                "{status}"
            );
        }
        for (code, expected) in [
            (Code::Unavailable, true),
            (Code::Unknown, true),
            (Code::Unauthenticated, false),
            (Code::Unimplemented, false),
            (Code::OutOfRange, false),
        ] {
            assert_eq!(again(by_code(code, String::new(), None)), expected, "{code:?}");
        }
        assert!(again(by_error(&std::io::Error::from(std::io::ErrorKind::ConnectionRefused))));
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let TryError::Final(error) = by_error(&std::io::Error::other(untrusted)) else { panic!("tried again") };
        assert!(matches!(&error, BrainError::Unreachable(text) if text.contains("SSL_CERT_FILE")), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_is_told_when_all_tries_are_used_up() {
        let mut tries = 0;
        let outcome: Result<(), _> = retry(2, "b", || {
            tries += 1;
            std::future::ready(Err(TryError::again(format!("no {tries}"))))
        })
        .await;
        assert_eq!(outcome.unwrap_err().to_string(), "b: no reply after 3 tries, the last: no 3");
    }
}
