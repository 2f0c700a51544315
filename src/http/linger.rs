//! The courtesy of hearing a client out that is refused.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

/// How long a body that is refused is still taken in.
const TIME: Duration = Duration::from_secs(2);

/// How much of it, in bytes.
const MOST: usize = 16 * 1024 * 1024;

/// Takes in what is still being sent, within bounds: a client whose connection is closed while it sends sees a broken
/// pipe and not the answer.
pub(super) async fn linger(mut body: Body) {
    let rest = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, Bytes::len);
            if taken > MOST {
                break;
            }
        }
    };
    // When the time is over, so is the courtesy.
    let _ = tokio::time::timeout(TIME, rest).await;
}
