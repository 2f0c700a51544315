//! Examples that are too long: left out, or with shorter observations.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::chat::Message;
use super::tokens::Tokens;
use crate::domain::Members;

/// How many characters a token has at most on average: to begin with, text is cut to so many for each token that it may have.
const CHARS_PER_TOKEN: u64 = 4;

/// How often observations are made shorter by a quarter before it is given up: after so often they are a hundredth.
const TRIES: u32 = 16;

/// Shortens what tools answered until all is within `most` tokens, `fixed` of which are taken by what does not stand in the
/// messages. The longest answers lose most: all are cut to the same length. Whether it fits now.
pub(super) fn truncate(messages: &mut [Message], fixed: u64, most: u64, tokens: &Tokens) -> bool {
    let is_result = |message: &&Message| matches!(message, Message::Result { .. });
    let said: u64 =
        fixed + messages.iter().filter(|message| !is_result(message)).map(|m| tokens.of_message(m)).sum::<u64>();
    let Some(room) = most.checked_sub(said) else { return false };
    let whole: Vec<String> = messages
        .iter()
        .filter_map(|message| if let Message::Result { content, .. } = message { Some(content.clone()) } else { None })
        .collect();
    let counts: Vec<u64> = whole.iter().map(|content| tokens.of(content)).collect();
    if counts.iter().sum::<u64>() <= room {
        return true;
    }
    let mut each = level(&counts, room) * CHARS_PER_TOKEN;
    for _ in 0..TRIES {
        let cut: Vec<String> = whole.iter().map(|content| shortened(content, each)).collect();
        if cut.iter().map(|content| tokens.of(content)).sum::<u64>() <= room {
            let results = messages.iter_mut().filter_map(|message| match message {
                Message::Result { content, .. } => Some(content),
                _ => None,
            });
            results.zip(cut).for_each(|(content, cut)| *content = cut);
            return true;
        }
        each -= each / 4;
    }
    false
}

/// The number that, as a bound for each count, has them add up to `room`.
fn level(counts: &[u64], room: u64) -> u64 {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let (mut room, mut left) = (room, sorted.len() as u64);
    for count in sorted {
        if count * left > room {
            return room / left;
        }
        (room, left) = (room - count, left - 1);
    }
    room
}

/// The result with its texts cut to `most` characters altogether, from the middle: a head and a tail say more than a half. It
/// stays the JSON object that it is, with its other members as they are.
fn shortened(content: &str, most: u64) -> String {
    let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(content) else { return content.to_owned() };
    let texts: Vec<Option<String>> = members.iter().map(|(_, raw)| serde_json::from_str(raw.get()).ok()).collect();
    let lengths: Vec<u64> = texts.iter().flatten().map(|text| text.chars().count() as u64).collect();
    let each = usize::try_from(level(&lengths, most)).unwrap_or(usize::MAX);
    let mut shortened = serde_json::Serializer::new(Vec::with_capacity(content.len()));
    let entries = members.iter().zip(&texts).map(|((name, raw), text)| {
        let cut = text.as_deref().map(|text| middle_out(text, each));
        (name, cut.map_or(Member::Whole(raw), Member::Cut))
    });
    // Writing to memory does not fail, and text is UTF-8.
    let written = shortened.collect_map(entries).ok().and_then(|()| String::from_utf8(shortened.into_inner()).ok());
    written.unwrap_or_else(|| content.to_owned())
}

#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a> {
    Whole(&'a RawValue),
    Cut(Cow<'a, str>),
}

/// A text that is no longer is left alone, in characters: a status, a hash, a line that says why. Without its middle it would say
/// nothing, and be longer for saying so.
const SHORT: usize = 100;

/// The text without its middle, if it has more than `most` characters.
fn middle_out(text: &str, most: usize) -> Cow<'_, str> {
    let count = text.chars().count();
    if count <= most.max(SHORT) {
        return Cow::Borrowed(text);
    }
    let head = most - most / 3;
    let tail = most - head;
    let at = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    format!("{}[… {} characters left out …]{}", &text[..at(head)], count - most, &text[at(count - tail)..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(content: &str) -> Message {
        Message::Result { id: "call00000".into(), name: "run_command".into(), content: content.into() }
    }

    #[test]
    fn the_longest_observations_lose_most_and_stay_json() {
        let tokens = Tokens::load().unwrap();
        let long = format!(r#"{{"status":"success","stdout":"{}"}}"#, "line é of output\\n".repeat(2000));
        let mut messages = vec![Message::User("do".into()), result(&long), result(r#"{"status":"failure"}"#)];
        assert!(truncate(&mut messages, 10, 500, &tokens));
        let total: u64 = 10 + messages.iter().map(|message| tokens.of_message(message)).sum::<u64>();
        assert!((250..=500).contains(&total), "{total}");
        let Message::Result { content, .. } = &messages[1] else { panic!() };
        let value: serde_json::Value = serde_json::from_str(content).unwrap();
        let stdout = value["stdout"].as_str().unwrap();
        assert!(stdout.starts_with("line é of output\n") && stdout.ends_with("output\n"), "{stdout}");
        assert!(stdout.contains(" characters left out …]"));
        assert_eq!(messages[2], result(r#"{"status":"failure"}"#));
    }

    #[test]
    fn what_the_model_wrote_is_never_shortened() {
        let tokens = Tokens::load().unwrap();
        let mut messages = vec![Message::User("word ".repeat(600)), result("{}")];
        let before = messages.clone();
        assert!(!truncate(&mut messages, 0, 500, &tokens));
        assert_eq!(messages, before);
    }

    #[test]
    fn a_level_is_where_all_fit() {
        assert_eq!(level(&[1, 100, 7], 20), 12);
        assert_eq!(level(&[5, 5], 20), 10);
        assert_eq!(level(&[], 20), 20);
    }
}
