//! The words of an answer: text in parts, thoughts that are not meant for anybody, tool calls written into them.

use crate::brain::fields::{Fields, list, string};

/// How models write a tool call whose server does not know the form (Hermes, Qwen).
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

/// Takes the tool calls out of the words; each is the text between its marks. One that merely speaks of the mark stays.
pub(super) fn calls_within(text: &str) -> (String, Vec<String>) {
    let (open, close) = CALL;
    let (mut words, mut calls, mut rest) = (String::new(), Vec::new(), text);
    while let Some(at) = rest.find(open) {
        let inside = &rest[at + open.len()..];
        if !inside.trim_start().starts_with('{') {
            let past = at + open.len();
            words.push_str(&rest[..past]);
            rest = &rest[past..];
            continue;
        }
        words.push_str(&rest[..at]);
        // The last one may have no end: the model's own stop word was taken for the end of the answer.
        let (call, behind) = inside.split_once(close).unwrap_or((inside, ""));
        calls.push(call.trim().to_owned());
        rest = behind;
    }
    words.push_str(rest);
    (words.trim().to_owned(), calls)
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
            ("I look.", vec![r#"{"name":"a"}"#.to_owned(), r#"{"name":"b"}"#.to_owned()])
        );
        let (words, calls) = calls_within("I removed the <tool_call> mark");
        assert_eq!((words.as_str(), calls.len()), ("I removed the <tool_call> mark", 0));
    }
}
