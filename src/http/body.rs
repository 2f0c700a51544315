//! Bodies that bear a JSON object.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::Problem;
use crate::domain::Json;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Refuses what is not said to be JSON in UTF-8.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = value.to_ascii_lowercase().split(';').skip(1).find_map(|parameter| {
        parameter.trim().strip_prefix("charset=").map(|charset| charset.trim_matches('"').to_owned())
    });
    if essence == "application/json" && charset.is_none_or(|charset| charset == "utf-8") {
        return Ok(());
    }
    let detail = "the body has to be application/json, in UTF-8 (Content-Type)";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// The object that is sent, of at most `limit` bytes.
pub(super) async fn object(headers: &HeaderMap, sent: &mut Body, limit: usize) -> Result<Json, Problem> {
    parse(&read(headers, sent, limit).await?)
}

async fn read(headers: &HeaderMap, body: &mut Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_long(limit));
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(bytes)) => Ok(bytes.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long(limit)),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn too_long(limit: usize) -> Problem {
    let detail = format!("the body is longer than {limit} bytes (MAX_BODY_BYTES)");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn parse(body: &[u8]) -> Result<Json, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, format!("the body is {detail}"));
    let text = std::str::from_utf8(body).map_err(|error| bad(format!("not UTF-8: {error}")))?;
    let json = Json::parse(text).map_err(|error| bad(error.to_string()))?;
    if json.is_object() { Ok(json) } else { Err(bad("not a JSON object".to_owned())) }
}
