//! Work on long texts, done beside the threads that serve everything else.

use crate::brain::BrainError;

/// So many bytes are read within a millisecond, for which nobody has to wait; longer texts may keep a thread for a second.
const LONG: usize = 100_000;

/// The outcome of `work` on so many bytes of text.
pub(super) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BrainError> {
    if bytes <= LONG {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "the reading of a long text panicked");
        BrainError::Protocol("the model's answer could not be read for a reason of the service's own".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_long_work_is_done_on_another_thread() {
        let here = thread::current().id();
        let place = || thread::current().id();
        assert_eq!(aside(LONG, place).await.unwrap(), here);
        assert_ne!(aside(LONG + 1, place).await.unwrap(), here);
        assert!(aside(LONG + 1, || panic!("as a test does")).await.is_err());
    }
}
