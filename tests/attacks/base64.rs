//! Base64, which the data files use for bytes that are no text.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes; anything outside the alphabet but the padding is a mistake in the data.
pub fn decode(text: &str) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == digit).unwrap_or_else(|| panic!("{text}: not base64"));
        held = (held << 6 | u32::try_from(value).unwrap()) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff).try_into().unwrap());
        }
    }
    bytes
}

/// The digits of whole groups of three bytes; what is left over is not encoded.
pub fn encode_groups(bytes: &[u8]) -> String {
    let digits = |group: &[u8]| {
        let all = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(all >> shift & 63) as usize]))
    };
    bytes.chunks_exact(3).flat_map(digits).collect()
}

#[test]
fn base64_is_that_of_everybody_else() {
    assert_eq!(decode("77u/YQpiCg=="), b"\xef\xbb\xbfa\nb\n");
    assert_eq!(decode("//7DKAo="), b"\xff\xfe\xc3(\n");
    assert_eq!(encode_groups(b"abcdefgh"), "YWJjZGVm");
}
