//! What the rules find together, and what holds for any text.

mod json;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Found, RULES, Redactor};

fn redacted(text: &str) -> String {
    Redactor::new([]).text(text, &mut Found::default()).into_owned()
}

/// `length` characters that look random, the same each time. No token stands in this file as a whole, so that nobody who
/// scans it takes it for one.
fn random(alphabet: &str, length: usize) -> String {
    let mut state = 0x9e37_79b9_u32;
    let letters: Vec<char> = alphabet.chars().collect();
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        letters[(state >> 12) as usize % letters.len()]
    };
    (0..length).map(letter).collect()
}

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const ALNUM: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// One secret of each kind, by its rule.
fn planted() -> Vec<(&'static str, String)> {
    let (low, up, all) = (|n| random(LOWER, n), |n| random(UPPER, n), |n| random(ALNUM, n));
    let pem =
        format!("-----BEGIN RSA {0}-----\n{1}\n{1}\n{2}==\n-----END RSA {0}-----", "PRIVATE KEY", all(64), all(20));
    vec![
        ("pem", pem),
        ("aws", format!("AKIA{}", up(16))),
        ("github", format!("ghp_{}", all(36))),
        ("github", format!("github_pat_{}_{}", all(22), all(59))),
        ("gitlab", format!("glpat-{}", all(20))),
        ("slack", format!("xoxb-{}-{}-{}", "1234567890", "1234567890", all(24))),
        ("stripe", format!("sk_live_{}", all(24))),
        ("anthropic", format!("sk-ant-api03-{}", all(93))),
        ("openai", format!("sk-proj-{}T3BlbkFJ{}", all(20), all(20))),
        ("google", format!("AIza{}", all(35))),
        ("npm", format!("npm_{}", all(36))),
        ("pypi", format!("pypi-AgEIcHlwaS5vcmc{}", all(80))),
        ("huggingface", format!("hf_{}", all(34))),
        ("sendgrid", format!("SG.{}.{}", all(22), all(43))),
        ("twilio", format!("SK{}", low(32))),
        ("discord", format!("M{}.{}.{}", all(23), all(6), all(27))),
        ("telegram", format!("123456789:AA{}", all(33))),
        ("mailchimp", format!("{}-us12", low(32))),
        ("platform", format!("dop_v1_{}", all(64))),
        ("jwt", format!("eyJ{}.eyJ{}.{}", all(20), all(30), all(43))),
    ]
}

#[test]
fn each_kind_is_found_wherever_it_stands_and_under_its_name() {
    for (rule, secret) in planted() {
        for (before, after) in [("", ""), ("use ", " now"), ("x=\"", "\""), ("(", ")."), ("\\n", "\\n"), ("é", "é")] {
            let text = format!("{before}{secret}{after}");
            assert_eq!(redacted(&text), format!("{before}[REDACTED:{rule}]{after}"), "{text}");
        }
        assert!(RULES.iter().any(|known| known.name == rule));
    }
}

#[test]
fn what_only_looks_alike_stays() {
    for text in [
        "task-list-of-2024-01-01-items",
        "the risk-free rate",
        "ghp_short",
        "AKIA is a prefix",
        "some.module.with_names.of_many_characters_in_a_row",
        "eyJ.x",
        "localhost:8080",
        "12:34:56",
        "AC adapters and SKUs",
        "npm_config_registry=https://registry.npmjs.org/",
        "hf_hub_download",
        "SG.1",
        "the PRIVATE KEY of a lock",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "018f4e2c-7f1a-7c3e-9d55-0a1b2c3d4e5f",
        "1700000000:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn blocks_that_were_cut_go_too() {
    let (line, name) = (random(ALNUM, 64), "PRIVATE KEY");
    for (text, expected) in [
        (format!("a\n-----BEGIN {name}-----\n{line}\n{line}\nThen prose."), "a\n[REDACTED:pem]\nThen prose."),
        (format!("-----BEGIN {name}-----\n{line}\nabc"), "[REDACTED:pem]"),
        (
            format!(
                "-----BEGIN EC {name}-----\n{line}\nab\n[... 9 bytes left out ...]\nxyz\n{line}\nQ==\n-----END EC {name}-----\nb"
            ),
            "[REDACTED:pem]\nb",
        ),
        (format!("before\n{line}\n{line}\nab==\n-----END {name}-----\nb"), "before\n[REDACTED:pem]\nb"),
        (format!("\"-----BEGIN {name}-----\\n{line}\\n{line}\\n-----END {name}-----\\n\""), "\"[REDACTED:pem]\\n\""),
        (format!("\"-----BEGIN {name}-----\\n{line}\\n"), "\"[REDACTED:pem]\\n"),
    ] {
        assert_eq!(redacted(&text), expected, "{text}");
    }
}

#[test]
fn the_secret_beside_an_access_key_id_goes() {
    let secret = format!("{}/{}", random(ALNUM, 20), random(ALNUM, 19));
    let id = format!("AKIA{}", random(UPPER, 16));
    assert_eq!(redacted(&format!("{id},{secret}\n")), "[REDACTED:aws],[REDACTED:aws]\n");
    assert_eq!(redacted(&secret), secret);
}

#[test]
fn the_worst_texts_take_no_more_than_their_length() {
    // Each of these would take minutes if a part of it were read again for each place in it.
    let redactor = Redactor::new([]);
    for piece in [
        "eyJ",
        "ghp_",
        "sk-",
        "token:",
        "password='",
        "token: \"",
        "://a:",
        "-----BEGIN PRIVATE KEY-----",
        "\\",
        "a.",
        "key_",
        "END PRIVATE KEY",
        "<password>",
        "basic ",
        "bearer",
        "12345678:",
        "PuTTY-User-Key-File-",
        "token=\\\"",
        "password: ",
        "{\"",
        "AKIA",
        "machine h login x password ",
        "login x ",
        "password ",
        "machine h login x password \\\"",
    ] {
        let mut text = piece.repeat(60_000 / piece.len());
        redactor.text(&text, &mut Found::default());
        text.insert_str(0, "password=\"");
        redactor.text(&text, &mut Found::default());
    }
    for piece in [
        "[\"--password\",",
        "{\"name\":\"password\",\"value\":",
        "{\"value\":1234,\"name\":",
        "[\"--password\",\"x\"],",
        "\"name\":\"password\",\"value\":\"x\",",
    ] {
        redactor.json(&piece.repeat(60_000 / piece.len()), &mut Found::default());
    }
}

/// Texts out of what secrets are made of, so that the rules meet each other.
fn pieces() -> impl Strategy<Value = String> {
    let tokens: Vec<String> = planted().into_iter().map(|(_, secret)| secret).collect();
    let names = [
        "password",
        "token",
        "api_key",
        "--secret",
        "Authorization",
        "<pwd>",
        "machine h ",
        "login x ",
        "password ",
        "key",
        "://u:",
        "PRIVATE KEY",
        "BEGIN ",
        "END ",
    ];
    let signs = [
        " = ", "=", ": ", "\"", "'", "\\\"", "\\n", "\n", " ", ",", ";", "]", ")", "@", "é", ".", "-", "Bearer ",
        "Basic ", "${x}", "<",
    ];
    let piece = prop_oneof![
        2 => prop::sample::select(tokens),
        3 => prop::sample::select(names.map(str::to_owned).to_vec()),
        6 => prop::sample::select(signs.map(str::to_owned).to_vec()),
        2 => "[a-zA-Z0-9]{1,12}",
        1 => any::<String>(),
        1 => prop::sample::select(RULES.iter().map(|rule| format!("[REDACTED:{}]", rule.name)).collect::<Vec<_>>()),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn values() -> impl Strategy<Value = Value> {
    let option = prop::sample::select(vec!["--password", "DB_PASSWORD=", "--token", "DB_PASSWORD", "swordfish"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        Just(Value::from(31_415_926)),
        option.prop_map(Value::from),
        pieces().prop_map(Value::from),
    ];
    let name = prop::sample::select(vec!["password", "name", "value", "Key"]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop_oneof![name.clone(), pieces()], inner.clone(), 0..4)
                .prop_map(|map| map.into_iter().collect::<Value>()),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

/// Whether `after` is what redaction may make of `before`: strings stay strings, a number is as it was or gone as a whole.
fn is_alike(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(before, after)| is_alike(before, after))
        }
        (Value::Object(before), Value::Object(after)) => {
            // Two names may become one, and then their values do.
            !before.keys().eq(after.keys())
                || before.values().zip(after.values()).all(|(before, after)| is_alike(before, after))
        }
        (Value::String(_), Value::String(_)) => true,
        (Value::Number(_), Value::String(marker)) => marker == "[REDACTED:named]" || marker == "[REDACTED:own]",
        _ => before == after,
    }
}

proptest! {
    #[test]
    fn any_text_can_be_redacted_and_a_second_time_nothing_is_found(text in pieces()) {
        let once = redacted(&text);
        prop_assert_eq!(redacted(&once), once);
    }

    #[test]
    fn any_string_at_all(text in any::<String>()) {
        redacted(&text);
    }

    #[test]
    fn json_stays_json_of_the_same_shape(value in values()) {
        let text = value.to_string();
        let mut found = Found::default();
        let redactor = Redactor::new(["31415926".to_owned()]);
        let once = redactor.json(&text, &mut found).into_owned();
        let parsed: Value = serde_json::from_str(&once).unwrap();
        prop_assert!(is_alike(&value, &parsed), "{}", once);
        prop_assert_eq!(found == Found::default(), once == text);
        let mut again = Found::default();
        prop_assert_eq!(redactor.json(&once, &mut again), once.as_str());
        prop_assert_eq!(again, Found::default());
    }

    #[test]
    fn nothing_that_was_planted_is_left(before in "[ a-z\"\\\\\n(,;]{0,6}", after in "[ \"\\\\\n),;]{1,4}", which in 0..20_usize) {
        let secret = &planted()[which].1;
        let text = json!({"a": format!("{before} {secret}{after}"), "b": [json!({"c": secret}).to_string()]}).to_string();
        let out = Redactor::new([]).json(&text, &mut Found::default()).into_owned();
        let longest = secret.lines().max_by_key(|line| line.len()).unwrap();
        prop_assert!(!out.contains(longest), "{}", out);
    }
}
