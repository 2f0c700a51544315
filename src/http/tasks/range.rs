//! Byte ranges (RFC 9110, section 14): one range, in one of its three forms.

/// What a `Range` header asks of something `len` bytes long.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: no range, or one that we do not know and may ignore.
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// Nothing that there is.
    Outside,
}

pub(super) fn parse(header: Option<&str>, len: u64) -> Asked {
    let Some(range) = header.and_then(|value| value.trim().strip_prefix("bytes=")) else { return Asked::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Asked::Whole };
    let (first, last) = (first.trim(), last.trim());
    // A list of ranges would need a multipart answer; the whole is a lawful answer to it.
    let numbers = [first, last].iter().all(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    if !numbers {
        return Asked::Whole;
    }
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Asked::Whole,
        (Ok(first), _) if first >= len => Asked::Outside,
        (Ok(first), Ok(last)) => Asked::Part(first, last.min(len - 1)),
        (Ok(first), Err(_)) if last.is_empty() => Asked::Part(first, len - 1),
        (Err(_), Ok(0)) if first.is_empty() => Asked::Outside,
        (Err(_), Ok(count)) if first.is_empty() && len > 0 => Asked::Part(len - count.min(len), len - 1),
        (Err(_), Ok(_)) if first.is_empty() => Asked::Outside,
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_known_and_others_ignored() {
        for (header, asked) in [
            ("bytes=0-3", Asked::Part(0, 3)),
            ("bytes=4-", Asked::Part(4, 9)),
            ("bytes=-3", Asked::Part(7, 9)),
            ("bytes=-30", Asked::Part(0, 9)),
            ("bytes=5-500", Asked::Part(5, 9)),
            ("bytes=10-", Asked::Outside),
            ("bytes=-0", Asked::Outside),
            ("bytes=5-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(parse(Some(header), 10), asked, "{header}");
        }
        assert_eq!(parse(Some("bytes=0-"), 0), Asked::Outside);
        assert_eq!(parse(Some("bytes=-1"), 0), Asked::Outside);
        assert_eq!(parse(None, 10), Asked::Whole);
    }
}
