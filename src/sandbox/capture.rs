//! What a command printed, capped while it is read.

use std::collections::VecDeque;

/// Keeps the first and the last half of a cap and counts the rest, so that memory does not grow with the output.
pub(super) struct Capture {
    cap: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

/// A stream's text after the command has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The output; where something is missing, a line in its place says how much. Bytes that are not UTF-8
    /// are replaced.
    pub text: String,
    /// Whether something is missing.
    pub truncated: bool,
}

impl Capture {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, head: Vec::new(), tail: VecDeque::new(), total: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (head_cap, tail_cap) = (self.cap - self.cap / 2, self.cap / 2);
        let (first, rest) = bytes.split_at(bytes.len().min(head_cap - self.head.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(tail_cap)..];
        let too_many = (self.tail.len() + rest.len()).saturating_sub(tail_cap);
        self.tail.drain(..too_many);
        self.tail.extend(rest);
    }

    pub(super) fn finish(&mut self) -> Captured {
        let missing = self.total - (self.head.len() + self.tail.len()) as u64;
        let tail = self.tail.make_contiguous();
        if missing == 0 {
            self.head.extend_from_slice(tail);
            return Captured { text: String::from_utf8_lossy(&self.head).into_owned(), truncated: false };
        }
        // A character cut in two by the cap is left out whole rather than shown as garbage.
        let head_end = complete_prefix(&self.head);
        let tail_start = tail.iter().take(3).take_while(|byte| **byte & 0xC0 == 0x80).count();
        let missing = missing + (self.head.len() - head_end + tail_start) as u64;
        let text = format!(
            "{}\n[... {missing} bytes left out ...]\n{}",
            String::from_utf8_lossy(&self.head[..head_end]),
            String::from_utf8_lossy(&tail[tail_start..])
        );
        Captured { text, truncated: true }
    }
}

/// How much of `bytes` does not end in the middle of a character.
fn complete_prefix(bytes: &[u8]) -> usize {
    let lead = bytes.iter().rev().take(4).position(|byte| byte & 0xC0 != 0x80);
    let Some(back) = lead else { return bytes.len() };
    let at = bytes.len() - 1 - back;
    let want = match bytes[at] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    if bytes.len() - at < want { at } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn capture(cap: usize, parts: &[&[u8]]) -> Captured {
        let mut capture = Capture::new(cap);
        for part in parts {
            capture.push(part);
        }
        capture.finish()
    }

    #[test]
    fn what_fits_is_whole() {
        assert_eq!(capture(6, &[b"abc", b"def"]), Captured { text: "abcdef".into(), truncated: false });
        assert_eq!(capture(4, &[b"\xff\xfe"]).text, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn head_and_tail_are_kept_and_the_rest_is_counted() {
        let captured = capture(4, &[b"ab", b"cdefgh", b"ij"]);
        assert_eq!(captured, Captured { text: "ab\n[... 6 bytes left out ...]\nij".into(), truncated: true });
        assert_eq!(capture(0, &[b"abc"]).text, "\n[... 3 bytes left out ...]\n");
    }

    #[test]
    fn no_character_is_cut() {
        let captured = capture(8, &["aéééééééé".as_bytes()]);
        assert_eq!(captured.text, "aé\n[... 10 bytes left out ...]\néé");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_uncounted(cap in 0usize..40, parts in prop::collection::vec("[a-z]{0,30}", 0..8)) {
            let bytes: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            let (whole, captured) = (parts.concat(), capture(cap, &bytes));
            if whole.len() <= cap {
                prop_assert_eq!(captured.text, whole);
            } else {
                let left_out = whole.len() - cap;
                let (head, tail) = (&whole[..cap - cap / 2], &whole[whole.len() - cap / 2..]);
                prop_assert_eq!(captured.text, format!("{head}\n[... {left_out} bytes left out ...]\n{tail}"));
            }
        }
    }
}
