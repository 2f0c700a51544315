//! What belongs to tasks that have been claimed.

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::columns::kept;
use super::sql;
use crate::domain::{ErrorCode, Intent, Json, Outcome, TaskEvent, TaskState, Timestamp};
use crate::store::row::{COLUMNS, Columns, TaskRow, columns, line, unsigned};
use crate::store::{Claimed, Fence, Pending, StoreError};

/// Behind the columns of the task: its last line, what is sent next, and what the line's call was about to do.
const LINE: usize = COLUMNS;
const NEXT: usize = LINE + 4;
const NEXT_TOOL_MS: usize = LINE + 5;
const INTENT: usize = LINE + 6;

/// The tasks at these places, under these claims. One that cannot be read fails, and says why: it must not take down those
/// that were claimed with it.
pub(super) async fn taken(
    db: &mut PgConnection,
    places: &[(i64, i64)],
    now: Timestamp,
) -> Result<Vec<Claimed>, StoreError> {
    let (seqs, claims): (Vec<i64>, Vec<i64>) = places.iter().copied().unzip();
    let columns = columns!("c.");
    // Each is looked up: a plan that was made when the tables were small would join them whole.
    let reading = sql!(
        "SELECT {columns}, (SELECT body FROM posted p WHERE p.seq = c.seq), \
             i.log_end, i.line, i.cut, before.next, i.next, i.next_tool_ms, c.intent \
         FROM UNNEST($1::bigint[], $2::bigint[]) k (seq, claim) \
         JOIN LATERAL (SELECT * FROM tasks WHERE seq = k.seq AND claim = k.claim LIMIT 1) c ON TRUE \
         LEFT JOIN LATERAL (SELECT * FROM iterations WHERE seq = c.seq AND iteration = c.iteration LIMIT 1) i ON TRUE \
         LEFT JOIN LATERAL (SELECT next FROM iterations WHERE seq = c.seq AND iteration = c.iteration - 1 AND i.cut IS NOT NULL LIMIT 1) \
             before ON TRUE \
         ORDER BY c.seq"
    );
    let rows = reading.bind(&seqs).bind(&claims).fetch_all(&mut *db).await?;
    let mut taken = Vec::with_capacity(rows.len());
    for row in &rows {
        match claimed(row) {
            Ok(claimed) => taken.push(claimed),
            Err(error @ StoreError::BadRow { .. }) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a task that cannot be read fails");
                let task = TaskRow::read(row)?;
                fail(db, task.seq, task.claim, &error.to_string(), now).await?;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(taken)
}

fn claimed(row: &PgRow) -> Result<Claimed, StoreError> {
    let task_row = TaskRow::read(row)?;
    let task = task_row.task()?;
    let fence = Fence { id: task.id.clone(), seq: task_row.seq, claim: task_row.claim };
    let (mut pending, mut last_line, mut intent) = (None, None, None);
    // Most tasks have not begun yet.
    if task.iteration > 0 {
        if row.maybe_number(LINE)?.is_none() {
            return Err(task_row.bad("iteration", &task.iteration));
        }
        last_line = Some(line(row, LINE, task.id.as_str())?.line);
        if let Some(next) = row.maybe_text(NEXT)? {
            let payload = Json::reread(&next).map_err(|error| task_row.bad("next", &error))?;
            pending = Some(Pending { payload, tool_ms: row.maybe_number(NEXT_TOOL_MS)?.map(unsigned) });
        } else if let Some(text) = row.maybe_text(INTENT)? {
            // Of a call that was cut off.
            intent = Some(Intent::parse(&text).map_err(|error| task_row.bad("intent", &error))?);
        }
    }
    Ok(Claimed { task, fence, pending, last_line, intent })
}

async fn fail(db: &mut PgConnection, seq: i64, claim: i64, reason: &str, now: Timestamp) -> Result<(), StoreError> {
    let to = TaskState::Running.on(TaskEvent::Ended(Outcome::failed(ErrorCode::Internal, reason)))?;
    let fail = "UPDATE tasks SET status = $1, finished_at = $2, error_code = $3, error_message = $4, intent = NULL, lease_until = NULL, \
                revision = revision + 1 WHERE seq = $5 AND claim = $6 AND status = 'running'";
    sqlx::query(fail)
        .bind(to.status().as_str())
        .bind(now.millis())
        .bind(ErrorCode::Internal.as_str())
        .bind(kept(reason))
        .bind(seq)
        .bind(claim)
        .execute(db)
        .await?;
    Ok(())
}
