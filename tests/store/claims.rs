//! How tasks are handed to workers, and taken from those that are gone.

use std::sync::Arc;

use codex_agent::domain::{ErrorCode, Json, Outcome, Status};
use codex_agent::store::{Pending, Recovered, Step, StoreError};

use crate::world::{World, at, claim, end, id, new, step, submit};

on_both! {
    claim_hands_each_task_to_one_worker,
    claims_go_by_priority_and_then_by_age,
    a_worker_that_lost_its_claim_changes_nothing,
    a_claim_brings_what_is_needed_to_go_on,
    a_task_over_which_worker_after_worker_dies_is_given_up,
    what_was_to_be_cancelled_and_is_given_up_is_cancelled,
}

async fn claim_hands_each_task_to_one_worker(world: &World) {
    let store = &world.store;
    for n in 0..200 {
        submit(store, &format!("t{n}")).await;
    }
    let workers = (0..16).map(|_| {
        let store = Arc::clone(store);
        async move {
            let mut got = Vec::new();
            loop {
                let claimed = claim(&store, 3).await;
                if claimed.is_empty() {
                    return got;
                }
                got.extend(claimed.into_iter().map(|claimed| claimed.task.id));
            }
        }
    });
    let mut all: Vec<_> = futures_util::future::join_all(workers).await.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 200);
}

async fn claims_go_by_priority_and_then_by_age(world: &World) {
    let store = &world.store;
    for (name, priority) in [("a", 0), ("b", 5), ("c", -1), ("d", 5)] {
        store.submit(new(name, priority)).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(claim(store, 1).await.remove(0).task.id.to_string());
    }
    assert_eq!(order, ["b", "d", "a", "c"]);
}

async fn a_worker_that_lost_its_claim_changes_nothing(world: &World) {
    let store = &world.store;
    submit(store, "t").await;
    let first = claim(store, 1).await.remove(0);
    assert_eq!(world.recover(5).await, Recovered { requeued: 1, ..Recovered::default() });
    let second = claim(store, 1).await.remove(0);
    assert!(second.fence.claim > first.fence.claim);
    assert_eq!(second.task.attempt, 2);

    let late = store.record(first.fence.clone(), step(1, "late\n")).await;
    assert!(matches!(late, Err(StoreError::Lost(_))));
    assert!(matches!(store.record(first.fence.clone(), end()).await, Err(StoreError::Lost(_))));
    assert!(matches!(store.hand_back(first.fence).await, Err(StoreError::Lost(_))));
    let task = store.task(&id("t")).await.unwrap().unwrap();
    assert_eq!((task.state.status(), task.iteration, task.log_bytes), (Status::Running, 0, 0));

    store.record(second.fence.clone(), end()).await.unwrap();
    assert!(matches!(store.record(second.fence, step(1, "after the end\n")).await, Err(StoreError::Lost(_))));
}

async fn a_claim_brings_what_is_needed_to_go_on(world: &World) {
    let store = &world.store;
    submit(store, "t").await;
    let claimed = claim(store, 1).await.remove(0);
    assert_eq!((claimed.pending, claimed.last_line), (None, None));
    let pending = Pending { payload: Json::parse(r#"{"event":"x"}"#).unwrap(), tool_ms: Some(9) };
    store.record(claimed.fence.clone(), step(1, "one\n")).await.unwrap();
    let second = Step { pending: Some(pending.clone()), ..step(2, "zwölf\n") };
    let recorded = store.record(claimed.fence.clone(), second).await.unwrap();
    assert_eq!(recorded.log_bytes, 11);
    store.hand_back(claimed.fence).await.unwrap();

    let again = claim(store, 1).await.remove(0);
    assert_eq!((again.pending, again.last_line.as_deref()), (Some(pending), Some("zwölf\n")));
    assert_eq!((again.task.attempt, again.task.iteration, again.task.started_at), (1, 2, Some(at(2))));
    let lines = store.lines(&id("t"), 4, 10).await.unwrap();
    assert_eq!(lines.iter().map(|line| (line.end, line.line.as_str())).collect::<Vec<_>>(), [(11, "zwölf\n")]);
    assert_eq!(store.offset_after(&id("t"), 1).await.unwrap(), 4);
    assert_eq!(store.offset_after(&id("t"), 0).await.unwrap(), 0);
}

async fn a_task_over_which_worker_after_worker_dies_is_given_up(world: &World) {
    let store = &world.store;
    submit(store, "stuck").await;
    for losses in 1..=5 {
        assert_eq!(claim(store, 1).await.len(), 1);
        let expected = if losses < 5 { (1, 0) } else { (0, 1) };
        let Recovered { requeued, given_up, .. } = world.recover(5).await;
        assert_eq!((requeued, given_up), expected);
    }
    let task = store.task(&id("stuck")).await.unwrap().unwrap();
    let Some(Outcome::Failed(error)) = task.state.outcome() else { panic!("{task:?}") };
    assert_eq!((error.code, task.finished_at, task.attempt), (ErrorCode::LostTooOften, Some(at(9)), 5));

    // One that gets on between the losses goes on, and so does one that was only handed back.
    submit(store, "gets-on").await;
    for iteration in 1..=10 {
        let fence = claim(store, 1).await.remove(0).fence;
        store.record(fence, step(iteration, "line\n")).await.unwrap();
        assert_eq!(world.recover(2).await.given_up, 0);
    }
    for _ in 0..10 {
        store.hand_back(claim(store, 1).await.remove(0).fence).await.unwrap();
    }
    assert_eq!(store.task(&id("gets-on")).await.unwrap().unwrap().state.status(), Status::Queued);
}

async fn what_was_to_be_cancelled_and_is_given_up_is_cancelled(world: &World) {
    let store = &world.store;
    submit(store, "t").await;
    claim(store, 1).await;
    store.request_cancel(&id("t"), at(5)).await.unwrap();
    assert_eq!(world.recover(1).await, Recovered { cancelled: 1, ..Recovered::default() });
    assert_eq!(store.task(&id("t")).await.unwrap().unwrap().state.status(), Status::Cancelled);
}
