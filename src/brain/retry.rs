//! When a question is asked again, for every transport.

use std::time::Duration;

use super::BrainError;

/// The first pause is at most this long, each further one at most twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// No pause of ours is longer: a brain that comes back should not wait for us.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A `Retry-After` is honoured up to here; beyond it a person has to look anyway.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Why one try brought no reply.
#[derive(Debug)]
pub(super) enum TryError {
    /// It may work later; `after` is the brain's own word on when.
    Again { message: String, after: Option<Duration> },
    /// It will not.
    Final(BrainError),
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
            Err(TryError::Final(error)) => return Err(error),
            Err(TryError::Again { message, after }) => (message, after),
        };
        tried += 1;
        if tried > retries {
            let count = if tried == 1 { "1 try".to_owned() } else { format!("{tried} tries, the last") };
            return Err(BrainError::Unreachable(format!("{name}: no reply after {count}: {message}")));
        }
        let pause = after.map_or_else(|| backoff(tried, fastrand::f64()), |after| after.min(LONGEST_RETRY_AFTER));
        tracing::info!(brain = name, %message, tried, ?pause, "the brain is asked again");
        tokio::time::sleep(pause).await;
    }
}

/// A random part (`jitter`, 0 to 1) of the pause before try `tried + 1`.
fn backoff(tried: u32, jitter: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(tried.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE).mul_f64(jitter)
}

/// The pause a `Retry-After` header asks for (RFC 9110: seconds, or a date).
pub(super) fn retry_after(value: &str, now: std::time::SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Sun, 06 Nov 1983 08:49:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_is_told_when_all_tries_are_used_up() {
        let mut tries = 0;
        let outcome: Result<(), _> = retry(2, "b", || {
            tries += 1;
            std::future::ready(Err(TryError::Again { message: format!("no {tries}"), after: None }))
        })
        .await;
        assert_eq!(outcome.unwrap_err().to_string(), "b: no reply after 3 tries, the last: no 3");
    }
}
