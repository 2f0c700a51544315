//! Where an observation first differs from the one on record.
//!
//! Compared is the content: the values of all members, in whatever order and with whatever escapes; numbers by their text.
//! Not compared: of a `start`, the `models` and the task, except for its `instruction` (a task that replays another has
//! a `replay`, perhaps a `task_id`, a workspace of its own); of a tool's result, `duration_ms`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::value::RawValue;

use crate::domain::Json;

/// What changes from run to run, whatever happened.
const TIMES: &[&str] = &["/result/duration_ms"];

/// How much of a value is shown, in characters, and how much of a text that is the same stands before.
const SHOWN: usize = 80;
const BEFORE: usize = 20;

/// The first place where two values differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// RFC 6901.
    pointer: String,
    recorded: Option<String>,
    present: Option<String>,
}

/// The first place where `present` is not what was `recorded`.
pub(super) fn first_difference(recorded: &Json, present: &Json) -> Option<Difference> {
    if recorded == present {
        return None;
    }
    match (members(recorded.as_str()), members(present.as_str())) {
        (Some(was), Some(is)) if is_start(&was) && is_start(&is) => {
            optional("/task/instruction", instruction(&was), instruction(&is))
        }
        _ => differ("", recorded.as_str(), present.as_str()),
    }
}

fn is_start(payload: &Members<'_>) -> bool {
    payload.get("event").is_some_and(|event| event.get() == "\"start\"")
}

fn instruction<'a>(payload: &Members<'a>) -> Option<&'a str> {
    let task = members(payload.get("task")?.get())?;
    Some(task.get("instruction")?.get())
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The members of an object; of one with a name that is no text (a lone surrogate), none.
fn members(text: &str) -> Option<Members<'_>> {
    serde_json::from_str(text).ok()
}

fn optional(pointer: &str, was: Option<&str>, is: Option<&str>) -> Option<Difference> {
    match (was, is) {
        (None, None) => None,
        (Some(was), Some(is)) => differ(pointer, was, is),
        (was, is) => Some(Difference::between(pointer, was, is)),
    }
}

/// No deeper than both go, and no payload goes deep.
fn differ(pointer: &str, was: &str, is: &str) -> Option<Difference> {
    if was == is || TIMES.contains(&pointer) {
        return None;
    }
    if let (Some(was), Some(is)) = (members(was), members(is)) {
        let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        return names.into_iter().find_map(|name| {
            let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            let value = |members: &Members<'_>| members.get(name).map(|value| value.get().to_owned());
            optional(&pointer, value(&was).as_deref(), value(&is).as_deref())
        });
    }
    let items = |text| serde_json::from_str::<Vec<&RawValue>>(text).ok();
    if let (Some(was), Some(is)) = (items(was), items(is)) {
        return (0..was.len().max(is.len())).find_map(|at| {
            let value = |items: &[&RawValue]| items.get(at).map(|value| value.get().to_owned());
            optional(&format!("{pointer}/{at}"), value(&was).as_deref(), value(&is).as_deref())
        });
    }
    match (serde_json::from_str::<String>(was), serde_json::from_str::<String>(is)) {
        (Ok(first), Ok(second)) if first == second => None,
        _ => Some(Difference::between(pointer, Some(was), Some(is))),
    }
}

impl Difference {
    fn between(pointer: &str, was: Option<&str>, is: Option<&str>) -> Self {
        // Of two long texts the beginning tells nothing if it is the same.
        let (first, second) = (was.unwrap_or_default(), is.unwrap_or_default());
        let same = first.chars().zip(second.chars()).take_while(|(was, is)| was == is).count();
        let skipped = if same > SHOWN / 2 { same - BEFORE } else { 0 };
        let shown = |text: &str| {
            let mut rest = text.chars().skip(skipped);
            let mut shown = if skipped > 0 { "…".to_owned() } else { String::new() };
            shown.extend(rest.by_ref().take(SHOWN));
            shown.push_str(if rest.next().is_some() { "…" } else { "" });
            shown
        };
        Self { pointer: pointer.to_owned(), recorded: was.map(shown), present: is.map(shown) }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let pointer = if self.pointer.is_empty() { "the payload" } else { &self.pointer };
        write!(f, "{pointer} was {} on record and is {} now", value(&self.recorded), value(&self.present))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(recorded: &str, present: &str) -> Option<String> {
        let json = |text| Json::parse(text).unwrap();
        first_difference(&json(recorded), &json(present)).map(|difference| difference.to_string())
    }

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        let was = r#"{"event":"tool_result","result":{"stdout":"a","x/y":[1,{"~":2}]}}"#;
        let pairs = [
            (r#""a""#, r#""b""#, r#"/result/stdout was "a" on record and is "b" now"#),
            (r#"{"~":2}"#, r#"{"~":2.0}"#, "/result/x~1y/1/~0 was 2 on record and is 2.0 now"),
            (r#",{"~":2}]"#, "]", r#"/result/x~1y/1 was {"~":2} on record and is nothing now"#),
            (r#""stdout":"a","#, "", r#"/result/stdout was "a" on record and is nothing now"#),
            (r#""tool_result""#, r#""start""#, r#"/event was "tool_result" on record and is "start" now"#),
        ];
        for (part, other, expected) in pairs {
            assert_eq!(told(was, &was.replacen(part, other, 1)).as_deref(), Some(expected));
        }
        let odd = told(r#"{"\ud800":1}"#, r#"{"\ud800":2}"#);
        assert_eq!(odd.as_deref(), Some(r#"the payload was {"\ud800":1} on record and is {"\ud800":2} now"#));
        assert_eq!(told("1", "[]").as_deref(), Some("the payload was 1 on record and is [] now"));
    }

    #[test]
    fn order_escapes_and_times_are_no_difference() {
        let was = r#"{"event":"tool_result","result":{"stdout":"é\n","duration_ms":3}}"#;
        assert_eq!(told(was, was), None);
        assert_eq!(told(was, r#"{"result":{"duration_ms":99,"stdout":"\u00e9\u000a"},"event":"tool_result"}"#), None);
    }

    #[test]
    fn of_a_start_the_instruction_counts() {
        let start = |rest: &str| format!(r#"{{"event":"start",{rest}}}"#);
        let was = start(r#""task":{"instruction":"x","script":[]},"models":{"finetuned":"m"}"#);
        assert_eq!(told(&was, &start(r#""task":{"task_id":"b","instruction":"x","replay":"a"}"#)), None);
        let other = told(&was, &start(r#""task":{"instruction":"y"}"#)).unwrap();
        assert_eq!(other, r#"/task/instruction was "x" on record and is "y" now"#);
    }

    #[test]
    fn of_long_texts_the_place_is_shown_where_they_part() {
        let text = |end: &str| format!(r#"{{"event":"e","s":"{}{end}"}}"#, "é".repeat(500));
        let told = told(&text("one"), &text(&"two".repeat(100))).unwrap();
        assert!(told.starts_with("/s was …é"), "{told}");
        assert!(told.contains("one\" on record") && told.ends_with("… now"), "{told}");
        assert!(told.chars().count() < 300, "{told}");
    }
}
