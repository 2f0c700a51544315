//! What an audit found.
#![expect(clippy::print_stdout, reason = "the table is for whoever runs it")]

use std::collections::BTreeMap;

/// What happened, and what must not have.
#[derive(Default)]
pub struct Table {
    facts: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    /// The first of each kind, to be looked into.
    examples: BTreeMap<&'static str, String>,
}

/// What must be zero; named even where it is.
const FAULTS: [&str; 29] = [
    "attempts too many",
    "brain: histories that differed",
    "brain: keys out of order",
    "brain: keys that are no keys",
    "brain: payloads that differed for one key",
    "calls without a result",
    "cancels granted and not kept",
    "commands doubled",
    "commands failed otherwise",
    "commands lost",
    "deleted tasks that left files",
    "edits doubled",
    "edits lost",
    "edits refused or unknown",
    "ends other than planned",
    "ends that changed",
    "files unlike the served record",
    "iterations doubled",
    "iterations missing",
    "lines unlike what the brain saw or said",
    "meta files unlike the task",
    "questions that are not on record",
    "served records that went back",
    "stops without the farewell on record",
    "strangers in the list",
    "tasks lost",
    "torn lines in files",
    "torn lines served",
    "unexpected answers",
];

impl Table {
    pub fn fact(&mut self, name: &'static str, count: u64) {
        *self.facts.entry(name).or_default() += count;
    }

    pub fn fault(&mut self, name: &'static str, wrong: bool, example: impl FnOnce() -> String) {
        assert!(FAULTS.contains(&name), "{name} is not in FAULTS");
        if wrong {
            *self.faults.entry(name).or_default() += 1;
            self.examples.entry(name).or_insert_with(example);
        }
    }

    pub fn faults(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.faults.entry(name).or_default() += count;
        }
    }

    pub fn add(&mut self, other: Self) {
        other.facts.into_iter().for_each(|(name, count)| self.fact(name, count));
        other.faults.into_iter().for_each(|(name, count)| self.faults(name, count));
        for (name, example) in other.examples {
            self.examples.entry(name).or_insert(example);
        }
    }

    /// Prints the table; fails unless all that must be zero is.
    pub fn assert_clean(&self, seed: u64) {
        println!("seed: {seed}");
        self.facts.iter().for_each(|(name, count)| println!("{name}: {count}"));
        for name in FAULTS {
            println!("{name}: {}", self.faults.get(name).unwrap_or(&0));
        }
        assert!(self.faults.is_empty(), "CODEX_AGENT_SEED={seed}: {:?}\n{:#?}", self.faults, self.examples);
    }
}
