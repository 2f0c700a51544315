//! Splits the text behind `sh -c` into the simple commands that would run.
//!
//! It reads words, quotes, separators, redirections, here-documents, compound commands and substitutions. It expands
//! nothing: a `$name` stays as it stands. What no shell could read is read as far as it goes; nothing is an error but
//! nesting without end.

mod words;

use words::{Reader, TooDeep};

/// One command of a script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Simple {
    /// The words, quotes removed; without keywords, assignments and redirections.
    pub words: Vec<String>,
    /// The text of its here-document or here-string.
    pub input: Option<String>,
}

/// The commands of a script, those in substitutions included. `levels` may be nested in each other.
pub(super) fn split(script: &str, levels: usize) -> Result<Vec<Simple>, TooDeep> {
    let mut reader = Reader::new(script, levels);
    reader.list(false)?;
    Ok(reader.commands)
}

/// Words that open or close a compound command; a command follows them.
const BEFORE_A_COMMAND: &[&str] =
    &["if", "then", "elif", "else", "fi", "while", "until", "do", "done", "esac", "{", "}", "!"];

/// Takes from a command what stands before its program. Nothing is left of `for name in words` and `case word in`.
fn settle(words: &mut Vec<String>) {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.as_str() {
            "for" | "select" | "case" => at = words.len(),
            "function" => at = words.len().min(at + 2),
            word if BEFORE_A_COMMAND.contains(&word) || is_assignment(word) => at += 1,
            _ => break,
        }
    }
    words.drain(..at);
}

/// `NAME=value`, `NAME+=value`, `NAME[index]=value`.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let name = name.strip_suffix('+').unwrap_or(name);
    let name = name.split('[').next().unwrap_or(name);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(script: &str) -> Vec<String> {
        split(script, 8).unwrap().into_iter().map(|command| command.words.join(" ")).collect()
    }

    #[test]
    fn a_script_is_its_simple_commands() {
        for (script, expected) in [
            ("a b; c && d||e|f &g\nh", vec!["a b", "c", "d", "e", "f", "g", "h"]),
            ("a 'b;c' \"d|e\" f\\;g", vec!["a b;c d|e f;g"]),
            ("cu''rl \\x c\"ur\"l", vec!["curl x curl"]),
            ("$'\\x63url' $'a\\tb'", vec!["curl a\tb"]),
            ("a > f 2>&1 <g >>h &>i b", vec!["a b"]),
            ("X=1 Y+=2 a X=3", vec!["a X=3"]),
            ("X=1", vec![]),
            ("a # b; c\nd", vec!["a", "d"]),
            ("if a; then b; elif c; then d; else e; fi", vec!["a", "b", "c", "d", "e"]),
            ("for f in a b; do c $f; done", vec!["c $f"]),
            ("while ! a; do b; done < f", vec!["a", "b"]),
            ("(a; b) && { c; }", vec!["a", "b", "c"]),
            ("f() { a; }; function g { b; }", vec!["a", "b"]),
            ("case $x in a) b;; c|d) e;; esac; f", vec!["b", "c", "e", "f"]),
            ("a $(b $(c)) \"$(d)\" `e`", vec!["b $(…)", "c", "d", "e", "a $(…) $(…) $(…)"]),
            ("$(case x in y) a;; esac) z", vec!["a", "$(…) z"]),
            ("a \"`b \\`c\\``\"", vec!["c", "b $(…)", "a $(…)"]),
            ("a ${x:-b; $(c)} \"${y}\"", vec!["c", "a ${x:-b; $(…)} ${y}"]),
            ("diff <(a b) >(c)", vec!["a b", "c", "diff $(…) $(…)"]),
            ("a \\\n b", vec!["a b"]),
            ("cat > f <<EOF\nb; $(c)\nEOF\nd", vec!["cat", "c", "d"]),
            ("cat <<-'EOF' | e\n\tb; $(c)\n\tEOF\nd", vec!["cat", "e", "d"]),
        ] {
            let found = commands(script);
            let sorted = |mut list: Vec<String>| {
                list.sort();
                list
            };
            assert_eq!(sorted(found), sorted(expected.into_iter().map(String::from).collect()), "{script}");
        }
    }

    #[test]
    fn what_a_command_reads_is_kept() {
        let input = |script: &str| split(script, 8).unwrap().remove(0).input;
        assert_eq!(input("sh <<'E'\na $b\nE\n"), Some("a $b\n".into()));
        assert_eq!(input("sh <<-E && x\n\ta\n\tE\n"), Some("a\n".into()));
        assert_eq!(input("sh <<< 'a b'"), Some("a b".into()));
        assert_eq!(input("sh < f"), None);
    }

    #[test]
    fn what_is_not_closed_is_read_to_its_end() {
        assert_eq!(commands("a 'b"), ["a b"]);
        assert_eq!(commands("a \"b"), ["a b"]);
        assert_eq!(commands("a $(b"), ["b", "a $(…)"]);
        assert_eq!(commands("a `b"), ["b", "a $(…)"]);
        assert_eq!(commands("a <<E\nb"), ["a"]);
        assert_eq!(commands(") ) } a"), ["a"]);
        assert_eq!(commands("a \\"), ["a "]);
    }

    #[test]
    fn nesting_without_end_is_refused() {
        for open in ["$(", "${", "\"$(", "${x:-\"", "<("] {
            assert!(split(&open.repeat(100_000), 8).is_err(), "{open}");
        }
        assert!(split(&"(".repeat(100_000), 8).is_ok());
    }
}
