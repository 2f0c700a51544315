//! What a run puts on record.

use codex_agent::domain::{Intent, Json};
use codex_agent::store::{NewLine, Pending, Step, StoreError, Submitted};

use crate::world::{World, claim, id, new, step, submit};

on_both! {
    a_line_is_read_whole_though_its_payload_is_kept_only_once,
    the_same_iteration_is_recorded_once,
    an_intent_is_kept_until_the_result_is_on_record,
}

async fn a_line_is_read_whole_though_its_payload_is_kept_only_once(world: &World) {
    let store = &world.store;
    submit(store, "t").await;
    let claimed = claim(store, 1).await.remove(0);
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
    let again = claim(store, 1).await.remove(0);
    assert_eq!((again.pending, again.last_line.as_deref()), (None, Some("<3>\n")));
}

async fn the_same_iteration_is_recorded_once(world: &World) {
    let store = &world.store;
    submit(store, "t").await;
    let fence = claim(store, 1).await.remove(0).fence;
    store.record(fence.clone(), step(1, "one\n")).await.unwrap();
    // A bad write alone fails; those beside it in the same commit do not.
    let (bad, good) = tokio::join!(store.record(fence.clone(), step(1, "again\n")), store.submit(new("u", 0)));
    assert!(matches!(bad, Err(StoreError::Lost(_))));
    assert!(matches!(good.unwrap(), Submitted::Created(_)));
    let task = store.task(&id("t")).await.unwrap().unwrap();
    assert_eq!((task.iteration, task.log_bytes), (1, 4));
}

async fn an_intent_is_kept_until_the_result_is_on_record(world: &World) {
    let store = &world.store;
    submit(store, "t").await;
    let fence = claim(store, 1).await.remove(0).fence;
    let intent = Intent { before: None, after: Some("ab".into()), result: Json::parse(r#"{"n":1e-7}"#).unwrap() };
    store.record(fence, Step { intent: Some(intent.clone()), ..step(1, "one\n") }).await.unwrap();
    world.recover(5).await;
    let again = claim(store, 1).await.remove(0);
    assert_eq!(again.intent, Some(intent));
    let pending = Some(Pending { payload: Json::empty_object(), tool_ms: None });
    store.record(again.fence, Step { line: None, pending, ..step(1, "") }).await.unwrap();
    world.recover(5).await;
    assert_eq!(claim(store, 1).await.remove(0).intent, None);
}
