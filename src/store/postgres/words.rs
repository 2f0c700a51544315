//! The words that tasks are found by.

use sqlx::PgConnection;

use super::columns::kept;
use crate::domain::{Json, labels_of};
use crate::store::row::Columns;
use crate::store::{NewTask, StoreError, words};

/// Tasks that get their words at a time: each may be a megabyte.
const AT_ONCE: i64 = 64;

/// How many times that a list goes on with it first: within a second.
const A_LITTLE: u32 = 16;

/// The words of a new task, as they are kept.
pub(super) fn of(new: &NewTask) -> Vec<String> {
    as_kept(&words::of(&new.spec.labels, new.spec.workspace.as_deref()))
}

/// Gives their words to all tasks that have none yet: from before there were any, or from a process of an older version. What
/// breaks off is gone on with later, and of several that do so at the same time each finds done what another one has done.
pub(super) async fn catch_up(db: &mut PgConnection) -> Result<(), StoreError> {
    while some(db).await? {}
    Ok(())
}

/// The same for a few of them, so that whoever asks need not wait for long.
pub(super) async fn catch_up_a_little(db: &mut PgConnection) -> Result<(), StoreError> {
    for _ in 0..A_LITTLE {
        if !some(db).await? {
            break;
        }
    }
    Ok(())
}

/// Whether there were any.
async fn some(db: &mut PgConnection) -> Result<bool, StoreError> {
    let wordless = "SELECT seq, body, workspace FROM wordless JOIN posted USING (seq) JOIN tasks USING (seq) ORDER BY seq LIMIT $1";
    let tasks = sqlx::query(wordless).bind(AT_ONCE).fetch_all(&mut *db).await?;
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
    if seqs.is_empty() {
        return Ok(false);
    }
    // A task may be deleted meanwhile: then it needs no words.
    let add = "WITH there AS MATERIALIZED (SELECT seq FROM tasks WHERE seq = ANY($1) ORDER BY seq FOR KEY SHARE), \
               added AS (INSERT INTO task_words (seq, word) \
                   SELECT seq, word FROM UNNEST($2::bigint[], $3::text[]) w (seq, word) JOIN there USING (seq) ORDER BY seq, word \
                   ON CONFLICT DO NOTHING) \
               DELETE FROM wordless WHERE seq = ANY($1)";
    sqlx::query(add).bind(&seqs).bind(places).bind(found).execute(db).await?;
    Ok(true)
}

fn as_kept(words: &[String]) -> Vec<String> {
    words.iter().map(|word| kept(word).into_owned()).collect()
}
