//! What one piece of work has to remember of all that it has seen: on disk if it is much, and gone with the work.
//!
//! A million names and hashes in memory are some hundred megabytes. SQLite keeps them in a temporary file without a name, and a few
//! megabytes of it in memory.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Cursor, StoreError};

/// Memory for pages, in KiB.
const CACHE: i64 = 8 * 1024;

/// Where a piece of work notes what it has seen.
pub struct Scratch {
    db: Connection,
}

/// A task in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where the task stands.
    pub place: Cursor,
    /// Whether it is of the one kind, of the other, or of neither.
    pub good: Option<bool>,
}

impl Scratch {
    /// An empty one.
    pub fn new() -> Result<Self, StoreError> {
        let opening = |error: rusqlite::Error| StoreError::Open(error.into());
        // An empty name: a file of its own in the temporary directory, written only when the cache is full.
        let db = Connection::open("").map_err(opening)?;
        db.execute_batch(&format!(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE};
             CREATE TABLE notes (key BLOB PRIMARY KEY, text TEXT, count INTEGER NOT NULL) WITHOUT ROWID;
             CREATE TABLE members (family BLOB NOT NULL, place INTEGER NOT NULL, good INTEGER, PRIMARY KEY (family, place))
                 WITHOUT ROWID;
             CREATE TABLE numbers (number INTEGER NOT NULL);
             BEGIN"
        ))
        .map_err(opening)?;
        Ok(Self { db })
    }

    /// Notes a text under a key, unless there is one already: that is returned.
    pub fn note(&self, key: &[u8], text: &str) -> Result<Option<String>, StoreError> {
        let insert = "INSERT INTO notes (key, text, count) VALUES (?, ?, 0) ON CONFLICT DO NOTHING";
        if self.db.prepare_cached(insert)?.execute(params![key, text])? == 1 {
            return Ok(None);
        }
        self.noted(key)
    }

    /// What is noted under the key.
    pub fn noted(&self, key: &[u8]) -> Result<Option<String>, StoreError> {
        let select = "SELECT text FROM notes WHERE key = ?";
        Ok(self.db.prepare_cached(select)?.query_row([key], |row| row.get(0)).optional()?)
    }

    /// Counts so many more under the key; how many there are now.
    pub fn count(&self, key: &[u8], more: u64) -> Result<u64, StoreError> {
        let upsert = "INSERT INTO notes (key, count) VALUES (?1, ?2) \
                      ON CONFLICT DO UPDATE SET count = count + excluded.count RETURNING count";
        let values = params![key, super::row::signed(more)];
        let count: i64 = self.db.prepare_cached(upsert)?.query_row(values, |row| row.get(0))?;
        Ok(super::row::unsigned(count))
    }

    /// Puts a task in a group.
    pub fn join(&self, group: &[u8], member: Member) -> Result<(), StoreError> {
        let insert = "INSERT INTO members (family, place, good) VALUES (?, ?, ?)";
        self.db.prepare_cached(insert)?.execute(params![group, member.place.0, member.good])?;
        Ok(())
    }

    /// The group behind this one, in an order of its own; the first one, if none is named.
    pub fn group_after(&self, group: Option<&[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        let select = "SELECT family FROM members WHERE family > ? ORDER BY family LIMIT 1";
        // Nothing is before the empty one, and no group has no name.
        let before = group.unwrap_or_default();
        Ok(self.db.prepare_cached(select)?.query_row([before], |row| row.get(0)).optional()?)
    }

    /// Members of a group behind `after`, in the order of their arrival, at most `most` of them.
    pub fn members(&self, group: &[u8], after: Cursor, most: u32) -> Result<Vec<Member>, StoreError> {
        let select = "SELECT place, good FROM members WHERE family = ? AND place > ? ORDER BY place LIMIT ?";
        let mut select = self.db.prepare_cached(select)?;
        let rows = select.query_map(params![group, after.0, most], |row| {
            Ok(Member { place: Cursor(row.get(0)?), good: row.get(1)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes a number.
    pub fn number(&self, number: u64) -> Result<(), StoreError> {
        let number = super::row::signed(number);
        self.db.prepare_cached("INSERT INTO numbers (number) VALUES (?)")?.execute([number])?;
        Ok(())
    }

    /// Of the numbers noted so far, those that so many percent are not above, for each of `percents`; none if there are none.
    pub fn quantiles(&self, percents: &[u32]) -> Result<Vec<u64>, StoreError> {
        let count: i64 = self.db.query_row("SELECT COUNT(*) FROM numbers", [], |row| row.get(0))?;
        if count == 0 {
            return Ok(Vec::new());
        }
        self.db.execute_batch("CREATE INDEX IF NOT EXISTS numbers_in_order ON numbers (number)")?;
        let mut select = self.db.prepare("SELECT number FROM numbers ORDER BY number LIMIT 1 OFFSET ?")?;
        // The nearest rank: the smallest number that at least so many are not above.
        let rank = |percent: u32| (count * i64::from(percent) + 99) / 100 - 1;
        let quantile =
            |percent: &u32| Ok(super::row::unsigned(select.query_row([rank(*percent).max(0)], |row| row.get(0))?));
        percents.iter().map(quantile).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_first_is_told_and_counts_grow() {
        let scratch = Scratch::new().unwrap();
        assert_eq!(scratch.note(b"k", "one").unwrap(), None);
        assert_eq!(scratch.note(b"k", "two").unwrap().as_deref(), Some("one"));
        assert_eq!(scratch.noted(b"other").unwrap(), None);
        assert_eq!((scratch.count(b"n", 1).unwrap(), scratch.count(b"n", 2).unwrap()), (1, 3));
    }

    #[test]
    fn groups_and_their_members_come_in_order() {
        let scratch = Scratch::new().unwrap();
        let member = |place, good| Member { place: Cursor(place), good: Some(good) };
        for (group, place, good) in [(b"b", 3, true), (b"a", 2, false), (b"b", 1, false)] {
            scratch.join(group, member(place, good)).unwrap();
        }
        let first = scratch.group_after(None).unwrap().unwrap();
        let second = scratch.group_after(Some(&first)).unwrap().unwrap();
        assert_eq!((first.as_slice(), second.as_slice()), (&b"a"[..], &b"b"[..]));
        assert_eq!(scratch.group_after(Some(&second)).unwrap(), None);
        assert_eq!(scratch.members(b"b", Cursor(0), 9).unwrap(), [member(1, false), member(3, true)]);
        assert_eq!(scratch.members(b"b", Cursor(1), 9).unwrap(), [member(3, true)]);
    }

    #[test]
    fn quantiles_are_numbers_that_were_noted() {
        let scratch = Scratch::new().unwrap();
        assert!(scratch.quantiles(&[50]).unwrap().is_empty());
        (1..=10).rev().for_each(|number| scratch.number(number * 10).unwrap());
        assert_eq!(scratch.quantiles(&[0, 50, 90, 99, 100]).unwrap(), [10, 50, 90, 100, 100]);
    }
}
