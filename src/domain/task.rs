//! A task and the one function that changes its state.

use std::time::Duration;

use super::{Json, StopReason, TaskId, Timestamp, Usage, Verdict};

/// A task as the store knows it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The object as posted.
    pub posted: Json,
    /// Where its tools work, below `CODE_DIR`.
    pub workspace: Option<String>,
    /// Where it stands.
    pub state: TaskState,
    /// Somebody asked for it to stop; the run loop sees to it.
    pub cancel_requested: bool,
    /// How many times a worker took it up, taking up after a planned stop not counted.
    pub attempt: u32,
    /// The number of the last iteration on record, 0 before the first.
    pub iteration: u32,
    /// How many times the brain is asked at most.
    pub max_iterations: u32,
    /// How long it may run, from `started_at`.
    pub deadline: Option<Duration>,
    /// The length of its record in bytes.
    pub log_bytes: u64,
    /// Grows with every change; two equal revisions are the same task to the last field.
    pub revision: u64,
    /// What the brain said it used, summed up.
    pub usage: Option<Usage>,
    /// What somebody thinks of it.
    pub verdict: Option<Verdict>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was first taken up.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waiting for a worker.
    Queued {
        /// A worker had it before and handed it back: the brain may know of it.
        begun: bool,
    },
    /// A worker has it.
    Running,
    /// Over, for good.
    Ended(Outcome),
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The brain finished it.
    Succeeded {
        /// What the brain said of it.
        summary: Option<String>,
    },
    /// It could not be finished.
    Failed(TaskError),
    /// Somebody stopped it.
    Cancelled,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl Task {
    /// Whether it has come to its end.
    pub fn has_ended(&self) -> bool {
        self.state.outcome().is_some()
    }
}

/// Makes an enum whose values are words that users see.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$each])* $variant),+ }

        impl $name {
            /// Every value, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word users see.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The value behind a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use names;

names! {
    /// The word for a [`TaskState`].
    Status {
        /// Waiting for a worker.
        Queued = "queued",
        /// With a worker.
        Running = "running",
        /// Ended well.
        Succeeded = "succeeded",
        /// Ended with an error.
        Failed = "failed",
        /// Stopped on request.
        Cancelled = "cancelled",
    }
}

names! {
    /// Why a task failed, for programs.
    ErrorCode {
        /// The brain did not finish within the task's iterations.
        MaxIterations = "max_iterations",
        /// The brain answered with an event outside the protocol.
        UnknownEvent = "unknown_event",
        /// The brain gave no answer, however often it was asked.
        BrainUnreachable = "brain_unreachable",
        /// The brain's answer is none by the protocol.
        BrainProtocol = "brain_protocol",
        /// The task's time is up.
        DeadlineExceeded = "deadline_exceeded",
        /// Worker after worker died over it.
        LostTooOften = "lost_too_often",
        /// A fault of ours.
        Internal = "internal",
    }
}

/// What can happen to a task as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// A worker takes it up.
    Claimed,
    /// Its worker gives it back unfinished, or was found to be gone.
    HandedBack,
    /// Somebody wants it stopped.
    CancelRequested,
    /// Its worker is through with it.
    Ended(Outcome),
}

/// An event that the task's state does not allow.
#[derive(Debug, thiserror::Error)]
#[error("a task that is {from} cannot take the event {event:?}")]
pub struct IllegalTransition {
    /// Where the task stood.
    pub from: Status,
    /// What was to happen.
    pub event: TaskEvent,
}

impl TaskState {
    /// How every task begins.
    pub const NEW: Self = Self::Queued { begun: false };

    /// The only way from one state to another.
    ///
    /// A task that has begun and is asked to stop goes on until a worker has killed the command and told the brain.
    pub fn on(&self, event: TaskEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Queued { .. }, TaskEvent::Claimed) | (Self::Running, TaskEvent::CancelRequested) => {
                Ok(Self::Running)
            }
            (Self::Running, TaskEvent::HandedBack) | (Self::Queued { begun: true }, TaskEvent::CancelRequested) => {
                Ok(Self::Queued { begun: true })
            }
            (Self::Running, TaskEvent::Ended(outcome)) => Ok(Self::Ended(outcome)),
            (Self::Queued { begun: false } | Self::Ended(Outcome::Cancelled), TaskEvent::CancelRequested) => {
                Ok(Self::Ended(Outcome::Cancelled))
            }
            (state, event) => Err(IllegalTransition { from: state.status(), event }),
        }
    }

    /// The word for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Queued { .. } => Status::Queued,
            Self::Running => Status::Running,
            Self::Ended(outcome) => outcome.status(),
        }
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Ended(outcome) => Some(outcome),
            Self::Queued { .. } | Self::Running => None,
        }
    }
}

impl Outcome {
    /// The word for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Succeeded { .. } => Status::Succeeded,
            Self::Failed(_) => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// Why it failed, if it did.
    pub fn error(&self) -> Option<&TaskError> {
        if let Self::Failed(error) = self { Some(error) } else { None }
    }

    /// A failure with its reason.
    pub fn failed(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Failed(TaskError { code, message: message.into() })
    }

    /// How a task ends that was stopped before the brain had finished.
    pub fn stopped(reason: StopReason) -> Self {
        match reason {
            StopReason::Cancelled => Self::Cancelled,
            StopReason::MaxIterations => {
                Self::failed(ErrorCode::MaxIterations, "the brain did not finish within the task's max_iterations")
            }
            StopReason::DeadlineExceeded => {
                Self::failed(ErrorCode::DeadlineExceeded, "the task's deadline_seconds were over")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = TaskEvent> {
        let outcomes = prop_oneof![
            Just(Outcome::Cancelled),
            Just(Outcome::Succeeded { summary: None }),
            Just(Outcome::failed(ErrorCode::Internal, "x")),
        ];
        prop_oneof![
            Just(TaskEvent::Claimed),
            Just(TaskEvent::HandedBack),
            Just(TaskEvent::CancelRequested),
            outcomes.prop_map(TaskEvent::Ended),
        ]
    }

    proptest! {
        #[test]
        fn an_end_is_for_good(events in prop::collection::vec(events(), 0..40)) {
            let mut state = TaskState::NEW;
            for event in events {
                let next = state.on(event);
                if state.outcome().is_some() {
                    prop_assert!(next.is_err() || next.as_ref().is_ok_and(|next| *next == state));
                }
                state = next.unwrap_or(state);
            }
        }
    }

    #[test]
    fn words_and_values_belong_together() {
        for status in Status::ALL {
            assert_eq!(Status::from_word(status.as_str()), Some(*status));
        }
        assert_eq!(ErrorCode::from_word("lost_too_often"), Some(ErrorCode::LostTooOften));
        assert_eq!(Status::from_word("QUEUED"), None);
    }
}
