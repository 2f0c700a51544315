//! Lines of a text with their endings, so that an edit changes those it means and no others.

/// The byte order mark.
const BOM: char = '\u{feff}';

/// The lines with their line feeds; the last one may lack it. A lone carriage return ends no line, as in git.
pub(super) fn split(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Puts `content` in the place of the lines `from..to`. It takes the line ending of its surroundings, and the text
/// keeps its last line feed or the lack of it.
pub(super) fn splice(original: &str, from: usize, to: usize, content: &str) -> String {
    // The byte order mark belongs to the file, not to its first line.
    if let Some(body) = original.strip_prefix(BOM) {
        let content = content.strip_prefix(BOM).unwrap_or(content);
        return format!("{BOM}{}", splice(body, from, to, content));
    }
    let lines = split(original);
    let ending = neighbour_ending(&lines, from);
    let lacks_last = !original.is_empty() && !original.ends_with('\n');
    let mut out = String::with_capacity(original.len() + content.len() + 2);
    lines[..from].iter().for_each(|line| out.push_str(line));
    if !out.is_empty() && !out.ends_with('\n') {
        out.push_str(ending);
    }
    out.push_str(&with_ending(content, ending));
    if !content.ends_with('\n') {
        out.push_str(ending);
    }
    lines[to..].iter().for_each(|line| out.push_str(line));
    if lacks_last && to == lines.len() {
        out.truncate(out.trim_end_matches('\n').len().max(out.len() - 1));
        if ending == "\r\n" && out.ends_with('\r') {
            out.pop();
        }
    }
    out
}

/// `content` as a whole file in the place of `original`: a text that is CRLF throughout stays so when the new one
/// has none of its own, and a byte order mark stays.
pub(super) fn like_original(original: &str, content: &str) -> String {
    let crlf =
        original.contains("\r\n") && split(original).iter().all(|line| line.ends_with("\r\n") || !line.ends_with('\n'));
    let mut text = if crlf && !content.contains('\r') { with_ending(content, "\r\n") } else { content.to_owned() };
    if original.starts_with(BOM) && !text.starts_with(BOM) {
        text.insert(0, BOM);
    }
    text
}

/// The ending of the line before, else of the line itself, else a line feed.
fn neighbour_ending(lines: &[&str], at: usize) -> &'static str {
    let before = lines[..at].last().filter(|line| line.ends_with('\n'));
    let line = before.or_else(|| lines.get(at)).or_else(|| lines.first());
    if line.is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" }
}

/// Bare line feeds become `ending`; what is CRLF already stays.
fn with_ending(content: &str, ending: &str) -> String {
    if ending == "\n" || content.contains("\r\n") { content.to_owned() } else { content.replace('\n', ending) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_lines_take_the_endings_around_them() {
        assert_eq!(splice("a\r\nb\r\n", 1, 1, "x\ny"), "a\r\nx\r\ny\r\nb\r\n");
        assert_eq!(splice("a\nb\r\nc\n", 2, 2, "x"), "a\nb\r\nx\r\nc\n");
        assert_eq!(splice("", 0, 0, "x"), "x\n");
        assert_eq!(splice("a\nb\n", 0, 1, "x\n"), "x\nb\n");
        assert_eq!(splice("a\nb\n", 1, 2, ""), "a\n\n");
    }

    #[test]
    fn a_byte_order_mark_stays_at_the_beginning() {
        assert_eq!(splice("\u{feff}a\nb\n", 0, 1, "x"), "\u{feff}x\nb\n");
        assert_eq!(splice("\u{feff}a\n", 0, 0, "\u{feff}x"), "\u{feff}x\na\n");
    }

    #[test]
    fn a_missing_last_line_feed_stays_missing() {
        assert_eq!(splice("a\nb", 1, 2, "B"), "a\nB");
        assert_eq!(splice("a\nb", 2, 2, "c\n"), "a\nb\nc");
        assert_eq!(splice("a\r\nb", 2, 2, "c"), "a\r\nb\r\nc");
        assert_eq!(splice("a\nb", 0, 1, "A"), "A\nb");
        assert_eq!(splice("a\nb", 1, 2, "B\n\n"), "a\nB\n");
    }

    #[test]
    fn a_whole_file_keeps_crlf_and_the_mark() {
        assert_eq!(like_original("a\r\nb", "x\ny\n"), "x\r\ny\r\n");
        assert_eq!(like_original("a\r\nb\n", "x\ny\n"), "x\ny\n");
        assert_eq!(like_original("\u{feff}a\n", "x\n"), "\u{feff}x\n");
        assert_eq!(like_original("", "x"), "x");
    }
}
