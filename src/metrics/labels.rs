//! The values of labels: few, and known beforehand.

use crate::domain::names;

names! {
    /// What came of asking the brain for a step, its tries included.
    BrainOutcome {
        /// A reply by the protocol.
        Reply = "reply",
        /// No answer, however often it was asked.
        Unreachable = "unreachable",
        /// An answer that is none by the protocol.
        Protocol = "protocol",
        /// It was not waited for any longer: the task or the worker stopped.
        Stopped = "stopped",
    }
}

names! {
    /// Which tool was called.
    Tool {
        /// `edit_file`
        EditFile = "edit_file",
        /// `read_file`
        ReadFile = "read_file",
        /// `run_command`
        RunCommand = "run_command",
        /// One that there is not: brains make up names, and each would be a series.
        Unknown = "unknown",
    }
}

names! {
    /// What the tool said of it.
    ToolStatus {
        /// It was done.
        Success = "success",
        /// It was not.
        Failure = "failure",
    }
}

impl Tool {
    /// The tool of that name.
    pub fn of(name: &str) -> Self {
        Self::from_word(name).unwrap_or(Self::Unknown)
    }
}
