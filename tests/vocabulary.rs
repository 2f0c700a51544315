//! The vocabulary in the program is that of the crate; `UPDATE=1 cargo test --test vocabulary` makes it anew.
#![expect(clippy::disallowed_methods, reason = "a test is told to update by the environment")]

use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

#[test]
fn the_vocabulary_is_that_of_the_crate() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export/tokens/o200k_base.deflate");
    let crates = tiktoken_rs::o200k_base().unwrap();
    let mut tokens = Vec::new();
    // Numbers have no gap before the special ones.
    for number in 0_u32.. {
        let Ok(token) = crates.decode_bytes(&[number]) else { break };
        tokens.push(u8::try_from(token.len()).unwrap());
        tokens.extend(token);
    }
    if std::env::var_os("UPDATE").is_some() {
        let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
        deflated.write_all(&tokens).unwrap();
        std::fs::write(&file, deflated.finish().unwrap()).unwrap();
    }
    let mut inflated = Vec::new();
    DeflateDecoder::new(std::fs::File::open(&file).unwrap()).read_to_end(&mut inflated).unwrap();
    assert!(inflated == tokens, "UPDATE=1 cargo test --test vocabulary");
    assert!(tokens.len() > 1_500_000, "the crate has {} bytes of tokens", tokens.len());
}
