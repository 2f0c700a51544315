//! What callgrind wrote, function by function.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Instructions of one run.
pub struct Profile {
    pub total: u64,
    /// Of each function with what it calls. Names of functions that came of one generic function are one here.
    pub inclusive: HashMap<String, u64>,
    /// Of each function itself.
    pub own: HashMap<String, u64>,
}

impl Profile {
    pub fn read(out: &Path) -> Self {
        let text = std::fs::read_to_string(out).unwrap();
        let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: ")).unwrap().parse().unwrap();
        Self { total, inclusive: annotated(out, "--inclusive=yes"), own: annotated(out, "--inclusive=no") }
    }

    /// Prints where the longer run had more instructions, and how many for each of the iterations that it had `more`.
    pub fn print_more(few: &HashMap<String, u64>, many: &HashMap<String, u64>, more: u64, named: usize) {
        let before = |name: &String| few.get(name).copied().unwrap_or_default();
        let mut all: Vec<(u64, &String)> =
            many.iter().map(|(name, count)| (count.saturating_sub(before(name)) / more, name)).collect();
        all.sort_by(|one, other| other.cmp(one));
        for (count, name) in all.iter().take(named) {
            println!("{count:>10}  {name}");
        }
    }
}

/// The functions as `callgrind_annotate` lists them: `1,234 (5.6%)  file:function [object]`.
fn annotated(out: &Path, inclusive: &str) -> HashMap<String, u64> {
    let done = Command::new("callgrind_annotate").args(["--threshold=100", inclusive]).arg(out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut functions = HashMap::new();
    for line in String::from_utf8_lossy(&done.stdout).lines() {
        let Some((count, rest)) = line.trim_start().split_once(' ') else { continue };
        let (Ok(count), Some((_, name))) = (count.replace(',', "").parse::<u64>(), rest.split_once(':')) else {
            continue;
        };
        let name = name.rsplit_once(" [").map_or(name, |(name, _)| name);
        *functions.entry(without_hash(name).to_owned()).or_default() += count;
    }
    functions
}

/// A name without the hash that tells one of a generic function's forms from another.
fn without_hash(name: &str) -> &str {
    let is_hash = |end: &str| end.len() == 16 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.rsplit_once("::h").filter(|(_, end)| is_hash(end)).map_or(name, |(name, _)| name)
}
