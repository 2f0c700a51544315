//! What came of asking the brain, as it is counted.

use super::machine::{Event, Write};
use crate::domain::{ErrorCode, Outcome};
use crate::metrics::BrainOutcome;

/// What was heard of the brain.
pub(super) fn heard(event: &Event) -> BrainOutcome {
    match event {
        Event::NoReply(ErrorCode::BrainUnreachable, _) => BrainOutcome::Unreachable,
        Event::NoReply(..) => BrainOutcome::Protocol,
        Event::Stopped(_) => BrainOutcome::Stopped,
        Event::Replied(_) | Event::ToolDone { .. } => BrainOutcome::Reply,
    }
}

/// The same once it is known what was made of it: what is JSON need not be a reply.
pub(super) fn judged(heard: BrainOutcome, write: &Write) -> BrainOutcome {
    match &write.end {
        Some(Outcome::Failed(error)) if matches!(error.code, ErrorCode::BrainProtocol | ErrorCode::UnknownEvent) => {
            BrainOutcome::Protocol
        }
        _ => heard,
    }
}
