//! The vocabulary of `o200k_base`, as it lies in the program.
//!
//! `tiktoken-rs` has it as base64 with numbers, 3.6 MB of text. Here are the tokens alone, each behind a byte with its length, in
//! the order of their numbers, deflated: 1.0 MB. `tests/vocabulary.rs` makes the file from the crate's and holds it to it.

use std::io::{self, Read};

use flate2::read::DeflateDecoder;
use rustc_hash::FxHashMap;
use tiktoken_rs::{CoreBPE, O200K_BASE_PAT_STR};

use crate::export::ExportError;

const DEFLATED: &[u8] = include_bytes!("o200k_base.deflate");

/// The one special token that matters to nobody here; the crate wants at least one.
const SPECIAL: (&str, u32) = ("<|endoftext|>", 199_999);

/// Makes what counts tokens.
pub(super) fn load() -> Result<CoreBPE, ExportError> {
    let failed = |error: &dyn std::fmt::Display| ExportError::Tokens(error.to_string());
    let tokens = tokens().map_err(|error| failed(&error))?;
    let special = FxHashMap::from_iter([(SPECIAL.0.to_owned(), SPECIAL.1)]);
    CoreBPE::new(tokens, special, O200K_BASE_PAT_STR).map_err(|error| failed(&error))
}

/// Each token with its number.
fn tokens() -> io::Result<FxHashMap<Vec<u8>, u32>> {
    let mut text = Vec::new();
    DeflateDecoder::new(DEFLATED).read_to_end(&mut text)?;
    let (mut tokens, mut rest) = (FxHashMap::default(), text.as_slice());
    while let Some((&length, behind)) = rest.split_first() {
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off");
        let (token, behind) = behind.split_at_checked(length.into()).ok_or_else(cut)?;
        let number = u32::try_from(tokens.len()).map_err(io::Error::other)?;
        tokens.insert(token.to_vec(), number);
        rest = behind;
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_crates_own() {
        let (ours, crates) = (super::load().unwrap(), tiktoken_rs::o200k_base().unwrap());
        for text in
            [include_str!("vocabulary.rs"), "Größe 日本 😀\r\n\t x=1.25e-7;", "<|endoftext|>", "    \n\n  'll DON'T"]
        {
            assert_eq!(ours.encode_ordinary(text), crates.encode_ordinary(text), "{text}");
        }
    }
}
