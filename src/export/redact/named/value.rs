//! Where the value of a name stands.

use super::super::span::marker;
use super::judge::Form;
use super::{SCHEMES, in_name};

/// So many spaces may stand around a sign such as `=`.
const SPACES: usize = 32;

/// So long may a type be that stands between a name and its value: `password: Option<&str> = "…"`.
const TYPE: usize = 80;

/// The signs between a name and its value, longest first.
const SIGNS: [&[u8]; 9] = [b"===", b"!==", b":=", b"=>", b"==", b"!=", b"=", b":", b"%3D"];

/// The value of the name from `first` to `last`: where it starts and ends, and its form.
pub(super) fn after(bytes: &[u8], first: usize, last: usize, run: &mut Run) -> Option<(usize, usize, Form)> {
    if first > 0 && bytes[first - 1] == b'<' && bytes.get(last) == Some(&b'>') {
        let length = bytes[last + 1..].iter().position(|byte| *byte == b'<')?;
        return Some((last + 1, last + 1 + length, Form::Quoted));
    }
    let option = bytes[first] == b'-';
    let closed = past_closing(bytes, last);
    let sign = past(bytes, closed, b" \t", SPACES);
    let Some(length) = SIGNS.iter().find(|sign_| bytes[sign..].starts_with(sign_)).map(|sign| sign.len()) else {
        return without_sign(bytes, option, last, closed, sign, run);
    };
    let behind = sign + length;
    if bytes[sign..].starts_with(b"::") || bytes[sign..].starts_with(b"=~") {
        return None;
    }
    // In JSON the value may stand on the next line.
    let blank: &[u8] = if closed > last { b" \t\r\n" } else { b" \t" };
    let at = past(bytes, behind, blank, SPACES * 8);
    if let Some(quoted) = quoted(bytes, at) {
        return Some(quoted);
    }
    if bytes[sign] == b':'
        && scheme(bytes, at).is_none()
        && let Some(quoted) = typed(bytes, at)
    {
        return Some(quoted);
    }
    let assigned = matches!(&bytes[sign..behind], b"=" | b"%3D") && sign == last && at == behind;
    let (start, end, form) = bare(bytes, at, assigned, &bytes[first..last], run)?;
    // What is compared without quotes is another variable.
    let compared = bytes[sign] == b'!' || bytes[sign..behind].ends_with(b"==");
    Some((start, end, if compared { Form::Bare } else { form }))
}

/// The string that the name from `first` is compared with, where it stands before it: `"…" == password`.
pub(super) fn before(bytes: &[u8], first: usize) -> Option<(usize, usize, Form)> {
    let back = |at: usize, most: usize, is: fn(&u8) -> bool| {
        at - bytes[..at].iter().rev().take(most).take_while(|byte| is(byte)).count()
    };
    let path = back(first, 64, |byte| in_name(*byte) || *byte == b'.');
    let sign = back(path, 8, |byte| *byte == b' ');
    let string = back(sign, 3, |byte| matches!(byte, b'=' | b'!'));
    let close = back(string, 8, |byte| *byte == b' ').checked_sub(1)?;
    let quote = bytes[close];
    if sign - string < 2 || !matches!(quote, b'"' | b'\'' | b'`') {
        return None;
    }
    let start = back(close, 256, |byte| !matches!(byte, b'"' | b'\'' | b'`' | b'\n'));
    let end = back(close, 7, |byte| *byte == b'\\').max(start);
    (start > 0 && bytes[start - 1] == quote).then_some((start, end, Form::Quoted))
}

/// A value without a sign: an option's next word, an option in a list of words, or `name "value";`.
fn without_sign(
    bytes: &[u8],
    option: bool,
    last: usize,
    closed: usize,
    at: usize,
    run: &mut Run,
) -> Option<(usize, usize, Form)> {
    // Lists of variables give the name first: `name: DB_PASSWORD`, `value: …`.
    let next = past(bytes, closed, b" \t\r\n,", SPACES * 8);
    let next = next + usize::from(next > closed && matches!(bytes.get(next), Some(b'"' | b'\'')));
    if next > closed && bytes[next..].starts_with(b"value") {
        let colon = past(bytes, next + "value".len(), b"\"'", 1);
        if bytes.get(colon) == Some(&b':') {
            let at = past(bytes, colon + 1, b" \t", SPACES);
            return quoted(bytes, at).or_else(|| bare(bytes, at, false, b"-", run));
        }
    }
    if option && closed > last && bytes.get(at) == Some(&b',') {
        let (start, end, _) = quoted(bytes, past(bytes, at + 1, b" \t\r\n", SPACES * 8))?;
        return Some((start, end, Form::Plain));
    }
    if at == closed || closed > last {
        return None;
    }
    if let Some((start, end, form)) = quoted(bytes, at) {
        let behind = &bytes[end + bytes[end..].iter().take_while(|byte| **byte == b'\\').count()..];
        return (option || behind.get(1) == Some(&b';')).then_some((
            start,
            end,
            if option { Form::Plain } else { form },
        ));
    }
    let found = option.then(|| bare(bytes, at, true, b"-", run))??;
    (bytes[found.0] != b'-').then_some(found)
}

/// Behind what may close a name: a quote, a bracket, the mark of an optional field.
fn past_closing(bytes: &[u8], at: usize) -> usize {
    let slashes = past(bytes, at, b"\\", 7);
    let quote = if matches!(bytes.get(slashes), Some(b'"' | b'\'' | b'`')) { slashes + 1 } else { at };
    match bytes.get(quote) {
        Some(b']' | b'?' | b')') if quote > at || bytes[quote] == b'?' => quote + 1,
        Some(b'[') => {
            let digits = past(bytes, quote + 1, b"0123456789", 8);
            if bytes.get(digits) == Some(&b']') { digits + 1 } else { quote }
        }
        _ => quote,
    }
}

/// The content of a string at `at`, which may have a letter of its kind before it. Its quotes may be escaped, where the text
/// is a string within a string; a string without an end is cut at the line's.
pub(super) fn quoted(bytes: &[u8], at: usize) -> Option<(usize, usize, Form)> {
    let at = match bytes.get(at..at + 3) {
        Some([b'b' | b'r' | b'u' | b'f' | b'B' | b'R' | b'U' | b'F' | b'L' | b'@', b'"' | b'\'', _]) => at + 1,
        Some([b'b' | b'r' | b'f', b'r' | b'b', b'"' | b'\'']) => at + 2,
        _ => at,
    };
    let open = past(bytes, at, b"\\", 7);
    let (level, quote) = (open - at, *bytes.get(open)?);
    if !matches!(quote, b'"' | b'\'' | b'`') {
        return None;
    }
    let start = open + 1;
    if [&b", "[..], b"):", b");", b")\n"].iter().any(|rest| bytes[start..].starts_with(rest)) {
        return None; // the string that the name stood in ends: `input('Password: ')`
    }
    if quote == b'`' && bytes[start..].iter().take_while(|byte| **byte != b'`').any(|byte| *byte == b' ') {
        return None; // a command within prose
    }
    if level == 0 && bytes[start..].starts_with(&[quote, quote]) {
        let rest = &bytes[start + 2..];
        let end = rest.windows(3).take(4096).position(|three| three == [quote; 3])?;
        return Some((start + 2, start + 2 + end, Form::Quoted));
    }
    let mut slashes = 0;
    for (offset, byte) in bytes[start..].iter().enumerate() {
        match byte {
            b'\\' => slashes += 1,
            b'\n' => return Some((start, start + offset, Form::Quoted)),
            // The quotes that close stand behind as many backslashes as those that open, those of the content behind more.
            byte if *byte == quote && slashes >= level && (slashes - level) % (2 * (level + 1)) == 0 => {
                return Some((start, start + offset - level, Form::Quoted));
            }
            byte if *byte == quote && slashes < level => {
                return Some((start, start + offset - slashes, Form::Quoted)); // the string around it ends
            }
            _ => slashes = 0,
        }
    }
    Some((start, bytes.len(), Form::Quoted))
}

/// The string behind a type and `=`, where a type is at `at`.
fn typed(bytes: &[u8], at: usize) -> Option<(usize, usize, Form)> {
    let in_type = |byte: &u8| in_name(*byte) || b":<>&'[], .*|?".contains(byte);
    let length = bytes[at..].iter().take(TYPE).take_while(|byte| in_type(byte)).count();
    (bytes.get(at + length) == Some(&b'=')).then(|| quoted(bytes, past(bytes, at + length + 1, b" ", SPACES)))?
}

/// The bare value at `at`.
fn bare(bytes: &[u8], at: usize, assigned: bool, name: &[u8], run: &mut Run) -> Option<(usize, usize, Form)> {
    let skipped = marker(&bytes[at..]).unwrap_or(0);
    let scheme = scheme(bytes, at);
    let from = scheme.map_or(at + skipped, |scheme| past(bytes, at + scheme.len(), b" ", SPACES));
    let whole_line = matches!(scheme, Some("digest" | "aws4-hmac-sha256"));
    let from = from + if scheme.is_some() { marker(&bytes[from..]).unwrap_or(0) } else { 0 };
    let mut end = run.end(bytes, from);
    while whole_line && end < bytes.len() && !matches!(bytes[end], b'\n' | b'\r' | b'\'' | b'\\') {
        end += 1;
    }
    let untrimmed = end;
    while end > from && !whole_line && matches!(bytes[end - 1], b')' | b']' | b'}' | b',' | b';' | b':' | b'.') {
        end -= 1;
    }
    if end == from {
        return None;
    }
    let behind = &bytes[untrimmed..];
    let rest = past(behind, 0, b" \t", SPACES);
    let last = end == untrimmed && matches!(behind.get(rest), None | Some(b'\n' | b'\r' | b'#' | b'\\'));
    let shell =
        matches!(behind.first(), None | Some(b'\n' | b'\r' | b' ' | b'&' | b'\\' | b'"' | b'\'' | b'|' | b';' | b'<'));
    let plain = assigned && (shell && end == untrimmed || name.iter().all(|byte| !byte.is_ascii_lowercase()));
    let form = if plain {
        Form::Plain
    } else if last {
        Form::Last
    } else {
        Form::Bare
    };
    Some((at, end, form))
}

/// The bare value that was read last: names in it that come to nothing must not have it read again.
#[derive(Debug, Default)]
pub(super) struct Run {
    start: usize,
    end: usize,
}

impl Run {
    fn end(&mut self, bytes: &[u8], from: usize) -> usize {
        if !(self.start..self.end).contains(&from) {
            let end = (from..bytes.len()).find(|at| stops(bytes, *at)).unwrap_or(bytes.len());
            *self = Self { start: from, end };
        }
        self.end
    }
}

/// The scheme of credentials that stands at `at`, with a space behind it.
fn scheme(bytes: &[u8], at: usize) -> Option<&'static str> {
    SCHEMES.into_iter().find(|scheme| {
        let word = bytes.get(at..=at + scheme.len());
        word.is_some_and(|word| word.ends_with(b" ") && word[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes()))
    })
}

/// Whether a bare value ends before `at`.
fn stops(bytes: &[u8], at: usize) -> bool {
    match bytes[at] {
        b'"' | b'\'' | b'`' | b'<' | b'>' | b'&' | b'|' => true,
        b'\\' => matches!(bytes.get(at + 1), Some(b'n' | b'r' | b't' | b'"' | b'\'' | b'\\') | None),
        // A comma may be a part of a password, unless the next pair begins behind it.
        b',' | b';' => {
            let next = past(bytes, at + 1, b" ", 1);
            let name = bytes[next..].iter().take(64).take_while(|byte| in_name(**byte)).count();
            matches!(bytes.get(at + 1), None | Some(b' ' | b'\n' | b'\r' | b'\t' | b'"' | b'\'' | b'\\'))
                || name > 0 && matches!(bytes.get(next + name), Some(b'=' | b':'))
        }
        byte => byte.is_ascii_whitespace() || byte.is_ascii_control(),
    }
}

/// Where the bytes of `some` that stand at `at`, `most` at most, end.
fn past(bytes: &[u8], at: usize, some: &[u8], most: usize) -> usize {
    at + bytes[at..].iter().take(most).take_while(|byte| some.contains(byte)).count()
}
