//! `POST /step`, as the protocol has it.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{Reception, Refusal, Step};

pub(super) async fn step(State(reception): State<Reception>, headers: HeaderMap, body: String) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let numbered = key.and_then(|key| key.rsplit('/').next()).and_then(|number| number.parse().ok());
    let answered = match Step::parse(&body) {
        Ok(step) => reception.desk.answer(Step { iteration: numbered.or(step.iteration), ..step }).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(reply) => ([(CONTENT_TYPE, "application/json")], reply.to_string()).into_response(),
        Err(refusal) => (status(&refusal), refusal.message() + "\n").into_response(),
    }
}

/// A 5xx is tried again; what is as wrong the next time is none.
pub(super) fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        refusal if refusal.may_pass() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}
