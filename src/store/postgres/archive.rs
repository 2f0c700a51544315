//! Ended tasks and their records.

use async_trait::async_trait;
use sqlx::{Connection, PgConnection};

use super::pool::{Pool, PostgresSettings};
use super::sql;
use crate::store::archive::add;
use crate::store::row::{Columns, SELECT_LINE, SELECT_TASK, TaskRow, columns, line, signed};
use crate::store::{Archive, Cursor, Ended, MAX_PAGE, Records, StoreError};

/// Connections of a process that only reads: it asks one question after the other.
const CONNECTIONS: u32 = 1;

/// A database that others are working with.
pub(in crate::store) struct PostgresArchive {
    pool: Pool,
}

impl PostgresArchive {
    /// Another one by the same connections.
    pub(super) fn beside(pool: &Pool) -> Self {
        Self { pool: pool.clone() }
    }

    pub(in crate::store) async fn open(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let mut settings = settings.clone();
        settings.connections = CONNECTIONS;
        settings.options = settings.options.options([("default_transaction_read_only", "on")]);
        let mut db = Pool::first(&settings).await?;
        let known = sql!("{SELECT_TASK} LIMIT 0").execute(&mut db).await;
        known.map_err(|error| {
            StoreError::Open(
                format!("its tables are not this version's; start the service on it once ({error})").into(),
            )
        })?;
        if let Err(error) = db.close().await {
            tracing::debug!(%error, "a connection was lost before it was closed");
        }
        Ok(Self { pool: Pool::for_all(&settings) })
    }
}

#[async_trait]
impl Archive for PostgresArchive {
    async fn ended(&self, after: Cursor, limit: u32) -> Result<Vec<Ended>, StoreError> {
        self.pool.ask_long(move |db| Box::pin(ended(db, after, limit))).await
    }

    async fn ended_at(&self, place: Cursor) -> Result<Option<Ended>, StoreError> {
        self.pool.ask_long(move |db| Box::pin(ended_at(db, place))).await
    }

    async fn records(&self, places: Vec<Cursor>) -> Result<Records, StoreError> {
        self.pool.ask_long(move |db| Box::pin(records(db, places))).await
    }

    async fn last_place(&self) -> Result<Cursor, StoreError> {
        let last = self.pool.ask(|db| {
            Box::pin(async move { Ok(sqlx::query("SELECT MAX(seq) FROM tasks").fetch_one(db).await?.maybe_number(0)?) })
        });
        Ok(Cursor(last.await?.unwrap_or_default()))
    }
}

async fn ended(db: &mut PgConnection, after: Cursor, limit: u32) -> Result<Vec<Ended>, StoreError> {
    // Tasks are sent as far as a page may be long, and no further: how long they are can be told without reading them.
    let columns = columns!("t.");
    let rows = sql!(
        "SELECT {columns}, (SELECT body FROM posted p WHERE p.seq = t.seq) FROM ( \
             SELECT t.*, SUM(t.length) OVER (ORDER BY t.seq) - t.length AS sent FROM ( \
                 SELECT t.*, ((SELECT OCTET_LENGTH(body) FROM posted p WHERE p.seq = t.seq) \
                     + COALESCE(OCTET_LENGTH(summary), 0) + COALESCE(OCTET_LENGTH(error_message), 0))::bigint AS length \
                 FROM tasks t WHERE seq > $1 AND finished_at IS NOT NULL ORDER BY seq LIMIT $2) t) t \
         WHERE t.sent <= $3 ORDER BY t.seq"
    );
    let rows = rows.bind(after.0).bind(i64::from(limit)).bind(signed(MAX_PAGE as u64)).fetch_all(db).await?;
    rows.iter().map(|row| Ok(Ended::of(&TaskRow::read(row)?))).collect()
}

async fn ended_at(db: &mut PgConnection, place: Cursor) -> Result<Option<Ended>, StoreError> {
    let row = sql!("{SELECT_TASK} WHERE t.seq = $1 AND finished_at IS NOT NULL").bind(place.0);
    row.fetch_optional(db).await?.map(|row| Ok(Ended::of(&TaskRow::read(&row)?))).transpose()
}

async fn records(db: &mut PgConnection, places: Vec<Cursor>) -> Result<Records, StoreError> {
    let with_place = SELECT_LINE.replacen("SELECT ", "SELECT i.seq, ", 1);
    let seqs: Vec<i64> = places.iter().map(|place| place.0).collect();
    let lines = sql!("{with_place} WHERE i.seq = ANY($1) ORDER BY i.seq, i.iteration").bind(seqs);
    let mut records: Records = places.into_iter().map(|place| (place, Ok(Vec::new()))).collect();
    for row in lines.fetch_all(db).await? {
        let place = Cursor(row.number(0)?);
        let lines = records.entry(place).or_insert_with(|| Ok(Vec::new()));
        add(lines, line(&row, 1, &format!("the task at {}", place.0)))?;
    }
    Ok(records)
}
