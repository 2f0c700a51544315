//! What a client posted: the known options checked, every other field left alone.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{Reader, escaped};
use super::{FieldError, Json, Members, TaskId};

/// A posted task whose options have been checked.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    /// The whole object as posted; the brain gets exactly this.
    pub posted: Json,
    /// The id the client chose, if it chose one.
    pub id: Option<TaskId>,
    /// The directory under `CODE_DIR` that the tools may see.
    pub workspace: Option<String>,
    /// How many times the brain is asked at most.
    pub max_iterations: u32,
    /// How long the task may run, from its first start.
    pub deadline: Option<Duration>,
    /// Higher goes first.
    pub priority: i32,
    /// Words of the client's own, each with its value. Of a name that is given twice the last value counts.
    pub labels: Vec<(String, String)>,
}

/// What the service allows; from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct SpecLimits {
    /// `MAX_MCP_ITERATIONS`, for tasks that name no number.
    pub default_iterations: u32,
    /// `MAX_ITERATIONS_LIMIT`.
    pub max_iterations: u32,
}

impl TaskSpec {
    /// Priorities a client may give: wide enough for any scheme, and far from overflow.
    pub const PRIORITIES: RangeInclusive<i32> = -1000..=1000;
    /// The longest deadline: thirty days in seconds.
    pub const MAX_DEADLINE_SECONDS: i32 = 30 * 24 * 3600;
    /// The longest path of a workspace, in characters.
    pub const MAX_WORKSPACE: usize = 1024;
    /// The most labels a task may bear.
    pub const MAX_LABELS: usize = 64;

    /// Checks the known options of `posted`; all faults are told at once.
    pub fn parse(posted: Json, limits: SpecLimits) -> Result<Self, Vec<FieldError>> {
        let mut reader = Reader::new(posted.as_str(), "a task")?;

        reader.instruction();
        let id = reader
            .text("task_id")
            .and_then(|text: String| reader.ok("task_id", text.parse::<TaskId>().map_err(|error| error.to_string())));
        let workspace = reader.text("workspace");
        if workspace.as_ref().is_some_and(|path| path.chars().count() > Self::MAX_WORKSPACE) {
            reader.fault("workspace", format!("must have at most {} characters", Self::MAX_WORKSPACE));
        }
        let most = i32::try_from(limits.max_iterations).unwrap_or(i32::MAX);
        let max_iterations = reader.whole("max_iterations", 1..=most).map(i32::cast_unsigned);
        let deadline = reader.whole("deadline_seconds", 1..=Self::MAX_DEADLINE_SECONDS).map(i32::cast_unsigned);
        let deadline = deadline.map(|seconds| Duration::from_secs(seconds.into()));
        let priority = reader.whole("priority", Self::PRIORITIES).unwrap_or(0);
        let labels = reader.labels();
        if reader.given("isolation").is_some() {
            reader.fault("isolation", "isolation is not available in this version");
        }

        reader.done()?;
        let max_iterations = max_iterations.unwrap_or(limits.default_iterations);
        Ok(Self { posted, id, workspace, max_iterations, deadline, priority, labels })
    }
}

impl Reader<'_> {
    fn instruction(&mut self) {
        if self.fields.iter().all(|(key, _)| key != "instruction") {
            return self.fault("instruction", "is required");
        }
        if self.given("instruction").is_none() {
            return self.fault("instruction", "must be a string");
        }
        if self.read::<String>("instruction", "a string").is_some_and(|text| text.trim().is_empty()) {
            self.fault("instruction", "must not be empty");
        }
    }

    /// A whole number within bounds. `300.0` and `3e2` are whole too, as JSON Schema has it.
    fn whole(&mut self, name: &str, bounds: RangeInclusive<i32>) -> Option<i32> {
        let what = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let number = self.read::<f64>(name, &what)?;
        let fits = number.fract() == 0.0 && (f64::from(*bounds.start())..=f64::from(*bounds.end())).contains(&number);
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and within the bounds of an i32")]
        let whole = number as i32;
        self.ok(name, if fits { Ok(whole) } else { Err(format!("must be {what}")) })
    }

    fn labels(&mut self) -> Vec<(String, String)> {
        let Some(text) = self.given("labels") else { return Vec::new() };
        let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(text) else {
            self.fault("labels", "must be an object of strings");
            return Vec::new();
        };
        if members.len() > TaskSpec::MAX_LABELS {
            self.fault("labels", format!("must have at most {} entries", TaskSpec::MAX_LABELS));
        }
        let mut labels = Vec::<(String, String)>::with_capacity(members.len());
        for (key, value) in members {
            match serde_json::from_str::<String>(value.get()) {
                Ok(value) => {
                    labels.retain(|(earlier, _)| *earlier != key);
                    labels.push((key, value));
                }
                Err(_) => self.fault(&format!("labels/{}", escaped(&key)), "must be a string"),
            }
        }
        labels
    }
}

/// The labels of a task that was accepted.
pub fn labels_of(posted: &Json) -> Vec<(String, String)> {
    Reader::new(posted.as_str(), "a task").map_or_else(|_| Vec::new(), |mut reader| reader.labels())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SpecLimits = SpecLimits { default_iterations: 7, max_iterations: 200 };

    fn faults(text: &str) -> Vec<String> {
        TaskSpec::parse(Json::parse(text).unwrap(), LIMITS)
            .map_or_else(|errors| errors.into_iter().map(|error| error.pointer).collect(), |_| Vec::new())
    }

    #[test]
    fn defaults_fill_what_is_not_given() {
        let spec = TaskSpec::parse(Json::parse(r#"{"instruction":"x","task_id":null}"#).unwrap(), LIMITS).unwrap();
        assert_eq!((spec.max_iterations, spec.priority, spec.deadline), (7, 0, None));
        assert!(spec.id.is_none());
    }

    #[test]
    fn of_a_label_that_is_given_twice_the_last_value_counts() {
        let posted =
            Json::parse(r#"{"x":"\ud800","labels":{"a":"1","b":"\u0000","a":"2"},"instruction":"x"}"#).unwrap();
        let labels = [("b", "\0"), ("a", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(labels_of(&posted), labels);
        assert_eq!(TaskSpec::parse(posted, LIMITS).unwrap().labels, labels);
        for none in ["{}", r#"{"labels":null}"#, r#"{"labels":7}"#, "7"] {
            assert!(labels_of(&Json::parse(none).unwrap()).is_empty());
        }
    }

    #[test]
    fn each_fault_names_its_field() {
        assert_eq!(faults(r#"{"instruction":"x","extra":[1e999]}"#), [""; 0]);
        assert_eq!(faults("[]"), [""]);
        assert_eq!(faults("{}"), ["/instruction"]);
        assert_eq!(faults(r#"{"instruction":" \n"}"#), ["/instruction"]);
        assert_eq!(faults(r#"{"instruction":"a","instruction":"b"}"#), ["/instruction"]);
        assert_eq!(faults(r#"{"instruction":"x","labels":{"a/b":1}}"#), ["/labels/a~1b"]);
        assert_eq!(
            faults(r#"{"instruction":1,"task_id":"..","max_iterations":201,"priority":1.5,"deadline_seconds":0}"#),
            ["/instruction", "/task_id", "/max_iterations", "/deadline_seconds", "/priority"]
        );
    }
}
