//! What one worker at a time does at set times.

use std::sync::Arc;

use codex_agent::domain::{Clock, SystemClock, Timestamp};
use codex_agent::store::{Chore, Store};

use crate::world::{LEASE, World, at};

on_both! {
    of_many_workers_one_gets_the_chore,
    what_is_done_for_a_time_is_done_once,
    what_was_given_up_is_done_by_another_at_once,
    who_lets_a_chore_run_out_has_it_no_more,
    a_chore_is_held_for_a_lease_and_renewed_for_another,
    one_chore_is_no_other,
}

fn chore(worker: &str, slot: i64) -> Chore {
    Chore { name: "export", slot: at(slot), worker: worker.into() }
}

async fn begin(world: &World, worker: &str, slot: i64) -> bool {
    world.store.begin_chore(chore(worker, slot), SystemClock.now()).await.unwrap()
}

async fn keep(world: &World, worker: &str, slot: i64) -> bool {
    world.store.keep_chore(chore(worker, slot), SystemClock.now()).await.unwrap()
}

async fn end(world: &World, worker: &str, slot: i64, done: bool) {
    world.store.end_chore(chore(worker, slot), done).await.unwrap();
}

async fn last(store: &Arc<dyn Store>) -> Option<Timestamp> {
    store.last_chore("export").await.unwrap()
}

async fn of_many_workers_one_gets_the_chore(world: &World) {
    for slot in 1..=10 {
        let workers: Vec<_> = (0..16).map(|n| format!("w{n}")).collect();
        let got = futures_util::future::join_all(workers.iter().map(|worker| begin(world, worker, slot))).await;
        let one: Vec<_> = workers.iter().zip(got).filter(|(_, got)| *got).collect();
        assert_eq!(one.len(), 1, "{one:?}");
        end(world, one[0].0, slot, true).await;
    }
    assert_eq!(last(&world.store).await, Some(at(10)));
}

async fn what_is_done_for_a_time_is_done_once(world: &World) {
    assert_eq!(last(&world.store).await, None);
    assert!(begin(world, "a", 10).await);
    // Whoever did not hear the answer asks again.
    assert!(begin(world, "a", 10).await);
    assert!(!begin(world, "b", 10).await && !begin(world, "b", 20).await && !begin(world, "a", 20).await);
    assert_eq!(last(&world.store).await, None);
    end(world, "a", 10, true).await;
    assert_eq!(last(&world.store).await, Some(at(10)));
    for worker in ["a", "b"] {
        assert!(!begin(world, worker, 10).await && !begin(world, worker, 9).await);
    }
    assert!(begin(world, "b", 20).await);
    // It is done for the later time only when it has ended.
    assert_eq!(last(&world.store).await, Some(at(10)));
}

async fn what_was_given_up_is_done_by_another_at_once(world: &World) {
    assert!(begin(world, "a", 10).await);
    end(world, "a", 10, true).await;
    assert!(begin(world, "a", 20).await);
    end(world, "a", 20, false).await;
    assert_eq!(last(&world.store).await, Some(at(10)));
    assert!(!keep(world, "a", 20).await);
    assert!(begin(world, "b", 20).await);
    // What comes late is no business of the one who does it now.
    end(world, "a", 20, true).await;
    assert!(keep(world, "b", 20).await);
    assert_eq!(last(&world.store).await, Some(at(10)));
}

async fn who_lets_a_chore_run_out_has_it_no_more(world: &World) {
    assert!(begin(world, "a", 10).await);
    world.let_chores_run_out().await;
    // Nobody has taken it yet.
    assert!(keep(world, "a", 10).await && !begin(world, "b", 10).await);
    world.let_chores_run_out().await;
    assert!(begin(world, "b", 10).await);
    assert!(!keep(world, "a", 10).await && !begin(world, "a", 10).await);
    end(world, "a", 10, true).await;
    assert!(last(&world.store).await.is_none() && keep(world, "b", 10).await);
    // Not even the same worker goes on for another time.
    assert!(!keep(world, "b", 20).await);
    end(world, "b", 10, true).await;
    assert_eq!(last(&world.store).await, Some(at(10)));
}

async fn a_chore_is_held_for_a_lease_and_renewed_for_another(world: &World) {
    let lease = i64::try_from(LEASE.as_millis()).unwrap();
    // By the clock of the store, which here is close to ours.
    let left = async || world.number("SELECT until FROM chores").await - SystemClock.now().millis();
    let full = lease - 60_000..=lease + 60_000;
    assert!(begin(world, "a", 10).await);
    assert!(full.contains(&left().await));
    world.sql("UPDATE chores SET until = 5").await;
    assert!(keep(world, "a", 10).await);
    assert!(full.contains(&left().await));
}

async fn one_chore_is_no_other(world: &World) {
    assert!(begin(world, "a", 10).await);
    let other = Chore { name: "other", ..chore("b", 5) };
    assert!(world.store.begin_chore(other.clone(), SystemClock.now()).await.unwrap());
    world.store.end_chore(other, true).await.unwrap();
    assert_eq!(world.store.last_chore("other").await.unwrap(), Some(at(5)));
    assert!(last(&world.store).await.is_none() && keep(world, "a", 10).await);
}
