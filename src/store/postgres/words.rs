//! The words that tasks are found by.

use sqlx::{Connection, PgConnection};

use super::columns::kept;
use crate::domain::{Json, labels_of};
use crate::store::row::Columns;
use crate::store::{NewTask, StoreError, words};

/// Tasks that get their words at a time: each may be a megabyte.
const AT_ONCE: i64 = 64;

/// The words of a new task, as they are kept.
pub(super) fn of(new: &NewTask) -> Vec<String> {
    as_kept(&words::of(&new.spec.labels, new.spec.workspace.as_deref()))
}

/// Gives their words to the tasks that were accepted before there were any. Of several that do so at the same time each takes
/// some; what breaks off is gone on with at the next start.
pub(super) async fn catch_up(db: &mut PgConnection) -> Result<(), StoreError> {
    while some(db).await? {}
    Ok(())
}

/// Whether there were any.
async fn some(db: &mut PgConnection) -> Result<bool, StoreError> {
    let mut transaction = db.begin().await?;
    let wordless = "SELECT seq, body, workspace FROM wordless JOIN posted USING (seq) JOIN tasks USING (seq) \
                    ORDER BY seq LIMIT $1 \
                    FOR UPDATE OF wordless SKIP LOCKED FOR KEY SHARE OF tasks SKIP LOCKED";
    let tasks = sqlx::query(wordless).bind(AT_ONCE).fetch_all(&mut *transaction).await?;
    let (mut seqs, mut places, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for task in &tasks {
        let (seq, body, workspace) = (task.number(0)?, task.text(1)?, task.maybe_text(2)?);
        // What cannot be read is told of where the task is.
        let labels = Json::reread(&body).map(|posted| labels_of(&posted)).unwrap_or_default();
        for word in as_kept(&words::of(&labels, workspace.as_deref())) {
            places.push(seq);
            found.push(word);
        }
        seqs.push(seq);
    }
    let add =
        "INSERT INTO task_words (seq, word) SELECT * FROM UNNEST($1::bigint[], $2::text[]) ON CONFLICT DO NOTHING";
    sqlx::query(add).bind(places).bind(found).execute(&mut *transaction).await?;
    sqlx::query("DELETE FROM wordless WHERE seq = ANY($1)").bind(&seqs).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(!seqs.is_empty())
}

fn as_kept(words: &[String]) -> Vec<String> {
    words.iter().map(|word| kept(word).into_owned()).collect()
}
