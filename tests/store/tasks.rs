//! How tasks come, are told to stop, and go.

use codex_agent::domain::{Json, SpecLimits, Status, TaskSpec};
use codex_agent::store::{CancelAnswer, Claim, DeleteAnswer, ListQuery, NewTask, Submitted, Which};

use crate::world::{World, at, claim, end, id, new, submit};

on_both! {
    cancelling_and_ending_at_the_same_moment_gives_one_end,
    a_task_that_has_begun_is_cancelled_by_a_worker_and_one_that_has_not_at_once,
    a_key_and_an_id_belong_to_one_task,
    a_page_of_very_long_tasks_is_shorter_and_leads_on,
    only_an_ended_task_can_be_deleted_and_its_place_in_the_list_is_not_used_again,
}

async fn cancelling_and_ending_at_the_same_moment_gives_one_end(world: &World) {
    let store = &world.store;
    for n in 0..300 {
        let name = format!("t{n}");
        submit(store, &name).await;
        let fence = claim(store, 1).await.remove(0).fence;
        let task_id = id(&name);
        let (cancelled, ended) = tokio::join!(store.request_cancel(&task_id, at(5)), store.record(fence, end()));
        ended.unwrap();
        // Whichever came first: who heard that it will be cancelled, hears so again.
        let status = store.task(&task_id).await.unwrap().unwrap().state.status();
        let again = store.request_cancel(&task_id, at(6)).await.unwrap();
        match cancelled.unwrap() {
            CancelAnswer::Accepted(_) => {
                assert_eq!(status, Status::Cancelled);
                assert!(matches!(again, CancelAnswer::Accepted(_)));
            }
            CancelAnswer::Ended(_) => {
                assert_eq!(status, Status::Succeeded);
                assert!(matches!(again, CancelAnswer::Ended(_)));
            }
            answer => panic!("{answer:?}"),
        }
    }
}

async fn a_task_that_has_begun_is_cancelled_by_a_worker_and_one_that_has_not_at_once(world: &World) {
    let store = &world.store;
    submit(store, "begun").await;
    let fence = claim(store, 1).await.remove(0).fence;
    store.hand_back(fence).await.unwrap();
    submit(store, "fresh").await;
    for (name, status) in [("begun", Status::Queued), ("fresh", Status::Cancelled)] {
        let first = store.request_cancel(&id(name), at(5)).await.unwrap();
        let again = store.request_cancel(&id(name), at(6)).await.unwrap();
        assert!(matches!(again, CancelAnswer::Accepted(task) if task.state.status() == status), "{name}");
        match first {
            CancelAnswer::Accepted(task) => assert_eq!((task.state.status(), status), (Status::Queued, Status::Queued)),
            CancelAnswer::Cancelled(task) => {
                assert_eq!((task.state.status(), status), (Status::Cancelled, Status::Cancelled));
            }
            answer => panic!("{name}: {answer:?}"),
        }
    }
    submit(store, "other").await;
    let claimed =
        store.claim(Claim { worker: "w".into(), limit: 10, which: Which::Cancelled, now: at(2) }).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.task.id.as_str()).collect::<Vec<_>>(), ["begun"]);
    assert!(claimed[0].task.cancel_requested);
    assert_eq!(store.cancel_requests(&"w".into()).await.unwrap(), [claimed[0].fence.clone()]);
}

async fn a_key_and_an_id_belong_to_one_task(world: &World) {
    let store = &world.store;
    let keyed = |name: &str, key: &str| NewTask { idempotency_key: Some(key.to_owned()), ..new(name, 0) };
    submit(store, "a").await;
    assert!(matches!(store.submit(keyed("a", "k")).await.unwrap(), Submitted::Known(_)));
    // The key is that task's from now on; another task that comes with it is none of ours.
    let other = NewTask { idempotency_key: Some("k".into()), ..new("b", 1) };
    assert!(matches!(store.submit(other).await.unwrap(), Submitted::Conflict));
    assert!(matches!(store.submit(keyed("a", "k")).await.unwrap(), Submitted::Known(_)));
}

async fn a_page_of_very_long_tasks_is_shorter_and_leads_on(world: &World) {
    let store = &world.store;
    for n in 0..12 {
        let posted = Json::parse(&format!(r#"{{"instruction":"{}"}}"#, "x".repeat(1 << 20))).unwrap();
        let spec = TaskSpec::parse(posted, SpecLimits { default_iterations: 7, max_iterations: 200 }).unwrap();
        store.submit(NewTask { spec, ..new(&format!("t{n}"), 0) }).await.unwrap();
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.list(ListQuery { limit: 10, before, ..ListQuery::default() }).await.unwrap();
        assert!(page.tasks.len() <= 5);
        seen.extend(page.tasks.into_iter().map(|task| task.id.to_string()));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..12).rev().map(|n| format!("t{n}")).collect::<Vec<_>>());
}

async fn only_an_ended_task_can_be_deleted_and_its_place_in_the_list_is_not_used_again(world: &World) {
    let store = &world.store;
    submit(store, "a").await;
    submit(store, "b").await;
    assert_eq!(store.delete(&id("b")).await.unwrap(), DeleteAnswer::NotEnded(Status::Queued));
    let list = async |limit| store.list(ListQuery { limit, ..ListQuery::default() }).await.unwrap();
    let before = list(1).await.next.unwrap();
    store.request_cancel(&id("b"), at(5)).await.unwrap();
    assert_eq!(store.delete(&id("b")).await.unwrap(), DeleteAnswer::Deleted(at(1)));
    assert_eq!(store.delete(&id("b")).await.unwrap(), DeleteAnswer::Missing);
    submit(store, "b").await;
    assert!(list(1).await.next.unwrap().0 > before.0);
    assert_eq!((list(10).await.tasks.len(), list(10).await.next), (2, None));
}
