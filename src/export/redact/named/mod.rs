//! Values whose name says that they are secret: `password = …`, `"api_key": "…"`, `--token …`, `<password>…</password>`,
//! `machine … password …`.
//!
//! Only the value goes; its name, its quotes and what stands around them stay, so that what was a configuration file, a
//! command or a piece of code still is one.

mod judge;
mod name;
mod netrc;
mod value;

use super::rules::Kind;
use super::span::Span;
pub(super) use judge::placeholder;
use judge::{Form, secret};
pub(super) use name::STEMS;
use name::{Trust, digits, trust};

/// So far from a part of a name its ends are looked for.
const NAME: usize = 64;

/// The schemes of `Authorization` that stay when the credentials behind them go.
const SCHEMES: [&str; 8] = ["bearer", "basic", "token", "digest", "apikey", "negotiate", "aws4-hmac-sha256", "bot"];

/// What has been read of one text.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Where the last name ended: several parts of it may be told.
    name: usize,
    /// Where the last value that goes ended.
    value: usize,
    run: value::Run,
}

impl Names {
    /// The secret value of the name that a stem from `start` to `end` is a part of.
    pub(super) fn value(&mut self, text: &str, start: usize, end: usize) -> Option<Span> {
        if start < self.value || end <= self.name {
            return None;
        }
        let bytes = text.as_bytes();
        let before = bytes[..start].iter().rev().take(NAME).take_while(|byte| in_name(**byte)).count();
        let mut first = start - before;
        if before > 0 && first > 0 && bytes[first - 1] == b'\\' && matches!(bytes[first], b'n' | b'r' | b't') {
            first += 1; // the second half of an escape
        }
        let last = end + bytes[end..].iter().take(NAME).take_while(|byte| in_name(**byte) || !byte.is_ascii()).count();
        self.name = last;
        let name = text.get(first..last)?;
        let trust = trust(name)?;
        if bytes[..first].ends_with(b"${") && (bytes[last..].starts_with(b":?") || bytes[last..].starts_with(b":+")) {
            return None; // a message of the shell's, should the variable not be set
        }
        let place = value::after(bytes, first, last, &mut self.run).or_else(|| value::before(bytes, first));
        let (from, to, form) = place.or_else(|| netrc::password(bytes, first, last))?;
        let (from, to) = chosen(name, trust, &bytes[from..to], form, from)?;
        self.value = to;
        Some(Span::new(from, to, Kind::Named))
    }
}

/// The secret part of a member of a JSON object: of its decoded name and its decoded value.
pub(super) fn member(name: &str, value: &str) -> Option<Span> {
    let (start, end) = chosen(name, trust(name)?, value.as_bytes(), Form::Quoted, 0)?;
    Some(Span::new(start, end, Kind::Named))
}

/// Whether a JSON string in an array says that the one behind it is its value: `--password`, `DB_PASSWORD=`.
pub(super) fn expects(element: &str) -> bool {
    let name = element.strip_suffix('=').unwrap_or(element);
    (name.starts_with('-') || name.len() < element.len()) && name.bytes().all(in_name) && trust(name).is_some()
}

/// The secret part of the string behind such an element. One that begins with a hyphen is the next option.
pub(super) fn argument(element: &str, value: &str) -> Option<Span> {
    let trust = trust(element).filter(|_| !value.starts_with('-'))?;
    // A program gets its arguments as they are: what would be code elsewhere is none.
    let form = if trust == Trust::Strong { Form::Quoted } else { Form::Plain };
    let (start, end) = chosen(element, trust, value.as_bytes(), form, 0)?;
    Some(Span::new(start, end, Kind::Named))
}

/// Whether a number of JSON is the secret that `name` says.
pub(super) fn number(name: &str, token: &str) -> bool {
    digits(name).is_some_and(|least| token.bytes().filter(u8::is_ascii_digit).count() >= least)
}

/// Which part of `value`, which stands at `at`, goes: all of it, or what stands behind a scheme.
fn chosen(name: &str, trust: Trust, value: &[u8], form: Form, at: usize) -> Option<(usize, usize)> {
    if name.trim_start_matches('-').eq_ignore_ascii_case("pwd") && value.iter().any(|byte| matches!(byte, b'/' | b'\\'))
    {
        return None; // the working directory
    }
    for scheme in SCHEMES {
        let behind =
            value.get(scheme.len()..).filter(|_| value[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes()));
        if let Some(behind) = behind.filter(|behind| behind.starts_with(b" ")) {
            let spaces = behind.iter().take_while(|byte| **byte == b' ').count();
            let rest = &behind[spaces..];
            let from = at + scheme.len() + spaces;
            let goes =
                rest.len() >= 4 && secret(Trust::Strong, rest, if form == Form::Quoted { form } else { Form::Last });
            return goes.then_some((from, from + rest.len()));
        }
    }
    secret(trust, value, form).then_some((at, at + value.len()))
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests;
