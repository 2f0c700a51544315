//! Words that only a shell would understand, in a command that no shell reads.

/// The first bare word that a shell would take as its own and not as an argument. `find` ends its `-exec` with `;`.
pub(super) fn first(command: &str, semicolon_is_an_argument: bool) -> Option<&str> {
    bare_words(command).find(|word| is_operator(word) && !(semicolon_is_an_argument && *word == ";"))
}

fn is_operator(word: &str) -> bool {
    let redirection = word.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(word, ";" | ";;" | "&" | "&&" | "|" | "||" | "|&")
        || redirection.starts_with(['<', '>'])
        || word.starts_with("&>")
        || word.starts_with('`')
        || word.starts_with("$(")
}

/// The words in which nothing is quoted or escaped.
fn bare_words(command: &str) -> impl Iterator<Item = &str> {
    let mut rest = command;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\n']);
            if rest.is_empty() {
                return None;
            }
            let (length, bare) = word(rest);
            let (word, behind) = rest.split_at(length);
            rest = behind;
            if bare {
                return Some(word);
            }
        }
    })
}

/// How long the word is that the text begins with, and whether it is bare.
fn word(text: &str) -> (usize, bool) {
    let (mut bare, mut quote) = (true, None);
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match (quote, c) {
            (None, ' ' | '\t' | '\n') => return (at, bare),
            (None, '\'' | '"') => (bare, quote) = (false, Some(c)),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                bare = false;
                characters.next();
            }
            _ => {}
        }
    }
    (text.len(), bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_neither_quoted_nor_part_of_a_word_is_an_operator() {
        for (command, operator) in [
            ("a && b", Some("&&")),
            ("a | b", Some("|")),
            ("a > b", Some(">")),
            ("a 2>&1", Some("2>&1")),
            ("a ; b", Some(";")),
            ("a $(b)", Some("$(b)")),
            ("a `b`", Some("`b`")),
            ("a &", Some("&")),
            ("a &>b", Some("&>b")),
            ("a <<EOF", Some("<<EOF")),
            ("grep ';' a", None),
            ("grep \"a;b\" a", None),
            ("echo a\\;b '|' \">\" \\&", None),
            ("echo http://x/?a=1&b=2", None),
            ("echo é;ü '", None),
        ] {
            assert_eq!(first(command, false), operator, "{command}");
        }
        assert_eq!(first("find . -exec wc {} ;", true), None);
        assert_eq!(first("find . -exec wc {} ; | wc", true), Some("|"));
    }
}
