//! Ended tasks and their records, read by connections that cannot write.

use std::io;
use std::path::Path;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::columns::task_row;
use super::readers::Readers;
use crate::store::archive::add;
use crate::store::row::{SELECT_LINE, SELECT_TASK, line};
use crate::store::{Archive, Cursor, Ended, MAX_PAGE, Records, StoreError};

/// A file that another process may be writing.
pub(in crate::store) struct SqliteArchive {
    readers: Readers,
}

impl SqliteArchive {
    /// Another one by the same connections.
    pub(super) fn beside(readers: &Readers) -> Self {
        Self { readers: readers.clone() }
    }

    pub(in crate::store) async fn open(file: &Path) -> Result<Self, StoreError> {
        let opening = |error: rusqlite::Error| StoreError::Open(error.into());
        match file.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Open("no service has made it yet; is it this one's OUTPUT_DIR?".into()));
            }
            Err(error) => return Err(StoreError::Open(error.into())),
        }
        let readers = Readers::open(file).map_err(opening)?;
        let known = |db: &Connection| Ok(db.prepare(&format!("{SELECT_TASK} LIMIT 0")).map(drop)?);
        readers.read(known).await.map_err(|error| {
            StoreError::Open(
                format!("its tables are not this version's; start the service on it once ({error})").into(),
            )
        })?;
        Ok(Self { readers })
    }
}

#[async_trait]
impl Archive for SqliteArchive {
    async fn ended(&self, after: Cursor, limit: u32) -> Result<Vec<Ended>, StoreError> {
        self.readers.read(move |db| ended(db, after, limit)).await
    }

    async fn ended_at(&self, place: Cursor) -> Result<Option<Ended>, StoreError> {
        self.readers.read(move |db| ended_at(db, place)).await
    }

    async fn records(&self, places: Vec<Cursor>) -> Result<Records, StoreError> {
        self.readers.read(move |db| records(db, &places)).await
    }

    async fn last_place(&self) -> Result<Cursor, StoreError> {
        self.readers.read(last_place).await
    }
}

fn ended(db: &Connection, after: Cursor, limit: u32) -> Result<Vec<Ended>, StoreError> {
    let sql = format!("{SELECT_TASK} WHERE seq > ? AND finished_at IS NOT NULL ORDER BY seq LIMIT ?");
    let mut select = db.prepare_cached(&sql)?;
    let (mut tasks, mut bytes) = (Vec::new(), 0);
    for row in select.query_map([after.0, i64::from(limit)], task_row)? {
        let ended = Ended::of(&row?);
        bytes += ended.length();
        tasks.push(ended);
        if bytes > MAX_PAGE {
            break;
        }
    }
    Ok(tasks)
}

fn ended_at(db: &Connection, place: Cursor) -> Result<Option<Ended>, StoreError> {
    let sql = format!("{SELECT_TASK} WHERE seq = ? AND finished_at IS NOT NULL");
    let row = db.prepare_cached(&sql)?.query_row([place.0], task_row).optional()?;
    Ok(row.map(|row| Ended::of(&row)))
}

fn records(db: &Connection, places: &[Cursor]) -> Result<Records, StoreError> {
    let sql = format!("{SELECT_LINE} WHERE i.seq = ? ORDER BY i.iteration");
    let mut select = db.prepare_cached(&sql)?;
    let mut records = Records::with_capacity(places.len());
    for place in places {
        let mut rows = select.query([place.0])?;
        let lines = records.entry(*place).or_insert_with(|| Ok(Vec::new()));
        while let Some(row) = rows.next()? {
            add(lines, line(row, 0, &format!("the task at {}", place.0)))?;
        }
    }
    Ok(records)
}

fn last_place(db: &Connection) -> Result<Cursor, StoreError> {
    let last = db.prepare_cached("SELECT MAX(seq) FROM tasks")?.query_row([], |row| row.get::<_, Option<i64>>(0))?;
    Ok(Cursor(last.unwrap_or_default()))
}
