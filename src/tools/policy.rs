//! Which commands are refused before they start: a courtesy to the brain, which learns why at once.
//!
//! This is no wall. The built-in rules cover what a brain does by habit: shell syntax where no shell runs, and programs
//! that install or fetch. Rules from a file, and programs behind `env`, `sh -c` and the like, come with the sandbox.

/// Programs that are refused, and why.
const DENIED: &[(&[&str], &str)] = &[
    (&["sudo", "su", "doas"], "commands run with the service's rights and no others"),
    (
        &["apt", "apt-get", "aptitude", "dpkg", "yum", "dnf", "rpm", "apk", "pacman", "zypper", "brew", "snap"],
        "system packages are not installed from a task",
    ),
    (&["pip", "pip3", "pipx"], "packages are not installed from a task"),
    (&["curl", "wget"], "commands do not fetch from the network"),
];

/// A command that may not run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("refused by the command policy: {0:?} is shell syntax and no shell runs; quote it, or use sh -c '...'")]
    Operator(String),
    #[error("refused by the command policy: {program}: {reason}")]
    Program { program: String, reason: &'static str },
}

/// Checks a command by its text, for the quotes, and by its words.
pub(super) fn check(command: &str, argv: &[String]) -> Result<(), Refusal> {
    let program = argv.first().map_or("", |word| word.rsplit('/').next().unwrap_or_default());
    if let Some((_, reason)) = DENIED.iter().find(|(names, _)| names.contains(&program)) {
        return Err(Refusal::Program { program: program.to_owned(), reason });
    }
    // find takes a bare `;` as the end of its -exec.
    let operator =
        bare_words(command).into_iter().find(|word| is_operator(word) && !(program == "find" && word == ";"));
    operator.map_or(Ok(()), |word| Err(Refusal::Operator(word)))
}

/// Whether a shell would take this bare word as its own and not as an argument.
fn is_operator(word: &str) -> bool {
    let redirection = word.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(word, ";" | ";;" | "&" | "&&" | "|" | "||" | "|&")
        || redirection.starts_with(['<', '>'])
        || word.starts_with("&>")
        || word.starts_with('`')
        || word.starts_with("$(")
}

/// The words in which nothing is quoted or escaped.
fn bare_words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut bare, mut quote) = (Vec::new(), String::new(), true, None);
    let mut characters = command.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, ' ' | '\t' | '\n') => {
                let done = std::mem::take(&mut word);
                if std::mem::replace(&mut bare, true) && !done.is_empty() {
                    words.push(done);
                }
                continue;
            }
            (None, '\'' | '"') => (bare, quote) = (false, Some(c)),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                bare = false;
                characters.next();
            }
            _ => {}
        }
        word.push(c);
    }
    if bare && !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(command: &str) -> Result<(), Refusal> {
        check(command, &shlex::split(command).unwrap())
    }

    #[test]
    fn harmless_commands_pass() {
        for command in [
            "grep ';' a.txt",
            "grep \"a;b\" capture.txt",
            "cat pipeline.txt",
            "git log --format=%s",
            "sed -n 's/x/y/;p' README.md",
            "find . -name '*.md' -exec wc -l {} ;",
            "git commit -m 'curl & wget; apt'",
            "echo a\\;b \"|\" '>'",
            "echo http://x/?a=1&b=2",
            "sh -c 'a | b > c'",
        ] {
            assert_eq!(verdict(command), Ok(()), "{command}");
        }
    }

    #[test]
    fn shell_syntax_and_denied_programs_are_refused_with_the_word() {
        for (command, word) in [
            ("a && b", "&&"),
            ("a | b", "|"),
            ("a > b", ">"),
            ("a 2>&1", "2>&1"),
            ("a ; b", ";"),
            ("a $(b)", "$(b)"),
            ("a &", "&"),
        ] {
            assert_eq!(verdict(command), Err(Refusal::Operator(word.into())), "{command}");
        }
        for command in ["sudo ls", "/usr/bin/curl x", "cu''rl x", "apt-get install y", "pip install z"] {
            assert!(matches!(verdict(command), Err(Refusal::Program { .. })), "{command}");
        }
    }
}
