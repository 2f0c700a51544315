//! What somebody thinks of a task that has ended.

use codex_agent::domain::{Status, Task, Verdict, VerdictOutcome};
use codex_agent::store::LabelAnswer;

use crate::world::{World, at, claim, end, id, submit};

on_both! {
    a_verdict_replaces_the_one_before_and_the_same_again_changes_nothing,
    only_a_task_that_has_ended_gets_a_verdict,
    a_verdict_goes_with_its_task,
}

const NONE: Verdict = Verdict { outcome: None, reward: None, note: None, at: at(20) };

async fn labelled(world: &World, verdict: &Verdict) -> Task {
    match world.store.label(&id("t"), verdict.clone()).await.unwrap() {
        LabelAnswer::Labelled(task) => *task,
        other => panic!("{other:?}"),
    }
}

async fn ended(world: &World) -> Task {
    submit(&world.store, "t").await;
    let fence = claim(&world.store, 1).await.remove(0).fence;
    *world.store.record(fence, end()).await.unwrap().ended.unwrap()
}

async fn a_verdict_replaces_the_one_before_and_the_same_again_changes_nothing(world: &World) {
    let first = ended(world).await;
    assert_eq!(first.verdict, None);
    // Whatever a note or a number is made of.
    let note = Some("why: \0 \\0 \\ ü".to_owned());
    let verdict = Verdict { outcome: Some(VerdictOutcome::Accepted), reward: Some(0.1 + 0.2), note, at: at(20) };
    let task = labelled(world, &verdict).await;
    assert_eq!((task.revision, task.verdict), (first.revision + 1, Some(verdict.clone())));
    assert_eq!((task.state, task.finished_at), (first.state, first.finished_at));

    let again = labelled(world, &Verdict { at: at(21), ..verdict.clone() }).await;
    assert_eq!((again.revision, again.verdict.as_ref()), (first.revision + 1, Some(&verdict)));

    for (number, reward) in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1.0].into_iter().enumerate() {
        let other = Verdict { reward: Some(reward), ..NONE };
        let task = labelled(world, &other).await;
        assert_eq!((task.revision, task.verdict.as_ref()), (first.revision + 2 + number as u64, Some(&other)));
        let read = world.store.task(&id("t")).await.unwrap().unwrap();
        assert_eq!((read.revision, read.verdict), (task.revision, task.verdict));
    }
}

async fn only_a_task_that_has_ended_gets_a_verdict(world: &World) {
    let (store, verdict) = (&world.store, Verdict { reward: Some(1.0), ..NONE });
    assert!(matches!(store.label(&id("t"), verdict.clone()).await.unwrap(), LabelAnswer::Missing));
    submit(store, "t").await;
    let answer = store.label(&id("t"), verdict.clone()).await.unwrap();
    assert!(matches!(answer, LabelAnswer::NotEnded(Status::Queued)), "{answer:?}");
    let fence = claim(store, 1).await.remove(0).fence;
    let answer = store.label(&id("t"), verdict.clone()).await.unwrap();
    assert!(matches!(answer, LabelAnswer::NotEnded(Status::Running)), "{answer:?}");
    store.record(fence, end()).await.unwrap();
    assert_eq!(labelled(world, &verdict).await.verdict, Some(verdict));
    // What is no verdict is none to the database either.
    assert!(store.label(&id("t"), NONE).await.is_err());
    assert!(store.label(&id("t"), Verdict { reward: Some(f64::INFINITY), ..NONE }).await.is_err());
}

async fn a_verdict_goes_with_its_task(world: &World) {
    ended(world).await;
    labelled(world, &Verdict { reward: Some(1.0), ..NONE }).await;
    world.store.delete(&id("t")).await.unwrap();
    assert_eq!(ended(world).await.verdict, None);
}
