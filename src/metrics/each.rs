//! One counter for each value of a label, found by the value's place and not by its name.

/// What is counted for each value of an enum. The values' order is that of their declaration.
pub(super) struct Each<M>(Vec<M>);

impl<M> Each<M> {
    /// One for each of `words`, which are all of the enum's.
    pub(super) fn new<'a>(words: impl IntoIterator<Item = &'a str>, make: impl Fn(&str) -> M) -> Self {
        Self(words.into_iter().map(make).collect())
    }

    /// The one for `value as usize`.
    pub(super) fn of(&self, value: usize) -> &M {
        &self.0[value]
    }
}
