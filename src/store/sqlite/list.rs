//! The list of tasks.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::columns::task_row;
use crate::domain::{Status, Timestamp};
use crate::store::listing::{By, Way};
use crate::store::row::SELECT_TASK;
use crate::store::{Cursor, ListQuery, Listed, MAX_PAGE, StoreError};

pub(super) fn list(db: &Connection, query: &ListQuery) -> Result<Listed, StoreError> {
    let way = Way::new(query);
    let (sql, values) = candidates(db, &way)?;
    let mut select = db.prepare_cached(&sql)?;
    let mut candidates = select.query(params_from_iter(values))?;
    let (mut tasks, mut last, mut bytes) = (Vec::new(), None, 0);
    let (mut looked_at, mut at) = (0, None);
    while let Some(candidate) = candidates.next()? {
        let seq = candidate.get(0)?;
        if candidate.get(1)? {
            if tasks.len() == way.limit || bytes > MAX_PAGE {
                return Ok(Listed { tasks, next: last });
            }
            // Of the same moment as the candidates: they are still being read.
            let task =
                db.prepare_cached(&format!("{SELECT_TASK} WHERE t.seq = ?"))?.query_row([seq], task_row)?.task()?;
            bytes += task.posted.as_str().len();
            last = Some(Cursor(seq));
            tasks.push(task);
        }
        (looked_at, at) = (looked_at + 1, Some(Cursor(seq)));
    }
    Ok(Listed { tasks, next: at.filter(|_| looked_at == way.candidates) })
}

/// The question for the candidates, newest first, and whether each of them is all that was asked for.
fn candidates(db: &Connection, way: &Way) -> Result<(String, Vec<Value>), StoreError> {
    let bound = |sql: &str, time: Option<Timestamp>| -> rusqlite::Result<Option<i64>> {
        let Some(time) = time else { return Ok(None) };
        db.prepare_cached(sql)?.query_row([time.millis()], |row| row.get(0)).optional()
    };
    let after = "SELECT seq FROM tasks INDEXED BY tasks_created WHERE created_at < ? ORDER BY created_at DESC LIMIT 1";
    let before = "SELECT seq FROM tasks INDEXED BY tasks_created WHERE created_at >= ? ORDER BY created_at LIMIT 1";
    let after = bound(after, way.surely_before())?.unwrap_or(0);
    let before = bound(before, way.surely_behind())?.map_or(way.before, |before| before.min(way.before));
    let (from, until) = way.accepted;
    let from = from.map_or(i64::MIN, Timestamp::millis);
    let until = until.map_or(i64::MAX, Timestamp::millis);

    let mut values: Vec<Value> = [after, before, way.candidates.into(), from, until].map(Value::from).into();
    let range = "seq > ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
    let of_status = |status: &Status| {
        format!(
            "SELECT * FROM (SELECT seq FROM tasks INDEXED BY tasks_by_status WHERE status = '{status}' AND {range})"
        )
    };
    let found = match &way.by {
        By::Word(word) => {
            values.push(word.clone().into());
            format!("SELECT seq FROM task_words INDEXED BY task_words_in_order WHERE word = ?6 AND {range}")
        }
        By::Status => way.status.iter().map(of_status).collect::<Vec<_>>().join(" UNION ALL "),
        By::Place => format!("SELECT seq FROM tasks WHERE {range}"),
    };
    let mut all = vec!["t.created_at >= ?4 AND t.created_at < ?5".to_owned()];
    if matches!(way.by, By::Word(_)) && !way.status.is_empty() {
        let words: Vec<_> = way.status.iter().map(|status| format!("'{status}'")).collect();
        all.push(format!("t.status IN ({})", words.join(", ")));
    }
    for word in &way.words {
        values.push(word.clone().into());
        let number = values.len();
        all.push(format!("EXISTS (SELECT 1 FROM task_words w WHERE w.seq = t.seq AND w.word = ?{number})"));
    }
    let all = all.join(" AND ");
    let sql = format!(
        "SELECT c.seq, {all} FROM (SELECT seq FROM ({found}) ORDER BY seq DESC LIMIT ?3) c CROSS JOIN tasks t ON t.seq = c.seq \
         ORDER BY c.seq DESC"
    );
    Ok((sql, values))
}
