//! How a worker gets tasks, and keeps them.
//!
//! The fence of each write is the claim's number. The lease only says when others may claim the task; it is the server's
//! clock that tells.

use std::collections::HashMap;
use std::time::Instant;

use sqlx::{PgConnection, Row};

use super::clock::now;
use super::held::Held;
use super::{sql, taken};
use crate::domain::{ErrorCode, Outcome, TaskEvent, TaskState, Timestamp, WorkerId};
use crate::store::row::Columns;
use crate::store::{Claim, Claimed, Fence, Heartbeat, Recovered, StoreError, Which};

/// Lost tasks that are taken up at a time: enough for a worker's, few enough that it is soon done. There is a next time.
const LOST: i64 = 256;

/// A worker that has not been heard of for so many leases is forgotten.
const FORGOTTEN: i64 = 10;

/// How tasks are claimed. Those that another one is just claiming are passed over; without `MATERIALIZED` the planner may
/// lock more than it takes. What belongs to the tasks is read afterwards: an answer that is too long for the network's buffers
/// would keep the rows locked, and from everybody, for as long as whoever asked does not read it.
fn claim_sql(which: &Which) -> String {
    let which = match which {
        Which::Any => "status = 'queued'",
        // Found by its name: a planner that has not heard of a queue yet would go through all of it otherwise.
        Which::One(_) => "status || '' = 'queued' AND id = $6",
        Which::Cancelled => "status = 'queued' AND cancel_requested = 1",
    };
    let now = now!();
    format!(
        "WITH chosen AS MATERIALIZED ( \
             SELECT seq FROM tasks WHERE {which} ORDER BY priority DESC, seq LIMIT $1 FOR UPDATE SKIP LOCKED) \
         UPDATE tasks SET status = $2, claim = claim + 1, attempt = attempt + 1, revision = revision + 1, \
             started_at = COALESCE(started_at, $3), worker = $4, lease_until = {now} + $5 \
         WHERE seq = ANY(ARRAY(SELECT seq FROM chosen)) RETURNING seq, claim"
    )
}

pub(super) async fn claim(
    db: &mut PgConnection,
    claim: Claim,
    lease: i64,
    held: &Held,
) -> Result<Vec<Claimed>, StoreError> {
    let to = TaskState::NEW.on(TaskEvent::Claimed)?;
    let since = Instant::now();
    let claiming = sql!("{}", claim_sql(&claim.which))
        .bind(i64::from(claim.limit))
        .bind(to.status().as_str())
        .bind(claim.now.millis())
        .bind(claim.worker.as_str())
        .bind(lease);
    let claiming = match &claim.which {
        Which::One(id) => claiming.bind(id.as_str()),
        Which::Any | Which::Cancelled => claiming,
    };
    let rows = claiming.fetch_all(&mut *db).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let places = rows.iter().map(|row| Ok((row.number(0)?, row.number(1)?))).collect::<Result<Vec<_>, StoreError>>()?;
    let claimed = taken::taken(db, &places, claim.now).await?;
    for claimed in &claimed {
        held.renewed(&claimed.fence, since);
    }
    Ok(claimed)
}

/// Asks for the task alone, and renews its lease.
pub(super) async fn hold(db: &mut PgConnection, fence: Fence, lease: i64, held: &Held) -> Result<(), StoreError> {
    let since = Instant::now();
    let renew = concat!(
        "UPDATE tasks SET lease_until = ",
        now!(),
        " + $1 WHERE seq = $2 AND claim = $3 AND status = 'running'"
    );
    let done = sqlx::query(renew).bind(lease).bind(fence.seq).bind(fence.claim).execute(db).await?;
    if done.rows_affected() == 0 {
        held.gone(&fence);
        return Err(StoreError::Lost(fence.id));
    }
    held.renewed(&fence, since);
    Ok(())
}

pub(super) async fn hand_back(db: &mut PgConnection, fence: Fence) -> Result<(), StoreError> {
    let to = TaskState::Running.on(TaskEvent::HandedBack)?;
    let back = "UPDATE tasks SET status = $1, attempt = attempt - 1, revision = revision + 1, worker = NULL, lease_until = NULL \
                WHERE seq = $2 AND claim = $3 AND status = 'running'";
    let done = sqlx::query(back).bind(to.status().as_str()).bind(fence.seq).bind(fence.claim).execute(db).await?;
    if done.rows_affected() == 0 { Err(StoreError::Lost(fence.id)) } else { Ok(()) }
}

/// Tells of the worker, and renews all that it holds; returns what it holds no more.
pub(super) async fn beat(
    db: &mut PgConnection,
    beat: Heartbeat,
    lease: i64,
    held: &Held,
) -> Result<Vec<Fence>, StoreError> {
    let since = Instant::now();
    let (seqs, claims): (Vec<i64>, Vec<i64>) = beat.held.iter().map(|fence| (fence.seq, fence.claim)).unzip();
    // One that is locked is not waited for: it is being written to, which renews it as well, or the next beat does. What is its
    // own and it does not know of (the answer to a claim was lost) goes back to the queue, and nobody has died over it. What was
    // claimed since the beat was made is not meant: by a quarter of a lease the two clocks do not differ.
    let renew = concat!(
        "WITH me AS (INSERT INTO workers (id, capacity, started_at, seen_at) VALUES ($1, $2, $3, ",
        now!(),
        ") ON CONFLICT (id) DO UPDATE SET capacity = EXCLUDED.capacity, seen_at = EXCLUDED.seen_at), \
         old AS (DELETE FROM workers WHERE id IN (SELECT id FROM workers WHERE seen_at < ",
        now!(),
        " - $4 * $7 FOR UPDATE SKIP LOCKED)), \
         mine AS MATERIALIZED (SELECT t.seq FROM tasks t JOIN UNNEST($5::bigint[], $6::bigint[]) h (seq, claim) \
             ON t.seq = h.seq AND t.claim = h.claim WHERE t.status = 'running' FOR UPDATE OF t SKIP LOCKED), \
         renewed AS (UPDATE tasks SET lease_until = ",
        now!(),
        " + $4 WHERE seq = ANY(ARRAY(SELECT seq FROM mine)) RETURNING seq), \
         unknown AS MATERIALIZED (SELECT seq FROM tasks WHERE $11 AND status = 'running' AND worker = $1 AND seq <> ALL($5) \
             AND lease_until < $10 + $4 * 3 / 4 ORDER BY seq LIMIT $8 FOR UPDATE SKIP LOCKED), \
         back AS (UPDATE tasks SET status = $9, attempt = attempt - 1, revision = revision + 1, worker = NULL, lease_until = NULL \
             WHERE seq = ANY(ARRAY(SELECT seq FROM unknown))) \
         SELECT t.seq, t.seq IN (SELECT seq FROM renewed) FROM tasks t JOIN UNNEST($5::bigint[], $6::bigint[]) h (seq, claim) \
             ON t.seq = h.seq AND t.claim = h.claim WHERE t.status = 'running'"
    );
    let queued = TaskState::Running.on(TaskEvent::HandedBack)?;
    let rows = sqlx::query(renew)
        .bind(beat.worker.as_str())
        .bind(i64::from(beat.capacity))
        .bind(beat.started_at.millis())
        .bind(lease)
        .bind(seqs)
        .bind(claims)
        .bind(FORGOTTEN)
        .bind(LOST)
        .bind(queued.status().as_str())
        .bind(beat.now.millis())
        .bind(beat.complete)
        .fetch_all(db)
        .await?;
    let renewed = rows.iter().map(|row| Ok((row.number(0)?, row.try_get::<bool, _>(1)?)));
    let renewed = renewed.collect::<Result<HashMap<i64, bool>, sqlx::Error>>()?;
    held.beaten(since);
    let mut lost = Vec::new();
    for fence in beat.held {
        match renewed.get(&fence.seq) {
            Some(true) => held.renewed_again(&fence, since),
            None if held.gone(&fence) => lost.push(fence),
            // The one is renewed by whoever writes to it, the other has ended meanwhile.
            Some(false) | None => {}
        }
    }
    Ok(lost)
}

pub(super) async fn retire(db: &mut PgConnection, worker: WorkerId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM workers WHERE id = $1").bind(worker.as_str()).execute(db).await?;
    Ok(())
}

/// Takes up what was held under leases that have run out. After the server has started, those who live have `grace`
/// milliseconds to renew theirs.
pub(super) async fn recover(
    db: &mut PgConnection,
    lost_limit: u32,
    now: Timestamp,
    grace: i64,
) -> Result<Recovered, StoreError> {
    let back = TaskState::Running.on(TaskEvent::HandedBack)?;
    // What is not tried again. Who was told that it will be cancelled is not told otherwise.
    let message = format!("{lost_limit} workers have died over the task without a new iteration");
    let (cancelled, failed) = (Outcome::Cancelled, Outcome::failed(ErrorCode::LostTooOften, message.clone()));
    let cancelled = TaskState::Running.on(TaskEvent::Ended(cancelled))?;
    let failed = TaskState::Running.on(TaskEvent::Ended(failed))?;
    let take_up = concat!(
        "WITH lost AS MATERIALIZED (SELECT seq, losses + 1 >= $1 AS too_often FROM tasks WHERE status = 'running' AND lease_until < ",
        now!(),
        " AND pg_postmaster_start_time() < clock_timestamp() - $2 * INTERVAL '1 millisecond' \
             ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED) \
         UPDATE tasks SET losses = losses + 1, revision = revision + 1, worker = NULL, lease_until = NULL, \
             status = CASE WHEN NOT too_often THEN $4 WHEN cancel_requested = 1 THEN $5 ELSE $6 END, \
             finished_at = CASE WHEN too_often THEN $7 END, \
             intent = CASE WHEN too_often THEN NULL ELSE intent END, \
             error_code = CASE WHEN too_often AND cancel_requested = 0 THEN $8 END, \
             error_message = CASE WHEN too_often AND cancel_requested = 0 THEN $9 END \
         FROM lost WHERE tasks.seq = lost.seq RETURNING status"
    );
    let rows = sqlx::query(take_up)
        .bind(i64::from(lost_limit))
        .bind(grace)
        .bind(LOST)
        .bind(back.status().as_str())
        .bind(cancelled.status().as_str())
        .bind(failed.status().as_str())
        .bind(now.millis())
        .bind(ErrorCode::LostTooOften.as_str())
        .bind(message)
        .fetch_all(db)
        .await?;
    let states = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
    let count = |state: &TaskState| states.iter().filter(|status| *status == state.status().as_str()).count() as u64;
    Ok(Recovered { requeued: count(&back), given_up: count(&failed), cancelled: count(&cancelled) })
}
