//! Which tasks are meant: the filters of a list and of an export, and how they are written.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Status, Timestamp};

/// What a task has to be like. What is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// It stands in one of these ways; if none is named, in any.
    pub status: Vec<Status>,
    /// It bears all these labels.
    pub labels: Vec<LabelFilter>,
    /// It was accepted then or later.
    pub since: Option<Timestamp>,
    /// It was accepted before.
    pub until: Option<Timestamp>,
    /// It has this workspace, in the words of whoever posted it.
    pub workspace: Option<String>,
}

/// A label, with any value or with this one: `KEY` or `KEY=VALUE`. A label with `=` in its name cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// The label's name.
    pub key: String,
    /// Its value, if that matters.
    pub value: Option<String>,
}

/// A text that is no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be KEY or KEY=VALUE")]
pub struct InvalidLabel;

impl FromStr for LabelFilter {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        if key.is_empty() {
            return Err(InvalidLabel);
        }
        Ok(Self { key: key.to_owned(), value: value.map(str::to_owned) })
    }
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

/// Reads a moment in RFC 3339, or a day, which stands for its beginning in UTC.
///
/// Moments are whole milliseconds here, and a part of one counts as a whole: what is of no earlier millisecond is of no
/// earlier moment, and what is of an earlier one is earlier.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let is_day = text.len() == "2026-01-31".len() && !text.contains(['T', 't']);
    let parsed = if is_day {
        OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339)
    } else {
        OffsetDateTime::parse(text, &Rfc3339)
    };
    let nanos = parsed.map(OffsetDateTime::unix_timestamp_nanos).ok();
    let millis = nanos.and_then(|nanos| i64::try_from((nanos + NANOS - 1).div_euclid(NANOS)).ok());
    millis.map(Timestamp::from_millis).ok_or_else(|| {
        "must be a time as in 2026-01-31T13:00:00Z or 2026-01-31T14:00:00+01:00, or a day as in 2026-01-31".to_owned()
    })
}

/// Nanoseconds in a millisecond.
const NANOS: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        parse_moment(text).map_or_else(|_| "none".to_owned(), |moment| moment.to_string())
    }

    #[test]
    fn a_moment_is_read_with_its_offset_and_a_day_from_its_beginning() {
        assert_eq!(shown("2026-01-31T13:00:00Z"), "2026-01-31T13:00:00.000Z");
        assert_eq!(shown("2026-01-31T13:00:00.25+05:30"), "2026-01-31T07:30:00.250Z");
        assert_eq!(shown("2025-12-31T23:30:00-01:00"), "2026-01-01T00:30:00.000Z");
        assert_eq!(shown("2024-02-29"), "2024-02-29T00:00:00.000Z");
        assert_eq!(parse_moment("1969-12-31T23:59:59Z"), Ok(Timestamp::from_millis(-1000)));
        // As a task's own times are shown.
        assert_eq!(parse_moment("2023-11-14T22:13:20.123Z"), Ok(Timestamp::from_millis(1_700_000_000_123)));
    }

    #[test]
    fn a_part_of_a_millisecond_counts_as_a_whole() {
        assert_eq!(shown("2026-01-31T13:00:00.0001Z"), "2026-01-31T13:00:00.001Z");
        assert_eq!(shown("2026-01-31T13:00:00.001000Z"), "2026-01-31T13:00:00.001Z");
        assert_eq!(parse_moment("1969-12-31T23:59:59.9991Z"), Ok(Timestamp::from_millis(0)));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "now",
            "2026",
            "2026-01",
            "2026-1-31",
            "2026-02-30",
            "2026-01-31T",
            "2026-01-31T13:00",
            "2026-13-01",
            "2026-01-31T13:00:00",
            "2026-01-31T25:00:00Z",
            "2026-01-31T13:00:00 01:00",
            "+2026-01-31",
            "31.01.2026",
            "1700000000",
            "2026-01-31 ",
            "20260131T130000Z",
            "２０２６-01",
        ] {
            assert_eq!(shown(text), "none", "{text:?}");
        }
    }

    #[test]
    fn a_label_is_a_name_or_a_name_with_its_value() {
        let label =
            |key: &str, value: Option<&str>| Ok(LabelFilter { key: key.to_owned(), value: value.map(str::to_owned) });
        assert_eq!("team".parse(), label("team", None));
        assert_eq!("team=".parse(), label("team", Some("")));
        assert_eq!("a b=c=d ".parse(), label("a b", Some("c=d ")));
        for text in ["", "=", "=x"] {
            assert_eq!(text.parse::<LabelFilter>(), Err(InvalidLabel));
        }
        for text in ["team", "team=", "a=b=c"] {
            assert_eq!(text.parse::<LabelFilter>().unwrap().to_string(), text);
        }
    }
}
