//! The words of an answer: text in parts, thoughts that are not meant for anybody, tool calls written into them.

use super::bounded::{First, MOST_CALLS, MOST_PARTS, first};
use super::tags::{self, Tagged};
use crate::brain::fields::{Fields, string};

/// How models write a tool call whose server does not know the form (Hermes, Qwen). Inside stands an object, or what
/// `tags` reads.
const CALL: (&str, &str) = ("<tool_call>", "</tool_call>");

/// How models think aloud.
const THOUGHT: (&str, &str) = ("<think>", "</think>");

/// What a `content` has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) words: String,
    /// In whose words the model refuses, if a part is a refusal.
    pub(super) refusal: Option<String>,
    /// It has more parts than were read.
    pub(super) is_cut: bool,
}

/// Reads a `content`: a string, or a list of parts.
pub(super) fn content(raw: Option<&str>) -> Content {
    let Some(raw) = raw else { return Content::default() };
    let mut content = Content::default();
    // A single part without its list has been seen, too.
    let parts = first(raw, MOST_PARTS, |part| {
        content.take(part);
        Some(())
    });
    match parts {
        Some(parts) => content.is_cut = parts.more,
        None => content.take(raw),
    }
    content
}

impl Content {
    fn take(&mut self, part: &str) {
        if let Some(text) = string(part) {
            self.words.push_str(&text);
        } else if let Some(part) = Fields::of(part) {
            self.refusal = self.refusal.take().or(part.string("refusal"));
            // Parts of other types (thinking, …) have no text of their own.
            self.words.push_str(&part.string("text").unwrap_or_default());
        }
    }
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

/// Takes the tool calls out of the words, and what stands behind the last one that is read. One that merely speaks of a
/// mark stays.
pub(super) fn calls_within(text: &str) -> (String, First<Written>) {
    let (mut words, mut calls, mut rest) = (String::new(), First::default(), text);
    while let Some(at) = rest.find('<') {
        words.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((call, behind)) = call(rest, &words) {
            if calls.elements.len() == MOST_CALLS {
                (calls.more, rest) = (true, "");
                break;
            }
            calls.elements.push(call);
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
            assert_eq!(content(Some(raw)).words, expected, "{raw}");
        }
        assert_eq!(content(None), Content::default());
        assert_eq!(content(Some(r#"[{"type":"refusal","refusal":"no"}]"#)).refusal.unwrap(), "no");
        let parts = |count: usize| content(Some(&format!("[{}{{\"text\":\"a\"}}]", "\"a\",".repeat(count - 1))));
        assert_eq!((parts(10_000).words.len(), parts(10_000).is_cut), (10_000, false));
        assert_eq!((parts(250_000).words.len(), parts(250_000).is_cut), (10_000, true));
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
            (words.as_str(), calls.elements),
            ("I look.", [r#"{"name":"a"}"#, r#"{"name":"b"}"#].map(|call| Written::Object(call.to_owned())).to_vec())
        );
        let (words, calls) = calls_within("I removed the <tool_call> mark");
        assert_eq!((words.as_str(), calls.elements.len()), ("I removed the <tool_call> mark", 0));
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
            assert_eq!(
                (left.as_str(), calls.elements.len()),
                (if count == 0 { &text } else { words }, count),
                "{text}"
            );
        }
    }

    #[test]
    fn no_number_of_marks_takes_more_than_a_moment() {
        for piece in ["<tool_call>", "\n<function=a>", "<tool_call> <function=a>\n", "<", "\n<function=a></function>"] {
            let text = piece.repeat(1_000_000 / piece.len());
            assert!(calls_within(&text).1.elements.len() <= MOST_CALLS);
        }
        let values = "</parameter>".repeat(80_000);
        assert_eq!(calls_within(&format!("<function=a><parameter=a>{values}")).1.elements.len(), 1);
    }

    #[test]
    fn of_hundreds_of_thousands_of_calls_the_first_are_read() {
        let text = |count: usize| format!("a{}b", "<tool_call>{}</tool_call> ".repeat(count));
        let (words, calls) = calls_within(&text(64));
        assert_eq!(
            (words.split_whitespace().collect::<String>(), calls.elements.len(), calls.more),
            ("ab".into(), 64, false)
        );
        let (words, calls) = calls_within(&text(300_000));
        assert_eq!((words.as_str(), calls.elements.len(), calls.more), ("a", 64, true));
    }
}
