//! Whether a value is the secret that its name says, or a place where one would stand, or code that fetches it.

use super::super::span::marker;
use super::name::{Trust, trust};

/// How a value stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// Between quotes or tags.
    Quoted,
    /// Bare, as in `NAME=value`, a query, or an option of a command: no language has a variable there.
    Plain,
    /// Bare, the last on its line.
    Last,
    /// Bare, with more behind it: prose or code as well.
    Bare,
}

/// A token has at least so many characters; shorter values of a name such as `token` are words.
const TOKEN: usize = 8;

/// What is no word by its length alone, and the least length of what looks random.
const LONG: usize = 20;

/// So much of a value is looked at.
const LOOKED_AT: usize = 512;

/// Words that stand for a value or for the lack of one.
const NO_VALUE: &[&str] = &[
    "none",
    "null",
    "nil",
    "undefined",
    "true",
    "false",
    "yes",
    "no",
    "string",
    "str",
    "text",
    "bytes",
    "bool",
    "boolean",
    "int",
    "integer",
    "number",
    "any",
    "object",
    "required",
    "optional",
    "redacted",
    "hidden",
    "masked",
    "removed",
    "usize",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "f32",
    "f64",
    "void",
    "var",
    "char",
    "self",
    "inherit",
    "varchar",
    "omitted",
    "unset",
    "empty",
    "unknown",
    "n/a",
    "…",
    "todo",
    "tbd",
    "password:",
    "include",
    "same-origin",
    "omit",
];

/// Whether `value` goes.
pub(in super::super) fn secret(trust: Trust, value: &[u8], form: Form) -> bool {
    let value = &value[..value.len().min(LOOKED_AT)];
    if placeholder(value) {
        return false;
    }
    let bare = form != Form::Quoted;
    if bare && code(value) {
        return false;
    }
    let has = |is: fn(&u8) -> bool| value.iter().any(is);
    let (spaces, digit) = (has(u8::is_ascii_whitespace), has(u8::is_ascii_digit));
    let word = value.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.' | b'-'));
    match trust {
        Trust::Strong if form == Form::Quoted || form == Form::Plain => true,
        Trust::Strong if value.iter().all(u8::is_ascii_digit) => value.len() >= 4,
        Trust::Strong if word => form == Form::Last && !names_a_secret(value),
        Trust::Strong => value.len() >= 4,
        Trust::Weak if value.len() < TOKEN || spaces || value.iter().all(u8::is_ascii_digit) => false,
        Trust::Weak => digit || form == Form::Plain && !names_a_secret(value) || !bare && value.len() >= LONG,
        Trust::Faint => {
            let charset = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-.".contains(byte));
            value.len() >= LONG && charset && digit && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
        }
    }
}

/// Whether nothing secret stands here: a mask, a variable, a form to be filled in, or what was redacted before.
pub(in super::super) fn placeholder(value: &[u8]) -> bool {
    let framed = |open: &[u8], close: &[u8]| {
        value.len() > open.len() + close.len() && value.starts_with(open) && value.ends_with(close) && {
            let inner = &value[open.len()..value.len() - close.len()];
            !inner.iter().any(|byte| close.contains(byte) || open.contains(byte))
        }
    };
    let all = |is: fn(&u8) -> bool| value.iter().all(is);
    let variable = |rest: &[u8]| {
        let upper = rest.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
        upper || rest.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_')
    };
    all(|byte| byte.is_ascii_punctuation() || byte.is_ascii_whitespace())
        || all(|byte| matches!(byte, b'x' | b'X' | b'*' | b'.' | b'-'))
        || marker(value) == Some(value.len())
        || framed(b"${", b"}")
        || framed(b"${{", b"}}")
        || framed(b"$(", b")")
        || framed(b"{{", b"}}")
        || framed(b"{", b"}")
        || framed(b"<", b">")
        || framed(b"%", b"%")
        || matches!(value, b"%s" | b"%d" | b"%v" | b"%r")
        || value.strip_prefix(b"$").is_some_and(variable)
        || (value.len() > 5 && value[..4].eq_ignore_ascii_case(b"your") && matches!(value[4], b'-' | b'_' | b' '))
        || NO_VALUE.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether a bare value is an expression of a program or a shell: a call, an index, a path of names, a reference.
fn code(value: &[u8]) -> bool {
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    let length = value.iter().take_while(|byte| name(byte)).count();
    let head = &value[..length];
    let path = head.windows(2).any(|pair| pair == b"::") || {
        head.contains(&b'.') && head.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.'))
    };
    matches!(value.first(), Some(b'(' | b'[' | b'{' | b'&' | b'|' | b'<'))
        || value.starts_with(b"$(")
        || value.starts_with(b"${")
        || length > 0 && matches!(value.get(length), Some(b'(' | b'[' | b'{' | b'<'))
        || path && length + 1 >= value.len()
}

/// Whether the value is itself a name for a secret, as in `password = user_password`.
fn names_a_secret(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|value| trust(value).is_some())
}
