//! A line of a recorded JSONL.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::shortened;
use crate::brain::fields::{Fields, object};
use crate::domain::Json;

/// The largest record, in bytes; each iteration reads as far as its line.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What replaying needs of a line.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) agent_input: Json,
    /// The reply as it came, but for the tokens it had used: none are used now.
    pub(super) mcp_reply: Option<Json>,
}

impl Recorded {
    /// Reads a line that is to be the record's iteration `number`.
    pub(super) fn parse(line: &str, number: u32) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            iteration: Option<u32>,
            #[serde(borrow)]
            agent_input: &'a RawValue,
            // Not an option: a line that says nothing of a reply is none of a record.
            #[serde(borrow)]
            mcp_reply: &'a RawValue,
        }
        let not_one = |error: &dyn std::fmt::Display| format!("is no line of a record: {error}");
        let wire: Wire<'_> = serde_json::from_str(line).map_err(|error| not_one(&error))?;
        if wire.iteration.is_some_and(|iteration| iteration != number) {
            return Err(not_one(&format!("it does not bear the iteration {number}")));
        }
        let mcp_reply = match wire.mcp_reply.get() {
            "null" => None,
            text => {
                let reply = Json::parse(text).map_err(|error| not_one(&error))?;
                Some(without_usage(&reply).map_err(|error| not_one(&error))?)
            }
        };
        // It may go deeper than a reply: what was posted stands inside it.
        let agent_input = Json::reread(wire.agent_input.get()).map_err(|error| not_one(&error))?;
        Ok(Self { agent_input, mcp_reply })
    }
}

/// The text of line `number`, if the record has so many, and the record's name.
pub(super) fn line(dir: &Path, name: &str, number: u32) -> Result<(String, Option<String>), String> {
    let (file, name) = open(dir, name).map_err(|error| format!("replay {:?}: {error}", shortened(name)))?;
    for (at, line) in (1..=number).zip(BufReader::new(file.take(MAX_BYTES)).lines()) {
        let line = line.map_err(|error| format!("{name}, line {at}: cannot be read: {error}"))?;
        if at == number {
            return Ok((name, Some(line)));
        }
    }
    Ok((name, None))
}

/// The record of that name, with or without its ending; no name leads out of `dir`.
fn open(dir: &Path, name: &str) -> Result<(File, String), String> {
    let dir = Dir::open_ambient_dir(dir, ambient_authority())
        .map_err(|error| format!("the directory of records (REPLAY_DIR) cannot be opened: {error}"))?;
    for candidate in [name.to_owned(), format!("{name}.jsonl")] {
        match dir.metadata(&candidate) {
            Ok(metadata) if metadata.is_file() => {
                let file = regular(&dir, &candidate).map_err(|error| error.to_string())?;
                return Ok((file, candidate));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("there is no such record in REPLAY_DIR".to_owned())
}

/// Opens what was a file a moment ago; what has taken its place must not block.
fn regular(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = dir.open_with(name, options.read(true).custom_flags(flags))?.into_std();
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("is not an ordinary file"));
    }
    if metadata.len() > MAX_BYTES {
        return Err(io::Error::other(format!("is larger than {MAX_BYTES} bytes, the most that is replayed")));
    }
    Ok(file)
}

/// The reply without its members called `usage`; the value of every other one keeps its text.
fn without_usage(reply: &Json) -> Result<Json, String> {
    let Some(Fields(mut members)) = Fields::of(reply.as_str()) else { return Ok(reply.clone()) };
    let count = members.len();
    members.retain(|(name, _)| name != "usage");
    if members.len() == count {
        return Ok(reply.clone());
    }
    let kept = members.iter().map(|(name, raw)| (name.as_str(), raw.get()));
    Json::reread(&object(kept)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_keeps_its_text_but_for_the_usage() {
        let reply = |text: &str| {
            let line = format!(r#"{{"iteration":1,"agent_input":{{}},"mcp_reply":{text},"at":"x"}}"#);
            Recorded::parse(&line, 1).unwrap().mcp_reply.map(|json| json.to_string())
        };
        let text = r#"{"\u0065vent":"finish","n":[1e-7,{"usage":1}],"s":"a,\"}\\"}"#;
        assert_eq!(reply(text).as_deref(), Some(text));
        let used = r#"{"usage":{"a":[1,2]},"event":"finish","u\u0073age":null,"n":0.10}"#;
        assert_eq!(reply(used).as_deref(), Some(r#"{"event":"finish","n":0.10}"#));
        assert_eq!(reply(r#"{"usage":1}"#).as_deref(), Some("{}"));
        assert_eq!(reply("[1]").as_deref(), Some("[1]"));
        assert_eq!(reply("null"), None);
        let deep = format!(r#"{{"agent_input":{}1{},"mcp_reply":{{}}}}"#, "[".repeat(1000), "]".repeat(1000));
        assert!(Recorded::parse(&deep, 1).is_ok());
    }

    #[test]
    fn what_is_no_line_of_a_record_says_why() {
        let error = |text: &str| Recorded::parse(text, 2).unwrap_err();
        assert!(error("x").starts_with("is no line of a record: "));
        assert!(error(r#"{"iteration":2,"agent_input":{}}"#).contains("mcp_reply"));
        assert!(error(r#"{"iteration":3,"agent_input":{},"mcp_reply":{}}"#).contains("iteration 2"));
    }

    #[test]
    fn a_record_is_found_by_its_name_and_no_name_leads_out() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("records");
        std::fs::create_dir_all(dir.join("below/deep.jsonl")).unwrap();
        std::fs::write(home.path().join("secret.jsonl"), "secret\n").unwrap();
        std::fs::write(dir.join("a.jsonl"), "one\r\ntwo\nthree").unwrap();
        std::fs::write(dir.join("below/b"), "b\n").unwrap();
        std::os::unix::fs::symlink("../secret.jsonl", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("a.jsonl", dir.join("inner")).unwrap();
        let found = |name: &str, number| line(&dir, name, number);
        assert_eq!(found("a", 1).unwrap(), ("a.jsonl".into(), Some("one".into())));
        assert_eq!(found("a.jsonl", 3).unwrap().1.as_deref(), Some("three"));
        assert_eq!(found("a", 4).unwrap().1, None);
        assert_eq!(found("a", 9).unwrap().1, None);
        std::fs::write(dir.join("binary"), b"one\n\xff\nthree\n").unwrap();
        assert_eq!(found("binary", 1).unwrap().1.as_deref(), Some("one"));
        assert!(found("binary", 3).unwrap_err().starts_with("binary, line 2: cannot be read"));
        assert_eq!(found("below/b", 1).unwrap().1.as_deref(), Some("b"));
        assert_eq!(found("inner", 2).unwrap().1.as_deref(), Some("two"));
        let absolute = home.path().join("secret");
        for name in ["../secret", "../secret.jsonl", "below/../../secret", "link", absolute.to_str().unwrap()] {
            let error = found(name, 1).unwrap_err();
            assert!(error.contains("outside"), "{error}");
        }
        for name in ["", "nothing", "below/deep.jsonl", "below", "a/../../records/x"] {
            assert!(found(name, 1).is_err(), "{name}");
        }
        let large = File::create(dir.join("large")).unwrap();
        large.set_len(MAX_BYTES + 1).unwrap();
        assert!(found("large", 1).unwrap_err().contains("larger than"));
    }

    #[test]
    fn a_fifo_is_no_record_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(line(dir.path(), "pipe", 1).unwrap_err().contains("no such record"));
    }
}
