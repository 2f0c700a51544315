//! Text of others, as it may be shown.

use std::borrow::Cow;

/// Stands for a character that is not shown.
const HIDDEN: char = '\u{fffd}';

/// Without what a terminal would obey: control characters (but line feeds and tabs) and those that turn the direction of
/// writing.
pub fn printable(text: &str) -> Cow<'_, str> {
    shown(text, |c| matches!(c, '\n' | '\t'))
}

/// The same in one line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    shown(text, |_| false)
}

fn shown(text: &str, may: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_hidden = |c: char| (c.is_control() && !may(c)) || turns(c);
    if !text.contains(is_hidden) {
        return text.into();
    }
    let replaced = |c| match c {
        '\n' | '\r' | '\t' if !may(c) => ' ',
        c if is_hidden(c) => HIDDEN,
        c => c,
    };
    text.chars().map(replaced).collect::<String>().into()
}

/// Unicode's explicit directional formatting characters, and the separators that end a line.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        assert_eq!(printable("a\n\tb é 日本"), "a\n\tb é 日本");
        assert_eq!(printable("\u{1b}[2Jx\u{7}\u{9b}y\u{202e}z\r"), "\u{fffd}[2Jx\u{fffd}\u{fffd}y\u{fffd}z ");
        assert_eq!(one_line("one\r\ntwo\tthree\u{1b}"), "one  two three\u{fffd}");
        assert!(matches!(one_line("plain"), Cow::Borrowed("plain")));
    }
}
