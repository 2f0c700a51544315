//! Types and rules, and nothing that touches the outside world: no I/O, no async, no SQL, no HTTP.
//! Every other room may use this one; it uses none of them.
//!
//! ```text
//!  json       a JSON value as the text it came in
//!  members    a JSON object, member by member
//!  id         TaskId, parsed once at the edge
//!  reader     the fields of a posted object, and all that is wrong with them
//!  spec       what a client posted: known options checked, the rest untouched
//!  task       Task, TaskState and the one function that changes it
//!  filter     which tasks are meant
//!  verdict    what somebody thinks of a task that has ended
//!  step       the protocol with the brain: payloads out, replies in
//!  iteration  one line of a task's record
//!  intent     an edit that is about to be made
//!  clock      time as an argument
//!  hex        bytes as text
//!  text       text of others, as it may be shown
//! ```
//!
//! Deliberately absent: defaults and limits. They come from `config` as arguments.

mod clock;
mod filter;
mod hex;
mod id;
mod intent;
mod iteration;
mod json;
mod members;
mod reader;
mod spec;
mod step;
mod task;
mod text;
mod verdict;

pub use clock::{Clock, SystemClock, Timestamp};
pub use filter::{InvalidLabel, LabelFilter, TaskFilter, parse_moment};
pub use hex::hex;
pub use id::{InvalidTaskId, TaskId, WorkerId};
pub use intent::{Intent, IntentError};
pub(crate) use iteration::millis;
pub use iteration::{Exchange, Line, LineError};
pub use json::{Json, JsonError, MAX_DEPTH};
pub use members::Members;
pub use reader::FieldError;
pub use spec::{SpecLimits, TaskSpec, labels_of};
pub use step::{Models, Payload, Reply, ReplyError, StopReason, ToolCall, Usage};
pub(crate) use task::names;
pub use task::{ErrorCode, IllegalTransition, Outcome, Status, Task, TaskError, TaskEvent, TaskState};
pub use text::{one_line, printable};
pub use verdict::{Verdict, VerdictOutcome};
