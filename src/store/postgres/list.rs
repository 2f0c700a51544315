//! The list of tasks.

use sqlx::PgConnection;

use super::columns::kept;
use super::read::readable;
use super::{sql, words};
use crate::domain::Timestamp;
use crate::store::listing::{By, Way};
use crate::store::row::{COLUMNS, Columns, TaskRow, columns, signed};
use crate::store::{Cursor, ListQuery, Listed, MAX_PAGE, StoreError};

/// Behind the columns of a listed task: how many were found, and the last candidate if that was not all.
const FOUND: usize = COLUMNS;
const LOOKED_AT: usize = COLUMNS + 1;

pub(super) async fn list(db: &mut PgConnection, query: ListQuery) -> Result<Listed, StoreError> {
    let way = Way::new(&query);
    if let By::Word(_) = way.by {
        words::catch_up_a_little(db).await?;
    }
    let (after, before) = bounds(db, &way).await?;
    let (candidates, order) = candidates(&way.by);
    // Bodies are sent as far as a page may be long, and no further: how long they are can be told without reading them. There
    // is a row even if no task is found. Each candidate is looked up: a plan that was made when the tables were small would
    // join them whole.
    let columns = columns!("t.");
    let rows = sql!(
        "SELECT {columns}, (SELECT body FROM posted p WHERE p.seq = t.seq), t.found, \
             CASE WHEN COALESCE(t.found, 0) <= $4 THEN (SELECT MIN(c.seq) FROM ({candidates}) c HAVING COUNT(*) = $3) END \
         FROM (SELECT 1) page LEFT JOIN ( \
             SELECT t.*, COUNT(*) OVER () AS found, SUM(t.length) OVER (ORDER BY t.seq DESC) - t.length AS sent FROM ( \
                 SELECT t.*, (SELECT OCTET_LENGTH(body) FROM posted p WHERE p.seq = t.seq)::bigint AS length \
                 FROM ({candidates}) c CROSS JOIN LATERAL (SELECT * FROM tasks WHERE seq = c.seq LIMIT 1) t \
                 WHERE t.created_at >= $6 AND t.created_at < $7 AND ($8 IS NULL OR t.status = ANY($8)) AND NOT EXISTS ( \
                     SELECT 1 FROM UNNEST($9) w (word) \
                     WHERE (SELECT 1 FROM task_words x WHERE x.seq = t.seq AND x.word = w.word LIMIT 1) IS NULL) \
                 ORDER BY {order} LIMIT $4 + 1) t \
         ) t ON t.sent <= $5 ORDER BY t.seq DESC"
    );
    let words: Vec<_> = way.words.iter().map(|word| kept(word).into_owned()).collect();
    let limit = i64::try_from(way.limit).unwrap_or(i64::MAX - 1);
    let rows = rows
        .bind(before)
        .bind(after)
        .bind(i64::from(way.candidates))
        .bind(limit)
        .bind(signed(MAX_PAGE as u64))
        .bind(way.accepted.0.map_or(i64::MIN, Timestamp::millis))
        .bind(way.accepted.1.map_or(i64::MAX, Timestamp::millis))
        .bind(
            Some(way.status.iter().map(|status| status.as_str()).collect::<Vec<_>>())
                .filter(|status| !status.is_empty()),
        )
        .bind(words);
    let rows = match &way.by {
        By::Word(word) => rows.bind(kept(word).into_owned()),
        By::Status | By::Place => rows,
    };
    let rows = rows.fetch_all(db).await?;
    let looked_at = rows.first().map(|row| row.maybe_number(LOOKED_AT)).transpose()?.flatten().map(Cursor);
    let Some(found) = rows.first().map(|row| row.maybe_number(FOUND)).transpose()?.flatten() else {
        return Ok(Listed { tasks: Vec::new(), next: looked_at });
    };
    let shown = rows.get(..way.limit).unwrap_or(&rows);
    let last = shown.last().map(|row| row.number(0)).transpose()?.map(Cursor);
    let tasks = readable(shown, |row| TaskRow::read(row)?.task())?;
    let more = found > i64::try_from(shown.len()).unwrap_or(i64::MAX);
    Ok(Listed { tasks, next: if more { last } else { looked_at } })
}

/// The places that those are between which were accepted at the right time, as far as that can be told without looking at
/// them.
async fn bounds(db: &mut PgConnection, way: &Way) -> Result<(i64, i64), StoreError> {
    let (mut after, mut before) = (0, way.before);
    if let Some(since) = way.surely_before() {
        let last = "SELECT seq FROM tasks WHERE created_at < $1 ORDER BY created_at DESC LIMIT 1";
        let last = sqlx::query(last).bind(since.millis()).fetch_optional(&mut *db).await?;
        after = last.map(|row| row.number(0)).transpose()?.unwrap_or(after);
    }
    if let Some(until) = way.surely_behind() {
        let first = "SELECT seq FROM tasks WHERE created_at >= $1 ORDER BY created_at LIMIT 1";
        let first = sqlx::query(first).bind(until.millis()).fetch_optional(db).await?;
        before = first.map(|row| row.number(0)).transpose()?.map_or(before, |first: i64| first.min(before));
    }
    Ok((after, before))
}

/// The question for the places of candidates, newest first, and the order that it gives them in.
fn candidates(by: &By) -> (&'static str, &'static str) {
    // As a range of the index that is in this order. If the word or the status were a condition of its own, the planner might
    // go through all tasks from the newest on until it has found enough of them: through all of them, if there are few.
    match by {
        By::Word(_) => (
            "SELECT word, seq FROM task_words WHERE (word, seq) < ($10, $1) AND (word, seq) > ($10, $2) \
             ORDER BY word DESC, seq DESC LIMIT $3",
            "c.word DESC, c.seq DESC",
        ),
        By::Status => (
            "SELECT of.seq FROM UNNEST($8) s (status) CROSS JOIN LATERAL ( \
                 SELECT seq FROM tasks t WHERE (t.status, t.seq) < (s.status, $1) AND (t.status, t.seq) > (s.status, $2) \
                 ORDER BY t.status DESC, t.seq DESC LIMIT $3) of \
             ORDER BY of.seq DESC LIMIT $3",
            "c.seq DESC",
        ),
        By::Place => ("SELECT seq FROM tasks WHERE seq < $1 AND seq > $2 ORDER BY seq DESC LIMIT $3", "c.seq DESC"),
    }
}
