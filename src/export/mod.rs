//! Records become training data.

pub mod redact;
