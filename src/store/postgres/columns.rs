//! How a row of PostgreSQL is read, and the one thing that its texts cannot hold.

use std::borrow::Cow;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::store::row::Columns;

impl Columns for PgRow {
    type Error = sqlx::Error;

    fn number(&self, column: usize) -> sqlx::Result<i64> {
        self.try_get(column)
    }

    fn maybe_number(&self, column: usize) -> sqlx::Result<Option<i64>> {
        self.try_get(column)
    }

    fn maybe_real(&self, column: usize) -> sqlx::Result<Option<f64>> {
        self.try_get(column)
    }

    fn text(&self, column: usize) -> sqlx::Result<String> {
        self.try_get(column)
    }

    fn maybe_text(&self, column: usize) -> sqlx::Result<Option<String>> {
        self.try_get(column)
    }

    fn free_text(&self, column: usize) -> sqlx::Result<Option<String>> {
        Ok(self.maybe_text(column)?.map(|text| told(&text)))
    }
}

/// A text as it is kept, whatever is in it: there is no U+0000 in PostgreSQL's texts.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '\0']) { text.replace('\\', "\\\\").replace('\0', "\\0").into() } else { text.into() }
}

/// The text that was kept so.
fn told(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => told.extend(chars.next().map(|escaped| if escaped == '0' { '\0' } else { escaped })),
            other => told.push(other),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_kept_is_told_again_and_has_no_nul(text in r"[\\0a\x00ü]{0,12}") {
            let kept = kept(&text);
            prop_assert!(!kept.contains('\0'));
            prop_assert_eq!(told(&kept), text);
        }
    }
}
