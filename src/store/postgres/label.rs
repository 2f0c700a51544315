//! What somebody thinks of a task that has ended.

use sqlx::PgConnection;

use super::columns::kept;
use super::read::by_id;
use super::sql;
use super::submit::TRIES;
use crate::domain::{Task, TaskId, Verdict, VerdictOutcome};
use crate::store::row::{TaskRow, columns};
use crate::store::{LabelAnswer, StoreError};

/// Asked again, it finds its own verdict there and changes nothing.
pub(super) async fn label(db: &mut PgConnection, id: TaskId, verdict: Verdict) -> Result<LabelAnswer, StoreError> {
    for _ in 0..TRIES {
        if let Some(task) = put(db, &id, &verdict).await? {
            return Ok(LabelAnswer::Labelled(Box::new(task)));
        }
        let Some(row) = by_id(db, &id).await? else { return Ok(LabelAnswer::Missing) };
        let task = row.task()?;
        if !task.has_ended() {
            return Ok(LabelAnswer::NotEnded(task.state.status()));
        }
        if task.verdict.as_ref().is_some_and(|known| verdict.says_as(known)) {
            return Ok(LabelAnswer::Labelled(Box::new(task)));
        }
        // It has ended, or got another verdict, between the two.
    }
    Err(StoreError::Unavailable("the task moves too fast".into()))
}

/// The task with the verdict, if it has ended and had another one.
async fn put(db: &mut PgConnection, id: &TaskId, verdict: &Verdict) -> Result<Option<Task>, StoreError> {
    let columns = columns!("done.");
    let putting = sql!(
        "WITH done AS ( \
             UPDATE tasks SET verdict = $2, reward = $3, note = $4, labelled_at = $5, revision = revision + 1 \
             WHERE id = $1 AND finished_at IS NOT NULL \
                 AND (verdict, reward, note) IS DISTINCT FROM ($2::text, $3::double precision, $4::text) \
             RETURNING *) \
         SELECT {columns}, (SELECT body FROM posted WHERE posted.seq = done.seq) FROM done"
    );
    let done = putting
        .bind(id.as_str())
        .bind(verdict.outcome.map(VerdictOutcome::as_str))
        .bind(verdict.reward)
        .bind(verdict.note.as_deref().map(kept))
        .bind(verdict.at.millis())
        .fetch_optional(db)
        .await?;
    done.map(|row| TaskRow::read(&row)?.task()).transpose()
}
