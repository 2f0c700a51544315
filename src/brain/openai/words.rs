//! The words of an answer: text in parts, thoughts that are not meant for anybody, tool calls written into them.

use super::tags::{self, Tagged};
use crate::brain::fields::{Fields, list, string};

/// How models write a tool call whose server does not know the form (Hermes, Qwen). Inside stands an object, or what
/// `tags` reads.
const CALL: (&str, &str) = ("<tool_call>", "</tool_call>");

/// How models think aloud.
const THOUGHT: (&str, &str) = ("<think>", "</think>");

/// The text of a `content`: a string, or a list of parts. And a refusal, if a part is one.
pub(super) fn content(raw: Option<&str>) -> (String, Option<String>) {
    let Some(raw) = raw else { return (String::new(), None) };
    if let Some(text) = string(raw) {
        return (text, None);
    }
    let (mut words, mut refusal) = (String::new(), None);
    // A single part without its list has been seen, too.
    for part in list(raw).unwrap_or_else(|| vec![raw]) {
        match (string(part), Fields::of(part)) {
            (Some(text), _) => words.push_str(&text),
            (None, Some(part)) => {
                refusal = refusal.or(part.string("refusal"));
                // Parts of other types (thinking, …) have no text of their own.
                words.push_str(&part.string("text").unwrap_or_default());
            }
            (None, None) => {}
        }
    }
    (words, refusal)
}

/// Without what the model thought before it answered. Some templates open the thought themselves, so that only its end
/// is in the text; a thought without an end is no answer.
pub(super) fn without_thoughts(text: &str) -> String {
    let text = text.trim();
    let (open, close) = THOUGHT;
    let rest = match (text.starts_with(open), text.find(close)) {
        (true, None) => "",
        (true, Some(at)) => &text[at + close.len()..],
        (false, Some(at)) if !text[..at].contains(open) => &text[at + close.len()..],
        (false, _) => text,
    };
    rest.trim().to_owned()
}

/// A call in the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The text between the marks, which should be an object.
    Object(String),
    Tagged(Tagged),
}

/// Takes the tool calls out of the words. One that merely speaks of a mark stays.
pub(super) fn calls_within(text: &str) -> (String, Vec<Written>) {
    let (mut words, mut calls, mut rest) = (String::new(), Vec::new(), text);
    while let Some(at) = rest.find('<') {
        words.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((call, behind)) = call(rest, &words) {
            calls.push(call);
            rest = behind;
        } else {
            words.push('<');
            rest = &rest[1..];
        }
    }
    words.push_str(rest);
    (words.trim().to_owned(), calls)
}

/// The call at the beginning of `text`, and what stands behind it.
fn call<'a>(text: &'a str, before: &str) -> Option<(Written, &'a str)> {
    let (open, close) = CALL;
    let Some(inside) = text.strip_prefix(open) else {
        // Some leave the outer mark out. In the midst of a line it is what the words are about.
        let line = before.trim_end_matches([' ', '\t']);
        let begins = line.is_empty() || line.ends_with('\n');
        let (call, behind) = begins.then(|| tags::read(text)).flatten()?;
        // Some leave only the one at the beginning out.
        return Some((Written::Tagged(call), behind.trim_start().strip_prefix(close).unwrap_or(behind)));
    };
    if let Some((call, behind)) = tags::read(inside.trim_start()) {
        return Some((Written::Tagged(call), behind.trim_start().strip_prefix(close).unwrap_or(behind)));
    }
    inside.trim_start().starts_with('{').then_some(())?;
    // The last one may have no end: the model's own stop word was taken for the end of the answer.
    let (call, behind) = inside.split_once(close).unwrap_or((inside, ""));
    Some((Written::Object(call.trim().to_owned()), behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_text_in_every_form() {
        for (raw, expected) in [
            (r#""x""#, "x"),
            ("[]", ""),
            (r#"["a","b"]"#, "ab"),
            (r#"[{"type":"text","text":"a"},{"type":"thinking","thinking":[{"text":"no"}]},{"text":"b"}]"#, "ab"),
            (r#"{"type":"text","text":"a"}"#, "a"),
            ("7", ""),
            (r#"[{"type":"text","text":null},null,3]"#, ""),
        ] {
            assert_eq!(content(Some(raw)).0, expected, "{raw}");
        }
        assert_eq!(content(None), (String::new(), None));
        assert_eq!(content(Some(r#"[{"type":"refusal","refusal":"no"}]"#)).1.unwrap(), "no");
    }

    #[test]
    fn thoughts_are_kept_out() {
        for (text, expected) in [
            ("<think>a</think>\n\nb", "b"),
            ("a</think>b", "b"),
            ("<think>never ends", ""),
            ("no thoughts", "no thoughts"),
            ("the tag <think>x</think> is for thoughts", "the tag <think>x</think> is for thoughts"),
        ] {
            assert_eq!(without_thoughts(text), expected, "{text}");
        }
    }

    #[test]
    fn calls_written_into_the_words_are_found() {
        let (words, calls) =
            calls_within("I look.\n<tool_call>\n{\"name\":\"a\"}\n</tool_call><tool_call>{\"name\":\"b\"}");
        assert_eq!(
            (words.as_str(), calls),
            ("I look.", [r#"{"name":"a"}"#, r#"{"name":"b"}"#].map(|call| Written::Object(call.to_owned())).to_vec())
        );
        let (words, calls) = calls_within("I removed the <tool_call> mark");
        assert_eq!((words.as_str(), calls.len()), ("I removed the <tool_call> mark", 0));
    }

    #[test]
    fn calls_in_tags_are_found_with_and_without_the_mark_around_them() {
        let one = "<function=a>\n<parameter=k>\nv\n</parameter>\n</function>";
        for (text, words, count) in [
            (format!("I look.\n<tool_call>\n{one}\n</tool_call>"), "I look.", 1),
            (format!("I look.\n\n{one}\n</tool_call>\n{one}"), "I look.", 2),
            (one.to_owned(), "", 1),
            (format!("<tool_call>{one}</tool_call><tool_call>{{\"name\":\"b\"}}</tool_call>"), "", 2),
            ("I read `<function=a><parameter=k>v</parameter></function>`".to_owned(), "", 0),
            ("a < b, <function=a> and <".to_owned(), "a < b, <function=a> and <", 0),
        ] {
            let (left, calls) = calls_within(&text);
            assert_eq!((left.as_str(), calls.len()), (if count == 0 { &text } else { words }, count), "{text}");
        }
    }

    #[test]
    fn no_number_of_marks_takes_more_than_a_moment() {
        for piece in ["<tool_call>", "\n<function=a>", "<tool_call> <function=a>\n", "<", "\n<function=a></function>"] {
            let text = piece.repeat(1_000_000 / piece.len());
            assert!(calls_within(&text).1.len() * 10 < text.len());
        }
        let values = "</parameter>".repeat(80_000);
        assert_eq!(calls_within(&format!("<function=a><parameter=a>{values}")).1.len(), 1);
    }
}
