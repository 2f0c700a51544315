//! How often each rule has found something.

use std::collections::BTreeMap;

/// Counts per rule, in the order of the rules' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found(BTreeMap<&'static str, u64>);

impl Found {
    /// Counts one place that `rule` found.
    pub(super) fn add(&mut self, rule: &'static str) {
        *self.0.entry(rule).or_default() += 1;
    }

    /// Adds what was found elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (rule, count) in &other.0 {
            *self.0.entry(rule).or_default() += count;
        }
    }

    /// Each rule that found something, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(rule, count)| (*rule, *count))
    }

    /// How much was found by all rules.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_keep_their_order() {
        let (mut one, mut other) = (Found::default(), Found::default());
        assert!(one.is_empty());
        one.add("slack");
        other.add("aws");
        other.add("slack");
        one.merge(&other);
        assert_eq!(one.iter().collect::<Vec<_>>(), [("aws", 1), ("slack", 2)]);
        assert_eq!(one.total(), 3);
    }
}
