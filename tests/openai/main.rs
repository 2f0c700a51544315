//! The brain that is a model, against a stand-in server that checks each request by the types of the `openai` package.
//!
//! ```text
//!  server.py     the stand-in; its answers are written down by the test     model    starts it, reads what it was asked
//!  tiny_gguf.py  a model for a real server                                  llama    that server
//! ```
#![expect(clippy::disallowed_methods, reason = "a harness starts processes, and looks for a Python in the environment")]
#![expect(clippy::print_stdout, reason = "what was asked is shown with --nocapture")]
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness has more than this target needs")]
mod common;

mod context;
mod critic;
mod goes_on;
mod llama;
mod model;
mod odd;
mod secret;
mod whole;
