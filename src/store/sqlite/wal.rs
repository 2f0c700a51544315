//! Keeps the write-ahead log short, whoever reads.
//!
//! SQLite writes it from the beginning again when all of it is in the database and nobody reads from it. Where somebody
//! always reads, that moment never comes by itself: it has to be waited for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

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
        let mut name = database.as_os_str().to_owned();
        name.push("-wal");
        Self { file: name.into(), next: LONG }
    }

    /// To be called between transactions.
    pub(super) async fn trim(&mut self, db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        if length < self.next {
            if length < LONG {
                self.next = LONG;
            }
            return Ok(());
        }
        let patience = |time: Duration| sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
        sqlx::query(patience(PATIENCE)).execute(&mut *db).await?;
        let done = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *db).await;
        sqlx::query(patience(super::BUSY_TIMEOUT)).execute(&mut *db).await?;
        let (busy, ..): (bool, i64, i64) = done?;
        // Somebody stays: not with every commit from now on.
        self.next = if busy { length + LONG } else { LONG };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Connection, Executor};

    use super::super::options;
    use super::*;

    #[tokio::test]
    async fn the_log_is_cut_as_soon_as_no_reader_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.db");
        let mut db = options(&file).create_if_missing(true).connect().await.unwrap();
        db.execute("CREATE TABLE t (x BLOB)").await.unwrap();
        let mut reader = options(&file).read_only(true).connect().await.unwrap();
        reader.execute("BEGIN").await.unwrap();
        reader.execute("SELECT * FROM t").await.unwrap();
        let mut wal = Wal::of(&file);
        let length = || wal_file(&file).metadata().unwrap().len();
        // A reader that stays from the beginning, and writes beside it.
        for _ in 0..9 {
            db.execute("INSERT INTO t VALUES (zeroblob(4000000))").await.unwrap();
        }
        wal.trim(&mut db).await.unwrap();
        assert!(length() >= LONG && wal.next > LONG, "{wal:?}");
        reader.execute("COMMIT").await.unwrap();
        // As if it had grown on.
        wal.next = LONG;
        wal.trim(&mut db).await.unwrap();
        assert_eq!((length(), wal.next), (0, LONG));
        db.close().await.unwrap();
    }

    fn wal_file(database: &Path) -> PathBuf {
        Wal::of(database).file
    }
}
