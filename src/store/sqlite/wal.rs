//! Keeps the write-ahead log short, whoever reads.
//!
//! SQLite writes it from the beginning again when all of it is in the database and nobody reads from it. Where somebody
//! always reads, that moment never comes by itself: it has to be waited for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

/// Where it is waited for, in bytes: far beyond what a log without readers grows to (1000 pages).
const LONG: u64 = 32 * 1024 * 1024;

/// How long that may take: reads of ours are over in less, and a reader that stays (a backup) must not hold up the writer.
const PATIENCE: Duration = Duration::from_millis(100);

/// The log of a database.
#[derive(Debug)]
pub(super) struct Wal {
    file: PathBuf,
    /// Where the next attempt is made, in bytes.
    next: u64,
}

impl Wal {
    pub(super) fn of(database: &Path) -> Self {
        Self { file: file(database), next: LONG }
    }

    /// To be called between transactions.
    pub(super) fn trim(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let length = length(&self.file);
        if length < self.next {
            if length < LONG {
                self.next = LONG;
            }
            return Ok(());
        }
        db.busy_timeout(PATIENCE)?;
        let done = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        db.busy_timeout(super::BUSY_TIMEOUT)?;
        let busy: bool = done?;
        // Somebody stays: not with every commit from now on.
        self.next = if busy { length + LONG } else { LONG };
        Ok(())
    }
}

/// Where the log of a database lies.
pub(super) fn file(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// How long it is, in bytes; while there is none, it has none.
pub(super) fn length(file: &Path) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::super::connect;
    use super::*;

    #[test]
    fn the_log_is_cut_as_soon_as_no_reader_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.db");
        let db = connect(&file).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x BLOB)").unwrap();
        let reader = connect(&file).unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM t").unwrap();
        let mut wal = Wal::of(&file);
        // A reader that stays from the beginning, and writes beside it.
        for _ in 0..9 {
            db.execute("INSERT INTO t VALUES (zeroblob(4000000))", []).unwrap();
        }
        let length = |wal: &Wal| wal.file.metadata().unwrap().len();
        wal.trim(&db).unwrap();
        assert!(length(&wal) >= LONG && wal.next > LONG, "{wal:?}");
        reader.execute_batch("COMMIT").unwrap();
        // As if it had grown on.
        wal.next = LONG;
        wal.trim(&db).unwrap();
        assert_eq!((length(&wal), wal.next), (0, LONG));
    }
}
