//! A file's text with the replacements made.

use super::act::MAX_FILE;

/// The text with every `from` become `to`, and how many; `None` where there is none. In a file whose lines all end in
/// CRLF a line feed in `from` and `to` means that, unless one of them has a carriage return: then both are as they stand.
pub(super) fn replaced(original: &str, from: &str, to: &str) -> Result<Option<(String, usize)>, String> {
    let ours = |text: &str| {
        let means_crlf = is_crlf(original) && !from.contains('\r') && !to.contains('\r');
        if means_crlf { text.replace('\n', "\r\n") } else { text.to_owned() }
    };
    let (from, to) = (ours(from), ours(to));
    let count = original.matches(&from).count();
    if count == 0 {
        return Ok(None);
    }
    // Short texts can be told to become very long ones.
    let length = (original.len() - count * from.len()).saturating_add(count.saturating_mul(to.len()));
    if length as u64 > MAX_FILE {
        return Err(format!("the file would have {length} bytes, and those over {MAX_FILE} are not changed"));
    }
    let new = original.replace(&from, &to);
    // `edit_file` would put them back, and say that it has done it.
    if is_crlf(original) && !new.contains('\r') && new.contains('\n') {
        return Err("edit_file keeps the line endings of a file, so not all of them can be replaced".to_owned());
    }
    if original.starts_with('\u{feff}') && !new.starts_with('\u{feff}') {
        return Err("edit_file keeps the byte order mark of a file, so it cannot be replaced".to_owned());
    }
    Ok(Some((new, count)))
}

/// Whether each line feed has a carriage return before it, and there are some.
fn is_crlf(text: &str) -> bool {
    text.contains("\r\n") && text.matches('\n').count() == text.matches("\r\n").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(original: &str, from: &str, to: &str) -> Option<(String, usize)> {
        replaced(original, from, to).unwrap()
    }

    #[test]
    fn every_occurrence_is_replaced_and_counted() {
        assert_eq!(made("a.b a.b axb", "a.b", "$1"), Some(("$1 $1 axb".into(), 2)));
        assert_eq!(made("aaa", "aa", "b"), Some(("ba".into(), 1)));
        assert_eq!(made("é\n\"é\"\n", "\n\"é", "\\"), Some(("é\\\"\n".into(), 1)));
        assert_eq!(made("abc", "x", "y"), None);
    }

    #[test]
    fn a_line_feed_means_the_line_ending_of_the_file() {
        assert_eq!(made("a\r\nb\r\n", "a\nb", "x\ny\nz"), Some(("x\r\ny\r\nz\r\n".into(), 1)));
        assert_eq!(made("a\r\nb\n", "a\nb", "x"), None, "its lines end in both ways");
        assert_eq!(made("a\r\nb\n", "a\r\n", "a\n"), Some(("a\nb\n".into(), 1)));
        assert_eq!(made("a\nb\n", "\n", "\r\n"), Some(("a\r\nb\r\n".into(), 2)));
    }

    #[test]
    fn what_edit_file_would_undo_is_refused() {
        assert!(replaced("a\r\nb\r\n", "\r\n", "\n").unwrap_err().contains("line endings"));
        assert!(replaced("\u{feff}a", "\u{feff}", "").unwrap_err().contains("byte order mark"));
        assert_eq!(made("a\r\n", "\r\n", ""), Some(("a".into(), 1)));
    }

    #[test]
    fn a_file_does_not_become_too_large_to_be_changed_again() {
        let (many, long) = ("a".repeat(1 << 20), "b".repeat(1 << 20));
        assert!(replaced(&many, "a", &long).unwrap_err().contains("would have 1099511627776 bytes"));
        assert_eq!(made(&many, "a", "b"), Some((long, 1 << 20)));
    }
}
