//! `GET /metrics` and `GET /stats`.
