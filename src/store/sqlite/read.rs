//! Questions to the tables; none of them changes anything.

use futures_util::TryStreamExt;
use sqlx::SqliteConnection;

use super::row::{SELECT_TASK, TaskRow, signed, unsigned};
use crate::domain::{InvalidTaskId, Status, Task, TaskId, Timestamp};
use crate::store::{Cursor, Fence, ListQuery, Listed, StoreError, StoredLine};

/// Bytes of posted tasks on a page: enough for any page of ordinary tasks, and far from what a few clients listing the
/// longest ones could fill the memory with.
const MAX_PAGE: usize = 4 * 1024 * 1024;

pub(super) async fn task(db: &mut SqliteConnection, id: &TaskId) -> Result<Option<Task>, StoreError> {
    task_row(db, id).await?.map(|row| row.task()).transpose()
}

pub(super) async fn task_row(db: &mut SqliteConnection, id: &TaskId) -> Result<Option<TaskRow>, StoreError> {
    let sql = format!("{SELECT_TASK} WHERE t.id = ?");
    Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id.as_str()).fetch_optional(db).await?)
}

pub(super) async fn list(db: &mut SqliteConnection, query: &ListQuery) -> Result<Listed, StoreError> {
    let by_status = if query.status.is_some() { "AND t.status = ?3" } else { "" };
    let sql = format!("{SELECT_TASK} WHERE t.seq < ?1 {by_status} ORDER BY t.seq DESC LIMIT ?2");
    let mut rows = sqlx::query_as::<_, TaskRow>(sqlx::AssertSqlSafe(sql))
        .bind(query.before.map_or(i64::MAX, |cursor| cursor.0))
        // One more than asked for tells whether there is a next page.
        .bind(i64::from(query.limit) + 1)
        .bind(query.status.map(Status::as_str))
        .fetch(db);
    let (mut tasks, mut last, mut bytes) = (Vec::new(), None, 0);
    while let Some(row) = rows.try_next().await? {
        if tasks.len() == query.limit as usize || bytes > MAX_PAGE {
            return Ok(Listed { tasks, next: last });
        }
        let task = row.task()?;
        bytes += task.posted.as_str().len();
        last = Some(Cursor(row.seq));
        tasks.push(task);
    }
    Ok(Listed { tasks, next: None })
}

pub(super) async fn cancel_requests(db: &mut SqliteConnection) -> Result<Vec<Fence>, StoreError> {
    let sql = "SELECT id, claim FROM tasks WHERE status = 'running' AND cancel_requested = 1";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(db).await?;
    rows.into_iter().map(|(id, claim)| Ok(Fence { id: parse_id(&id)?, claim })).collect()
}

pub(super) async fn unfiled(db: &mut SqliteConnection, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    let sql = "SELECT id FROM tasks WHERE filed = 0 AND finished_at IS NOT NULL ORDER BY seq LIMIT ?";
    let ids: Vec<String> = sqlx::query_scalar(sql).bind(limit).fetch_all(db).await?;
    ids.iter().map(|id| parse_id(id)).collect()
}

pub(super) async fn expired(
    db: &mut SqliteConnection,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<TaskId>, StoreError> {
    let sql = "SELECT id FROM tasks INDEXED BY tasks_finished WHERE finished_at < ? AND filed = 1 \
               ORDER BY finished_at LIMIT ?";
    let ids: Vec<String> = sqlx::query_scalar(sql).bind(before.millis()).bind(limit).fetch_all(db).await?;
    ids.iter().map(|id| parse_id(id)).collect()
}

pub(super) async fn removals(db: &mut SqliteConnection, limit: u32) -> Result<Vec<TaskId>, StoreError> {
    let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM removals LIMIT ?").bind(limit).fetch_all(db).await?;
    ids.iter().map(|id| parse_id(id)).collect()
}

fn parse_id(id: &str) -> Result<TaskId, StoreError> {
    let bad = |error: InvalidTaskId| error.to_string();
    id.parse().map_err(|error| StoreError::BadRow {
        table: "tasks",
        column: "id",
        id: id.to_owned(),
        detail: bad(error),
    })
}

pub(super) async fn lines(
    db: &mut SqliteConnection,
    id: &TaskId,
    from: u64,
    limit: u32,
) -> Result<Vec<StoredLine>, StoreError> {
    let sql = "SELECT i.log_end, i.line FROM iterations i JOIN tasks t ON t.seq = i.seq \
               WHERE t.id = ? AND i.log_end > ? ORDER BY i.iteration LIMIT ?";
    let rows: Vec<(i64, String)> =
        sqlx::query_as(sql).bind(id.as_str()).bind(signed(from)).bind(limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|(end, line)| StoredLine { end: unsigned(end), line }).collect())
}

pub(super) async fn offset_after(db: &mut SqliteConnection, id: &TaskId, iteration: u32) -> Result<u64, StoreError> {
    let sql = "SELECT COALESCE(MAX(i.log_end), 0) FROM iterations i JOIN tasks t ON t.seq = i.seq \
               WHERE t.id = ? AND i.iteration <= ?";
    let end: i64 = sqlx::query_scalar(sql).bind(id.as_str()).bind(iteration).fetch_one(db).await?;
    Ok(unsigned(end))
}

pub(super) async fn ping(db: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM tasks LIMIT 1").fetch_optional(db).await?;
    Ok(())
}
