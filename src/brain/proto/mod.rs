//! The protocol with a brain over gRPC, generated from `codexagent/v1/brain.proto`.
//!
//! ```text
//!  codexagent/v1/brain.proto ─► v1.rs           messages, client and server
//!                            └► descriptor.bin  the same for reflection
//! ```
//!
//! Both are committed, so that a build needs neither protoc nor a build script. After a change of the proto file:
//! `UPDATE=1 cargo test --test proto`.
//!
//! Deliberately absent: how a connection is made and kept, and what a status means.

#[expect(clippy::pedantic, missing_docs, reason = "generated")]
#[rustfmt::skip]
pub mod v1;

/// The encoded `FileDescriptorSet` of the package, for the reflection service.
pub const DESCRIPTOR: &[u8] = include_bytes!("descriptor.bin");
