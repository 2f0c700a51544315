//! Which commands are refused before they start: a courtesy to the brain, which learns why at once. The sandbox is the
//! wall.
//!
//! ```text
//!  command ─► words ─► unwrap: the commands inside (wrappers, sh -c ─► shell) ─► rules: each of them ─┐
//!        └───────────► operators: bare words that only a shell would understand ──────────────────────┴─► strictest wins
//!
//!  builtin.toml + installs.toml        the rules if nothing is said
//!  COMMAND_POLICY (+ installs.toml)    the rules of a file; those about installs stay while CI is set
//! ```
//!
//! Deliberately absent: certainty. What a variable, a file or a program of another language runs is not known before.

mod operators;
mod rules;
mod shell;
mod unwrap;
mod wrappers;

use std::io;
use std::path::{Path, PathBuf};

pub use rules::Decision;
use rules::Rules;
use unwrap::{Found, Overrun};

/// The rules in force.
#[derive(Clone, Debug)]
pub struct Policy {
    sets: Vec<Rules>,
}

/// Why rules cannot be used; one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its text is no set of rules, or a rule fails one of its examples.
    #[error("{name}: {problem}")]
    Rules {
        /// Which file.
        name: String,
        /// The rule or the line, and what is wrong.
        problem: String,
    },
}

/// A command that may not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Shell syntax where no shell runs.
    #[error("refused by the command policy: {0:?} is shell syntax and no shell runs; quote it, or use sh -c '...'")]
    Operator(String),
    /// A rule says so.
    #[error("refused by the command policy: {words}: {reason}")]
    Rule {
        /// What the rule is about, as it stands in the command.
        words: String,
        /// The rule's reason.
        reason: String,
    },
    /// Only what a rule allows may run.
    #[error("refused by the command policy: {0}: no rule allows it, and what no rule allows is refused")]
    Unlisted(String),
    /// Nobody can say what it would run.
    #[error("refused by the command policy: its commands are nested too deep in each other to be checked")]
    TooDeep,
    /// Nobody can say what it would run.
    #[error("refused by the command policy: it is too long to be checked; put it into a file")]
    TooLong,
}

/// How a verdict came about.
#[derive(Debug)]
pub struct Explanation {
    /// Why it is refused; nothing, if it may run.
    pub refusal: Option<Refusal>,
    /// The commands that were found, the given one first.
    pub commands: Vec<Judged>,
}

/// What is said of one command.
#[derive(Debug)]
pub struct Judged {
    /// Its words.
    pub words: Vec<String>,
    /// What is decided.
    pub decision: Decision,
    /// Where the rule stands that decides; nothing, if no rule speaks of the command.
    pub rule: Option<String>,
}

/// The strictest rule about a command.
struct Strictest<'a> {
    decision: Decision,
    rule: Option<(&'a Rules, usize)>,
}

const BUILT_IN: (&str, &str) = ("built-in rules", include_str!("builtin.toml"));
const INSTALLS: (&str, &str) = ("built-in rules about installs", include_str!("installs.toml"));

impl Policy {
    /// The rules of a file, or the built-in ones. Under `ci` installs stay refused whatever the file says.
    pub fn load(file: Option<&Path>, ci: bool) -> Result<Self, PolicyError> {
        let parse = |name: &str, text: &str| {
            Rules::parse(name, text).map_err(|problem| PolicyError::Rules { name: name.to_owned(), problem })
        };
        let first = match file {
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
                parse(&path.display().to_string(), &text)?
            }
            None => parse(BUILT_IN.0, BUILT_IN.1)?,
        };
        let mut sets = vec![first];
        if ci || file.is_none() {
            sets.push(parse(INSTALLS.0, INSTALLS.1)?);
        }
        Ok(Self { sets })
    }

    /// Checks a command by its text, for the quotes, and by its words.
    pub fn check(&self, command: &str, argv: &[String]) -> Result<(), Refusal> {
        self.refusal(command, &unwrap::find(argv)).map_or(Ok(()), Err)
    }

    /// Checks a command and shows how; nothing, if a quote in it is not closed.
    pub fn explain(&self, command: &str) -> Option<Explanation> {
        let found = unwrap::find(&shlex::split(command)?);
        let refusal = self.refusal(command, &found);
        let judged = found.commands.into_iter().map(|words| {
            let Strictest { decision, rule } = self.strictest(&words);
            let rule = rule.map(|(set, index)| format!("{}, rule {} ({})", set.name, index + 1, set.list[index]));
            Judged { words, decision, rule }
        });
        Some(Explanation { refusal, commands: judged.collect() })
    }

    /// What there is: each set of rules with the number of its rules and of their examples.
    pub fn summary(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        self.sets.iter().map(|set| (set.name.as_str(), set.list.len(), set.examples()))
    }

    fn refusal(&self, command: &str, found: &Found) -> Option<Refusal> {
        let mut unlisted = None;
        for words in &found.commands {
            match self.strictest(words) {
                Strictest { decision: Decision::Deny, rule: Some((set, index)) } => {
                    let rule = &set.list[index];
                    return Some(Refusal::Rule { words: rule.words_in(words), reason: rule.reason.clone() });
                }
                Strictest { decision: Decision::Deny, rule: None } => {
                    unlisted.get_or_insert_with(|| Refusal::Unlisted(words[0].clone()));
                }
                Strictest { decision: Decision::Allow, .. } => {}
            }
        }
        let overrun = found.overrun.map(|overrun| match overrun {
            Overrun::Depth => Refusal::TooDeep,
            Overrun::Length => Refusal::TooLong,
        });
        overrun.or(unlisted).or_else(|| self.operator(command, found))
    }

    fn operator(&self, command: &str, found: &Found) -> Option<Refusal> {
        if self.sets[0].shell_operators == Decision::Allow {
            return None;
        }
        let finds = found.commands.iter().any(|words| matches!(unwrap::name(&words[0]), "find" | "fd" | "fdfind"));
        operators::first(command, finds).map(|word| Refusal::Operator(word.to_owned()))
    }

    /// Deny over allow, any rule over none. The first set's default holds: the other is only about installs.
    fn strictest(&self, words: &[String]) -> Strictest<'_> {
        let mut strictest = Strictest { decision: self.sets[0].default, rule: None };
        for set in &self.sets {
            for index in set.about(words) {
                let decision = set.list[index].decision;
                if strictest.rule.is_none() || decision == Decision::Deny {
                    strictest = Strictest { decision, rule: Some((set, index)) };
                }
                if decision == Decision::Deny {
                    return strictest;
                }
            }
        }
        strictest
    }
}

#[cfg(test)]
mod tests;
