//! When exports are due.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::Cron;

use crate::domain::Timestamp;

/// Set times, in the syntax of cron: minute, hour, day, month, weekday, in UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(Cron);

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cron: Cron = text
            .trim()
            .parse()
            .map_err(|error| format!("is no cron expression ({error}); as in `17 3 * * *`, in UTC"))?;
        // A day that no month has is none.
        let schedule = Self(cron);
        schedule.next_after(Timestamp::from_millis(0)).map(|_| schedule).ok_or_else(|| "is never due".to_owned())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.pattern)
    }
}

impl Schedule {
    /// The last time that was due, `now` at the latest.
    pub fn last_until(&self, now: Timestamp) -> Option<Timestamp> {
        let found = self.0.find_previous_occurrence(&moment(now)?, true).ok()?;
        Some(Timestamp::from_millis(found.timestamp_millis()))
    }

    /// The next time that will be due.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let found = self.0.find_next_occurrence(&moment(now)?, false).ok()?;
        Some(Timestamp::from_millis(found.timestamp_millis()))
    }
}

fn moment(at: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(at.millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::parse_moment;

    fn at(text: &str) -> Timestamp {
        parse_moment(text).unwrap()
    }

    #[test]
    fn times_are_those_of_cron_in_utc() {
        let nightly: Schedule = "17 3 * * *".parse().unwrap();
        assert_eq!(nightly.last_until(at("2026-03-01T12:00:00Z")), Some(at("2026-03-01T03:17:00Z")));
        assert_eq!(nightly.last_until(at("2026-03-01T03:17:00Z")), Some(at("2026-03-01T03:17:00Z")));
        assert_eq!(nightly.last_until(at("2026-03-01T03:16:59.999Z")), Some(at("2026-02-28T03:17:00Z")));
        assert_eq!(nightly.next_after(at("2026-03-01T03:17:00Z")), Some(at("2026-03-02T03:17:00Z")));
        let mondays: Schedule = "*/30 9-10 * * MON".parse().unwrap();
        assert_eq!(mondays.next_after(at("2026-11-29")), Some(at("2026-11-30T09:00:00Z")));
        assert_eq!(
            "@daily".parse::<Schedule>().unwrap().next_after(at("2026-11-29T01:00:00Z")),
            Some(at("2026-11-30"))
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["", "soon", "61 * * * *", "* * *", "0 0 31 2 *"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
