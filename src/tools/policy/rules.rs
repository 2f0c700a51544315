//! A file of rules: its format, how it is checked, and which words a rule means.

use std::collections::HashMap;

use serde::Deserialize;

use super::unwrap;

/// What a rule says of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may run.
    Allow,
    /// It may not.
    Deny,
}

/// The rules of one file.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub name: String,
    /// For commands that no rule speaks of.
    pub default: Decision,
    pub shell_operators: Decision,
    pub list: Vec<Rule>,
    /// The rules by the first word of their prefix.
    by_program: HashMap<String, Vec<usize>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "allow")]
    default: Decision,
    #[serde(default = "deny")]
    shell_operators: Decision,
    #[serde(default)]
    rule: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    prefix: Vec<Alternatives>,
    pub decision: Decision,
    #[serde(default)]
    pub reason: String,
    /// Command lines that it must match.
    #[serde(default)]
    matches: Vec<String>,
    /// Command lines that it must not.
    #[serde(default)]
    not_matches: Vec<String>,
}

/// A word of a prefix: one, or one of several. The empty word is the end of the command.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a word of a prefix must be a string or a list of strings")]
enum Alternatives {
    One(String),
    Several(Vec<String>),
}

/// Options that take no value, whatever the program: the word behind them is looked at as the next one, and only so.
const FLAGS: &[&str] = &[
    "--",
    "-q",
    "-v",
    "-y",
    "-h",
    "--quiet",
    "--silent",
    "--verbose",
    "--yes",
    "--help",
    "--version",
    "--offline",
    "--locked",
    "--frozen",
    "--force",
    "--global",
    "--debug",
    "--dry-run",
    "--no-pager",
    "--no-cache-dir",
];

/// Options with which a program without further words does nothing but tell.
const TELLING: &[&str] = &["-h", "-v", "-V", "--help", "--version"];

fn allow() -> Decision {
    Decision::Allow
}

fn deny() -> Decision {
    Decision::Deny
}

impl Rules {
    /// Reads and checks rules; an error is one line without the file's name.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            format!("{place}{}", error.message().trim().replace('\n', " "))
        })?;
        let File { default, shell_operators, rule: list } = file;
        let mut by_program: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, rule) in list.iter().enumerate() {
            rule.check().map_err(|error| format!("rule {} ({rule}): {error}", index + 1))?;
            for program in rule.prefix[0].words() {
                by_program.entry(program.clone()).or_default().push(index);
            }
        }
        Ok(Self { name: name.to_owned(), default, shell_operators, list, by_program })
    }

    /// The numbers of the rules, from 0, that speak of a command.
    pub(super) fn about<'a>(&'a self, words: &'a [String]) -> impl Iterator<Item = usize> + 'a {
        let program = words.first().map_or("", String::as_str);
        let name = unwrap::name(program);
        let bare = unwrap::unversioned(name);
        let path = Some(program).filter(|program| *program != name);
        let other = Some(bare).filter(|bare| *bare != name);
        let candidates = path.into_iter().chain([name]).chain(other).filter_map(|name| self.by_program.get(name));
        candidates.flatten().copied().filter(|index| self.list[*index].means(words))
    }

    /// How many examples there are.
    pub(super) fn examples(&self) -> usize {
        self.list.iter().map(|rule| rule.matches.len() + rule.not_matches.len()).sum()
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        if self.prefix.is_empty() {
            return Err("prefix must have a word".to_owned());
        }
        if self.prefix.iter().any(|word| word.words().is_empty()) || self.prefix[0].words().contains(&String::new()) {
            return Err("prefix must not have an empty list, and must not begin with an empty word".to_owned());
        }
        if self.decision == Decision::Deny && self.reason.trim().is_empty() {
            return Err("reason must say why: it is shown to the brain".to_owned());
        }
        let is_meant = |example: &str| {
            let argv = shlex::split(example).ok_or_else(|| format!("the example `{example}` has an open quote"))?;
            Ok::<_, String>(unwrap::find(&argv).commands.iter().any(|words| self.names(words) && self.means(words)))
        };
        for example in &self.matches {
            if !is_meant(example)? {
                return Err(format!("must match `{example}` and does not"));
            }
        }
        for example in &self.not_matches {
            if is_meant(example)? {
                return Err(format!("must not match `{example}` and does"));
            }
        }
        Ok(())
    }

    /// Whether the program is the rule's.
    fn names(&self, words: &[String]) -> bool {
        let program = words.first().map_or("", String::as_str);
        let name = unwrap::name(program);
        self.prefix[0].words().iter().any(|word| *word == program || word == name || word == unwrap::unversioned(name))
    }

    /// Whether the words behind the program are the rule's. Options may stand between them; one that might take a value
    /// is read both with the next word as its value and without.
    fn means(&self, words: &[String]) -> bool {
        let mut reached = vec![1];
        for wanted in &self.prefix[1..] {
            let mut next = Vec::new();
            let mut at = 0;
            while let Some(&place) = reached.get(at) {
                at += 1;
                let Some(word) = words.get(place) else {
                    if wanted.has("") && !words.iter().any(|word| TELLING.contains(&word.as_str())) {
                        next.push(place);
                    }
                    continue;
                };
                if !word.is_empty() && wanted.has(word) {
                    next.push(place + 1);
                }
                // `cargo +nightly` has an option of its own kind.
                if word.starts_with(['-', '+']) {
                    let takes_next = word.starts_with('-') && !word.contains('=') && !FLAGS.contains(&word.as_str());
                    for skipped in [place + 1, place + 2].into_iter().take(1 + usize::from(takes_next)) {
                        // Places come in order: whatever is reached twice stands at the end.
                        if skipped <= words.len() && !reached[at..].contains(&skipped) {
                            reached.push(skipped);
                        }
                    }
                    reached[at..].sort_unstable();
                }
            }
            next.dedup();
            if next.is_empty() {
                return false;
            }
            reached = next;
        }
        true
    }

    /// The rule as the words of a command that it means.
    pub(super) fn words_in(&self, words: &[String]) -> String {
        let program = unwrap::name(words.first().map_or("", String::as_str));
        let others = self.prefix[1..].iter().filter_map(|wanted| words[1..].iter().find(|word| wanted.has(word)));
        let mut named = program.to_owned();
        for word in others {
            named.push(' ');
            named.push_str(word);
        }
        named
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<_> = self.prefix.iter().map(Alternatives::in_short).collect();
        f.write_str(&words.join(" "))
    }
}

impl Alternatives {
    fn words(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Several(words) => words,
        }
    }

    /// The first three tell which rule it is.
    fn in_short(&self) -> String {
        match self.words() {
            [a, b, c, _, ..] => format!("{a}|{b}|{c}|…"),
            words => words.join("|"),
        }
    }

    fn has(&self, word: &str) -> bool {
        self.words().iter().any(|alternative| alternative == word)
    }
}
