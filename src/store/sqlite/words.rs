//! The words that tasks are found by.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use crate::domain::{Json, labels_of};
use crate::store::{StoreError, words};

/// Tasks that get their words at a time: each may be a megabyte.
const AT_ONCE: u32 = 64;

/// Notes the words of a new task.
pub(super) fn add(db: &Connection, seq: i64, words: &[String]) -> Result<(), StoreError> {
    for word in words {
        db.prepare_cached("INSERT INTO task_words (seq, word) VALUES (?, ?)")?.execute(params![seq, word])?;
    }
    Ok(())
}

/// Gives their words to the tasks that were accepted before there were any. What breaks off is gone on with at the next start.
pub(super) fn catch_up(file: &Path) -> Result<(), StoreError> {
    let mut db = super::connect(file)?;
    loop {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tasks = wordless(&transaction)?;
        if tasks.is_empty() {
            return Ok(());
        }
        for (seq, body, workspace) in tasks {
            // What cannot be read is told of where the task is.
            let labels = Json::reread(&body).map(|posted| labels_of(&posted)).unwrap_or_default();
            add(&transaction, seq, &words::of(&labels, workspace.as_deref()))?;
            transaction.prepare_cached("DELETE FROM wordless WHERE seq = ?")?.execute([seq])?;
        }
        transaction.commit()?;
    }
}

fn wordless(db: &Connection) -> Result<Vec<(i64, String, Option<String>)>, StoreError> {
    let sql =
        "SELECT seq, body, workspace FROM wordless JOIN posted USING (seq) JOIN tasks USING (seq) ORDER BY seq LIMIT ?";
    let mut select = db.prepare_cached(sql)?;
    let rows = select.query_map([AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
