//! Whatever was said and done, it comes out as it went in.

use serde_json::Value;

use crate::check::{export, node};
use crate::common::Home;
use crate::directory::Exported;
use crate::world::{End, FIRST, Story, tell};

/// Enough that each odd piece stands in each place some times.
const STORIES: usize = 150;

/// The same stories each time: a failure can be seen again.
const SEED: u64 = 7;

/// What texts are made of: what escapes, ends lines, looks like markup of some template, or is rare. U+FEFF is not among them:
/// in the expressions of JavaScript, and there alone, it is white space, so that tokenizers written in it cut beside it.
const PIECES: &[&str] = &[
    "word",
    " ",
    "\n",
    "\r\n",
    "\t",
    "\"",
    "\\",
    "\\n",
    "'",
    "{",
    "}",
    "{{ x }}",
    "{% y %}",
    "</s>",
    "<|im_end|>",
    "<|endoftext|>",
    "[INST]",
    "é",
    "e\u{301}",
    "😀",
    "👩‍👩‍👧",
    "ключ",
    "鍵",
    "\u{2028}",
    "\u{0}",
    "\u{1b}[0m",
    "\u{fffd}",
    "\u{10ffff}",
    "0",
    "-",
    ",",
    ":",
    "null",
    "%s",
    "$HOME",
    "`",
    "#",
    "\u{200b}",
];

/// Numbers as people write them; not all readers can hold them.
const NUMBERS: &[&str] =
    &["0", "-1", "1e3", "1E-7", "0.1", "-0.0", "123456789012345678", "1.50", "18446744073709551615", "2.5e-300"];

fn text(random: &mut fastrand::Rng) -> String {
    (0..random.usize(1..12)).map(|_| PIECES[random.usize(..PIECES.len())]).collect()
}

/// A JSON value as text, its strings escaped in one way or another.
fn value(random: &mut fastrand::Rng, depth: usize) -> String {
    match random.usize(..if depth < 3 { 6 } else { 4 }) {
        0 => NUMBERS[random.usize(..NUMBERS.len())].to_owned(),
        1 => ["true", "false", "null", "{}", "[]"][random.usize(..5)].to_owned(),
        2 => string(random),
        3 => Value::String(text(random)).to_string(),
        4 => format!("[{}]", (0..random.usize(..4)).map(|_| value(random, depth + 1)).collect::<Vec<_>>().join(",")),
        _ => object(random, depth + 1),
    }
}

/// A string with every character beyond ASCII escaped, as some brains write it.
fn string(random: &mut fastrand::Rng) -> String {
    let plain = Value::String(text(random)).to_string();
    let mut escaped = String::new();
    for letter in plain.chars() {
        if letter.is_ascii() {
            escaped.push(letter);
        } else {
            escaped.extend(letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}

fn object(random: &mut fastrand::Rng, depth: usize) -> String {
    let members = random.usize(..4);
    let member = |at| format!("{}:{}", Value::String(format!("{at}{}", text(random))), value(random, depth));
    format!("{{{}}}", (0..members).map(member).collect::<Vec<_>>().join(","))
}

fn stories() -> Vec<Story> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let story = |number: usize| {
        let mut story = Story::new(&format!("any-{number}"), &format!("{number}: {}", text(&mut random)));
        for _ in 0..random.usize(..5) {
            let tool = ["edit_file", "read_file", "run_command"][random.usize(..3)];
            let result = format!(r#"{{"status":"success","more":{}}}"#, value(&mut random, 0));
            story = story.turn(tool, &object(&mut random, 0), &result);
        }
        story.ends(End::Finish(Some(format!("Done: {}", text(&mut random)))))
    };
    (0..STORIES).map(story).collect()
}

#[tokio::test]
async fn any_text_any_value_and_any_order_come_out_as_they_went_in() {
    let (home, stories) = (Home::new(), stories());
    tell(&home, &stories, FIRST).await;
    let whole = ["--redact", "none", "--allow-secrets"];
    let openai = Exported::read(&export(&home, "openai", &[&["--format", "openai"], whole.as_slice()].concat()).await);
    let hf = Exported::read(&export(&home, "hf", &[&["--format", "hf"], whole.as_slice()].concat()).await);
    assert_eq!((openai.index.len(), hf.index.len()), (STORIES, STORIES));
    let mut calls = 0;
    for story in &stories {
        let row: Value = serde_json::from_str(openai.rows_of(openai.entry(&story.id))[0]).unwrap();
        let messages = row["messages"].as_array().unwrap();
        assert_eq!(messages[0]["content"], story.instruction, "seed {SEED}, {}", story.id);
        let objects = hf.rows_of(hf.entry(&story.id))[0];
        for (turn, pair) in story.turns.iter().zip(messages[1..].chunks(2)) {
            let function = &pair[0]["tool_calls"][0]["function"];
            assert_eq!(function["name"], turn.name, "seed {SEED}, {}", story.id);
            assert_eq!(function["arguments"], turn.arguments, "seed {SEED}, {}", story.id);
            assert_eq!(pair[1]["content"], turn.result, "seed {SEED}, {}", story.id);
            let call = format!(r#""function":{{"name":"{}","arguments":{}}}"#, turn.name, turn.arguments);
            assert!(objects.contains(&call), "seed {SEED}, {}: {call} is not in {objects}", story.id);
            calls += 1;
        }
        let End::Finish(Some(summary)) = &story.end else { unreachable!() };
        assert_eq!(messages.last().unwrap()["content"], *summary, "seed {SEED}, {}", story.id);
        assert_eq!(messages.len(), 2 * story.turns.len() + 2, "seed {SEED}, {}", story.id);
    }
    assert!(calls > STORIES, "{calls}");
    for format in ["openai", "hf"] {
        let directory = home.path().join(format);
        let Some(counts) = node("tokens.js", "gpt-tokenizer/encoding/o200k_base", &[&directory]).await else { return };
        assert_eq!(counts["rows"], STORIES, "seed {SEED}");
    }
}
