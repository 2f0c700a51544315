//! What is known of files, and which tasks are old.

use codex_agent::store::Step;

use crate::world::{World, at, claim, end, id, submit};

on_both! {
    an_ended_task_is_unfiled_until_its_files_are_known_to_be_complete,
    a_deleted_task_is_remembered_until_its_files_are_gone,
    only_what_ended_long_ago_and_is_filed_expires,
}

async fn an_ended_task_is_unfiled_until_its_files_are_known_to_be_complete(world: &World) {
    let store = &world.store;
    submit(store, "ended").await;
    let fence = claim(store, 1).await.remove(0).fence;
    submit(store, "waiting").await;
    assert_eq!(store.unfiled(10).await.unwrap(), []);
    store.record(fence, end()).await.unwrap();
    // Where there are many workers, the one that ended it is left the time to do it.
    world.let_run_out().await;
    assert_eq!(store.unfiled(10).await.unwrap(), [id("ended")]);
    let before = store.task(&id("ended")).await.unwrap().unwrap().revision;
    // Another life of that name has not ended.
    assert_eq!(store.mark_filed(vec![(id("ended"), at(0))]).await.unwrap(), []);
    assert_eq!(store.unfiled(10).await.unwrap(), [id("ended")]);
    let filed = ["gone", "ended", "waiting"].map(|name| (id(name), at(1)));
    assert_eq!(store.mark_filed(filed.into()).await.unwrap(), [id("gone")]);
    assert_eq!(store.unfiled(10).await.unwrap(), []);
    assert_eq!(store.task(&id("ended")).await.unwrap().unwrap().revision, before);
}

async fn a_deleted_task_is_remembered_until_its_files_are_gone(world: &World) {
    let store = &world.store;
    submit(store, "gone").await;
    assert_eq!(world.removals().await, []);
    store.request_cancel(&id("gone"), at(5)).await.unwrap();
    store.delete(&id("gone")).await.unwrap();
    // Also if its name is given anew and deleted again meanwhile.
    submit(store, "gone").await;
    store.request_cancel(&id("gone"), at(6)).await.unwrap();
    store.delete(&id("gone")).await.unwrap();
    assert_eq!(world.removals().await, [id("gone")]);
    store.mark_removed(&id("gone")).await.unwrap();
    assert_eq!(world.removals().await, []);
}

async fn only_what_ended_long_ago_and_is_filed_expires(world: &World) {
    let store = &world.store;
    for name in ["old", "unfiled", "new", "running"] {
        submit(store, name).await;
        let fence = claim(store, 1).await.remove(0).fence;
        let now = if name == "new" { at(100) } else { at(10) };
        if name != "running" {
            store.record(fence, Step { now, ..end() }).await.unwrap();
        }
        if name != "unfiled" {
            store.mark_filed(vec![(id(name), at(1))]).await.unwrap();
        }
    }
    assert_eq!(store.expired(at(100), 10).await.unwrap(), [id("old")]);
    assert_eq!(store.expired(at(10), 10).await.unwrap(), []);
    assert_eq!(store.expired(at(101), 1).await.unwrap(), [id("old")]);
}
