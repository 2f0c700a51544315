//! The names of tasks and workers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// 1 to 128 of `A-Za-z0-9._-`, not starting with `.` or `-`: safe as a file name, in a URL and in a header.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(Arc<str>);

/// Why a text is no task id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTaskId {
    /// Nothing, or more than 128 characters.
    #[error("must have 1 to 128 characters")]
    Length,
    /// A character outside the allowed set.
    #[error("may only contain A-Z, a-z, 0-9, '.', '_' and '-'")]
    Character,
    /// A leading dot or hyphen, which would make a hidden file or look like an option.
    #[error("must not start with '.' or '-'")]
    Start,
}

/// One life of one process that runs tasks: no two lives have the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for WorkerId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TaskId {
    /// The longest id, in characters.
    pub const MAX_LEN: usize = 128;

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, InvalidTaskId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.chars().count() > Self::MAX_LEN {
            Err(InvalidTaskId::Length)
        } else if !text.bytes().all(allowed) {
            Err(InvalidTaskId::Character)
        } else if text.starts_with(['.', '-']) {
            Err(InvalidTaskId::Start)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl From<uuid::Uuid> for TaskId {
    fn from(id: uuid::Uuid) -> Self {
        Self(id.hyphenated().to_string().into())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ids_are_taken_and_bad_ones_say_why() {
        for good in ["a", "A.b_c-9", &"x".repeat(128), "_", "9"] {
            assert_eq!(good.parse::<TaskId>().map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for (bad, why) in [
            ("", InvalidTaskId::Length),
            (&*"x".repeat(129), InvalidTaskId::Length),
            ("a/b", InvalidTaskId::Character),
            ("a b", InvalidTaskId::Character),
            ("é", InvalidTaskId::Character),
            ("..", InvalidTaskId::Start),
            ("-rf", InvalidTaskId::Start),
        ] {
            assert_eq!(bad.parse::<TaskId>(), Err(why), "{bad:?}");
        }
    }
}
