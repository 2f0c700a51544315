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

    /// Each rule that found something, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(rule, count)| (*rule, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_keep_their_order() {
        let mut found = Found::default();
        for rule in ["slack", "aws", "slack"] {
            found.add(rule);
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), [("aws", 1), ("slack", 2)]);
    }
}
