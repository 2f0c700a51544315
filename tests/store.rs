//! What every store has to keep to; one suite, to be run on each implementation.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

use std::sync::Arc;

use codex_agent::domain::{ErrorCode, Intent, Json, Outcome, SpecLimits, Status, TaskId, TaskSpec, Timestamp};
use codex_agent::store::{
    CancelAnswer, Claim, Claimed, DeleteAnswer, ListQuery, NewLine, NewTask, Pending, Recovered, SqliteStore, Step,
    Store, StoreError, Submitted, Which,
};

/// Longer than a test.
const LEASE: std::time::Duration = std::time::Duration::from_mins(10);

/// A store of its own for each test.
async fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("test.db"), LEASE).await.unwrap();
    (dir, Arc::new(store))
}

fn id(name: &str) -> TaskId {
    name.parse().unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn new(name: &str, priority: i32) -> NewTask {
    let posted = Json::parse(&format!(r#"{{"instruction":"x","priority":{priority}}}"#)).unwrap();
    let spec = TaskSpec::parse(posted, SpecLimits { default_iterations: 7, max_iterations: 200 }).unwrap();
    NewTask { id: id(name), idempotency_key: None, spec, now: at(1), max_queued: 1000 }
}

async fn submit(store: &Arc<dyn Store>, name: &str) {
    assert!(matches!(store.submit(new(name, 0)).await.unwrap(), Submitted::Created(_)));
}

async fn claim(store: &Arc<dyn Store>, limit: u32) -> Vec<Claimed> {
    store.claim(Claim { limit, which: Which::Any, now: at(2) }).await.unwrap()
}

fn step(iteration: u32, line: &str) -> Step {
    let line = Some(NewLine::whole(line));
    Step { iteration, line, pending: None, intent: None, usage: None, end: None, now: at(3) }
}

fn end() -> Step {
    let end = Some(Outcome::Succeeded { summary: Some("s".into()) });
    Step { iteration: 0, line: None, pending: None, intent: None, usage: None, end, now: at(4) }
}

#[tokio::test]
async fn claim_hands_each_task_to_one_worker() {
    let (_dir, store) = store().await;
    for n in 0..200 {
        submit(&store, &format!("t{n}")).await;
    }
    let workers = (0..16).map(|_| {
        let store = Arc::clone(&store);
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

#[tokio::test]
async fn claims_go_by_priority_and_then_by_age() {
    let (_dir, store) = store().await;
    for (name, priority) in [("a", 0), ("b", 5), ("c", -1), ("d", 5)] {
        store.submit(new(name, priority)).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(claim(&store, 1).await.remove(0).task.id.to_string());
    }
    assert_eq!(order, ["b", "d", "a", "c"]);
}

#[tokio::test]
async fn a_worker_that_lost_its_claim_changes_nothing() {
    let (_dir, store) = store().await;
    submit(&store, "t").await;
    let first = claim(&store, 1).await.remove(0);
    assert_eq!(store.recover(5, at(9)).await.unwrap(), Recovered { requeued: 1, given_up: 0 });
    let second = claim(&store, 1).await.remove(0);
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

#[tokio::test]
async fn a_claim_brings_what_is_needed_to_go_on() {
    let (_dir, store) = store().await;
    submit(&store, "t").await;
    let claimed = claim(&store, 1).await.remove(0);
    assert_eq!((claimed.pending, claimed.last_line), (None, None));
    let pending = Pending { payload: Json::parse(r#"{"event":"x"}"#).unwrap(), tool_ms: Some(9) };
    store.record(claimed.fence.clone(), step(1, "one\n")).await.unwrap();
    let second = Step { pending: Some(pending.clone()), ..step(2, "zwölf\n") };
    let recorded = store.record(claimed.fence.clone(), second).await.unwrap();
    assert_eq!(recorded.log_bytes, 11);
    store.hand_back(claimed.fence).await.unwrap();

    let again = claim(&store, 1).await.remove(0);
    assert_eq!((again.pending, again.last_line.as_deref()), (Some(pending), Some("zwölf\n")));
    assert_eq!((again.task.attempt, again.task.iteration, again.task.started_at), (1, 2, Some(at(2))));
    let lines = store.lines(&id("t"), 4, 10).await.unwrap();
    assert_eq!(lines.iter().map(|line| (line.end, line.line.as_str())).collect::<Vec<_>>(), [(11, "zwölf\n")]);
    assert_eq!(store.offset_after(&id("t"), 1).await.unwrap(), 4);
    assert_eq!(store.offset_after(&id("t"), 0).await.unwrap(), 0);
}

#[tokio::test]
async fn a_line_is_read_whole_though_its_payload_is_kept_only_once() {
    let (_dir, store) = store().await;
    submit(&store, "t").await;
    let claimed = claim(&store, 1).await.remove(0);
    let pending = |text: &str| Some(Pending { payload: Json::parse(text).unwrap(), tool_ms: None });
    // With the line before it, or after it: both are ways to what is sent next.
    store.record(claimed.fence.clone(), Step { pending: pending("\"zwölf\""), ..step(1, "<1>\n") }).await.unwrap();
    let spliced = |text: &str, payload| Some(NewLine { text: text.into(), payload: Some(payload) });
    let second = Step { line: spliced("<2,\"zwölf\">\n", 3..11), ..step(2, "") };
    store.record(claimed.fence.clone(), second).await.unwrap();
    store.record(claimed.fence.clone(), Step { line: None, pending: pending("3"), ..step(2, "") }).await.unwrap();
    let third = Step { line: spliced("<3>\n", 1..2), ..step(3, "") };
    assert_eq!(store.record(claimed.fence.clone(), third).await.unwrap().log_bytes, 21);

    let lines = store.lines(&id("t"), 0, 10).await.unwrap();
    let lines: Vec<_> = lines.iter().map(|line| (line.end, line.line.as_str())).collect();
    assert_eq!(lines, [(4, "<1>\n"), (17, "<2,\"zwölf\">\n"), (21, "<3>\n")]);
    store.hand_back(claimed.fence).await.unwrap();
    let again = claim(&store, 1).await.remove(0);
    assert_eq!((again.pending, again.last_line.as_deref()), (None, Some("<3>\n")));
}

#[tokio::test]
async fn the_same_iteration_is_recorded_once() {
    let (_dir, store) = store().await;
    submit(&store, "t").await;
    let fence = claim(&store, 1).await.remove(0).fence;
    store.record(fence.clone(), step(1, "one\n")).await.unwrap();
    // A bad write alone fails; those beside it in the same commit do not.
    let (bad, good) = tokio::join!(store.record(fence.clone(), step(1, "again\n")), store.submit(new("u", 0)));
    assert!(matches!(bad, Err(StoreError::Refused(_))));
    assert!(matches!(good.unwrap(), Submitted::Created(_)));
    let task = store.task(&id("t")).await.unwrap().unwrap();
    assert_eq!((task.iteration, task.log_bytes), (1, 4));
}

#[tokio::test]
async fn cancelling_and_ending_at_the_same_moment_gives_one_end() {
    let (_dir, store) = store().await;
    for n in 0..300 {
        let name = format!("t{n}");
        submit(&store, &name).await;
        let fence = claim(&store, 1).await.remove(0).fence;
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
            CancelAnswer::Missing => panic!("the task is gone"),
        }
    }
}

#[tokio::test]
async fn a_task_that_has_begun_is_cancelled_by_a_worker_and_one_that_has_not_at_once() {
    let (_dir, store) = store().await;
    submit(&store, "begun").await;
    let fence = claim(&store, 1).await.remove(0).fence;
    store.hand_back(fence).await.unwrap();
    submit(&store, "fresh").await;
    for (name, status) in [("begun", Status::Queued), ("fresh", Status::Cancelled)] {
        for _ in 0..2 {
            let answer = store.request_cancel(&id(name), at(5)).await.unwrap();
            assert!(matches!(answer, CancelAnswer::Accepted(task) if task.state.status() == status), "{name}");
        }
    }
    submit(&store, "other").await;
    let claimed = store.claim(Claim { limit: 10, which: Which::Cancelled, now: at(2) }).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.task.id.as_str()).collect::<Vec<_>>(), ["begun"]);
    assert!(claimed[0].task.cancel_requested);
    assert_eq!(store.cancel_requests().await.unwrap(), [claimed[0].fence.clone()]);
}

#[tokio::test]
async fn a_key_and_an_id_belong_to_one_task() {
    let (_dir, store) = store().await;
    let keyed = |name: &str, key: &str| NewTask { idempotency_key: Some(key.to_owned()), ..new(name, 0) };
    submit(&store, "a").await;
    assert!(matches!(store.submit(keyed("a", "k")).await.unwrap(), Submitted::Known(_)));
    // The key is that task's from now on; another task that comes with it is none of ours.
    let other = NewTask { idempotency_key: Some("k".into()), ..new("b", 1) };
    assert!(matches!(store.submit(other).await.unwrap(), Submitted::Conflict));
    assert!(matches!(store.submit(keyed("a", "k")).await.unwrap(), Submitted::Known(_)));
}

#[tokio::test]
async fn a_page_of_very_long_tasks_is_shorter_and_leads_on() {
    let (_dir, store) = store().await;
    for n in 0..12 {
        let posted = Json::parse(&format!(r#"{{"instruction":"{}"}}"#, "x".repeat(1 << 20))).unwrap();
        let spec = TaskSpec::parse(posted, SpecLimits { default_iterations: 7, max_iterations: 200 }).unwrap();
        store.submit(NewTask { spec, ..new(&format!("t{n}"), 0) }).await.unwrap();
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.list(ListQuery { limit: 10, before, status: None }).await.unwrap();
        assert!(page.tasks.len() <= 5);
        seen.extend(page.tasks.into_iter().map(|task| task.id.to_string()));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..12).rev().map(|n| format!("t{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_ended_task_is_unfiled_until_its_files_are_known_to_be_complete() {
    let (_dir, store) = store().await;
    submit(&store, "ended").await;
    let fence = claim(&store, 1).await.remove(0).fence;
    submit(&store, "waiting").await;
    assert_eq!(store.unfiled(10).await.unwrap(), []);
    store.record(fence, end()).await.unwrap();
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

#[tokio::test]
async fn only_an_ended_task_can_be_deleted_and_its_place_in_the_list_is_not_used_again() {
    let (_dir, store) = store().await;
    submit(&store, "a").await;
    submit(&store, "b").await;
    assert_eq!(store.delete(&id("b")).await.unwrap(), DeleteAnswer::NotEnded(Status::Queued));
    let list = async |limit| store.list(ListQuery { limit, ..ListQuery::default() }).await.unwrap();
    let before = list(1).await.next.unwrap();
    store.request_cancel(&id("b"), at(5)).await.unwrap();
    assert_eq!(store.delete(&id("b")).await.unwrap(), DeleteAnswer::Deleted(at(1)));
    assert_eq!(store.delete(&id("b")).await.unwrap(), DeleteAnswer::Missing);
    submit(&store, "b").await;
    assert!(list(1).await.next.unwrap().0 > before.0);
    assert_eq!((list(10).await.tasks.len(), list(10).await.next), (2, None));
}

#[tokio::test]
async fn a_deleted_task_is_remembered_until_its_files_are_gone() {
    let (_dir, store) = store().await;
    submit(&store, "gone").await;
    assert_eq!(store.removals(10).await.unwrap(), []);
    store.request_cancel(&id("gone"), at(5)).await.unwrap();
    store.delete(&id("gone")).await.unwrap();
    // Also if its name is given anew and deleted again meanwhile.
    submit(&store, "gone").await;
    store.request_cancel(&id("gone"), at(6)).await.unwrap();
    store.delete(&id("gone")).await.unwrap();
    assert_eq!(store.removals(10).await.unwrap(), [id("gone")]);
    store.mark_removed(&id("gone")).await.unwrap();
    assert_eq!(store.removals(10).await.unwrap(), []);
}

#[tokio::test]
async fn a_task_over_which_worker_after_worker_dies_is_given_up() {
    let (_dir, store) = store().await;
    submit(&store, "stuck").await;
    for losses in 1..=5 {
        assert_eq!(claim(&store, 1).await.len(), 1);
        let expected = if losses < 5 { (1, 0) } else { (0, 1) };
        let Recovered { requeued, given_up } = store.recover(5, at(9)).await.unwrap();
        assert_eq!((requeued, given_up), expected);
    }
    let task = store.task(&id("stuck")).await.unwrap().unwrap();
    let Some(Outcome::Failed(error)) = task.state.outcome() else { panic!("{task:?}") };
    assert_eq!((error.code, task.finished_at, task.attempt), (ErrorCode::LostTooOften, Some(at(9)), 5));

    // One that gets on between the losses goes on, and so does one that was only handed back.
    submit(&store, "gets-on").await;
    for iteration in 1..=10 {
        let fence = claim(&store, 1).await.remove(0).fence;
        store.record(fence, step(iteration, "line\n")).await.unwrap();
        assert_eq!(store.recover(2, at(9)).await.unwrap().given_up, 0);
    }
    for _ in 0..10 {
        store.hand_back(claim(&store, 1).await.remove(0).fence).await.unwrap();
    }
    assert_eq!(store.task(&id("gets-on")).await.unwrap().unwrap().state.status(), Status::Queued);
}

#[tokio::test]
async fn what_was_to_be_cancelled_and_is_given_up_is_cancelled() {
    let (_dir, store) = store().await;
    submit(&store, "t").await;
    claim(&store, 1).await;
    store.request_cancel(&id("t"), at(5)).await.unwrap();
    assert_eq!(store.recover(1, at(9)).await.unwrap(), Recovered { requeued: 0, given_up: 1 });
    assert_eq!(store.task(&id("t")).await.unwrap().unwrap().state.status(), Status::Cancelled);
}

#[tokio::test]
async fn an_intent_is_kept_until_the_result_is_on_record() {
    let (_dir, store) = store().await;
    submit(&store, "t").await;
    let fence = claim(&store, 1).await.remove(0).fence;
    let intent = Intent { before: None, after: Some("ab".into()), result: Json::parse(r#"{"n":1e-7}"#).unwrap() };
    store.record(fence, Step { intent: Some(intent.clone()), ..step(1, "one\n") }).await.unwrap();
    store.recover(5, at(9)).await.unwrap();
    let again = claim(&store, 1).await.remove(0);
    assert_eq!(again.intent, Some(intent));
    let pending = Some(Pending { payload: Json::empty_object(), tool_ms: None });
    store.record(again.fence, Step { line: None, pending, ..step(1, "") }).await.unwrap();
    store.recover(5, at(9)).await.unwrap();
    assert_eq!(claim(&store, 1).await.remove(0).intent, None);
}

#[tokio::test]
async fn only_what_ended_long_ago_and_is_filed_expires() {
    let (_dir, store) = store().await;
    for name in ["old", "unfiled", "new", "running"] {
        submit(&store, name).await;
        let fence = claim(&store, 1).await.remove(0).fence;
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
