//! Secrets of sixteen kinds, each in every place of a task where somebody may have written it.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::world::Story;

/// This process's own key: of no known shape.
pub const OWN: &str = "correct horse/battery+staple 7";

/// A secret and how it stands in a text.
pub struct Secret {
    pub kind: &'static str,
    /// What must not get out.
    pub value: String,
    /// The value with what is usually around it.
    pub written: String,
}

/// All kinds. The values are made here, so that no scanner finds them in this file.
pub fn secrets() -> Vec<Secret> {
    let plain = |kind, value: String| Secret { kind, written: value.clone(), value };
    let (lower, digits) = ("abcdefghijklmnopqrstuvwxyz0123456789", "0123456789");
    let upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mixed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let part = |seed: &str, length| random(seed, mixed, length);
    let jwt = format!("eyJhbGciOiJIUzI1NiJ9.eyJ{}.{}", part("payload", 40), part("signature", 43));
    let pem = [part("one", 64), part("two", 64), part("three", 64)].join("\n");
    let (password, passed) = (part("password", 14), part("passed", 20));
    vec![
        plain("aws", format!("AKIA{}", random("aws", upper, 16))),
        plain("github", format!("ghp_{}", part("github", 36))),
        plain("gitlab", format!("glpat-{}", part("gitlab", 20))),
        plain("slack", format!("xoxb-{}-{}-{}", random("1", digits, 12), random("2", digits, 12), part("slack", 24))),
        plain("stripe", format!("sk_live_{}", part("stripe", 24))),
        plain("openai", format!("sk-proj-{}T3BlbkFJ{}", part("o", 20), part("openai", 20))),
        plain("anthropic", format!("sk-ant-api03-{}AA", part("anthropic", 93))),
        plain("google", format!("AIza{}", part("google", 35))),
        plain("npm", format!("npm_{}", part("npm", 36))),
        plain("huggingface", format!("hf_{}", part("hugging", 34))),
        plain("jwt", jwt),
        // Of our own it is known what they look like encoded.
        Secret { kind: "own", written: format!("{OWN} or {}", base64(OWN.as_bytes())), value: OWN.to_owned() },
        Secret {
            kind: "pem",
            written: format!("-----BEGIN RSA PRIVATE KEY-----\n{pem}\n-----END RSA PRIVATE KEY-----"),
            value: pem,
        },
        Secret { kind: "url", written: format!("postgres://app:{password}@db.internal:5432/app"), value: password },
        Secret { kind: "named", written: format!("DB_PASSWORD={passed}"), value: passed },
        plain("sendgrid", format!("SG.{}.{}", part("send", 22), random("grid", lower, 43))),
    ]
}

/// A task with the text in its instruction, in arguments, in results and in its summary, twice where a text can hold another.
pub fn story(kind: &str, written: &str) -> Story {
    let source = format!("# settings\nvalue: {written}\n");
    let within = json!({ "log": format!("sent {written} to the server"), "at": 1.5 }).to_string();
    let mut story =
        Story::new(&format!("leaks-{kind}"), &format!("For {kind}: use {written} to get in, then mend it."))
            .with("context", json!({ "notes": [format!("it was {written} before")] }))
            .turn(
                "edit_file",
                &json!({ "file_path": "settings", "new_content": source }).to_string(),
                &json!({ "status": "success", "diff": format!("+value: {written}\n") }).to_string(),
            )
            .turn(
                "run_command",
                &json!({ "command": format!("./deploy '{written}'") }).to_string(),
                &json!({ "status": "success", "stdout": format!("{source}{within}\n"), "stderr": written }).to_string(),
            );
    story.end = crate::world::End::Finish(Some(format!("It works now, with {written} as it was.")));
    story
}

pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let coded = |chunk: &[u8]| {
        let bits = chunk.iter().chain([0, 0].iter()).take(3).fold(0usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[bits >> shift & 63]))
    };
    bytes.chunks(3).flat_map(coded).collect()
}

/// As random as a hash, and the same each time.
fn random(seed: &str, alphabet: &str, length: usize) -> String {
    let mut text = String::new();
    for block in 0u8.. {
        let hash = Sha256::new().chain_update(seed).chain_update([block]).finalize();
        text.extend(hash.iter().map(|byte| char::from(alphabet.as_bytes()[usize::from(*byte) % alphabet.len()])));
        if text.len() >= length {
            break;
        }
    }
    text.truncate(length);
    text
}
