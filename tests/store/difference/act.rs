//! What may happen to a store, and how often.

use proptest::prelude::*;

/// One step. Numbers choose among what there is: tasks, claims that were made, places that were told.
#[derive(Clone, Debug)]
pub enum Act {
    Submit { task: u8, key: Option<u8>, body: u8, priority: i8, max_queued: u32 },
    Claim { worker: u8, limit: u32, which: u8, task: u8 },
    Line { claim: u8, off: i8, pending: bool, intent: bool, usage: Option<u64> },
    Result { claim: u8 },
    End { claim: u8, how: u8, with_line: bool },
    HandBack { claim: u8 },
    Cancel { task: u8 },
    Label { task: u8, outcome: u8, reward: Option<i8>, note: bool },
    Delete { task: u8 },
    Recover { limit: u32 },
    List { status: u8, label: u8, times: (Option<i64>, Option<i64>), workspace: bool, limit: u32, place: Option<u8> },
    Lines { task: u8, from: u64, limit: u32, after: u32 },
    Filed { task: u8, life: i64 },
    Removed { task: u8 },
    Chore { worker: u8, slot: i64, what: u8 },
    Look { task: u8, worker: u8, before: i64 },
}

pub fn act() -> impl Strategy<Value = Act> {
    let task = 0u8..5;
    let claim = any::<u8>();
    prop_oneof![
        4 => (task.clone(), proptest::option::of(0u8..3), 0u8..3, -1i8..2, prop_oneof![Just(3u32), Just(1000)])
            .prop_map(|(task, key, body, priority, max_queued)| Act::Submit { task, key, body, priority, max_queued }),
        4 => (0u8..2, 0u32..4, 0u8..6, task.clone())
            .prop_map(|(worker, limit, which, task)| Act::Claim { worker, limit, which, task }),
        6 => (claim, prop_oneof![9 => Just(0i8), 1 => -1i8..2], any::<bool>(), any::<bool>(), proptest::option::of(any::<u64>()))
            .prop_map(|(claim, off, pending, intent, usage)| Act::Line { claim, off, pending, intent, usage }),
        2 => claim.prop_map(|claim| Act::Result { claim }),
        3 => (claim, 0u8..4, any::<bool>()).prop_map(|(claim, how, with_line)| Act::End { claim, how, with_line }),
        1 => claim.prop_map(|claim| Act::HandBack { claim }),
        2 => task.clone().prop_map(|task| Act::Cancel { task }),
        2 => (task.clone(), 0u8..3, proptest::option::of(-1i8..2), any::<bool>())
            .prop_map(|(task, outcome, reward, note)| Act::Label { task, outcome, reward, note }),
        1 => task.clone().prop_map(|task| Act::Delete { task }),
        1 => (1u32..4).prop_map(|limit| Act::Recover { limit }),
        3 => (prop_oneof![Just(0u8), 0u8..32], 0u8..8, times(), any::<bool>(), 1u32..4, proptest::option::of(any::<u8>()))
            .prop_map(|(status, label, times, workspace, limit, place)| {
                Act::List { status, label, times, workspace: workspace && label % 2 == 0, limit, place }
            }),
        1 => (task.clone(), 0u64..60, 0u32..4, 0u32..4)
            .prop_map(|(task, from, limit, after)| Act::Lines { task, from, limit, after }),
        1 => (task.clone(), 0i64..40).prop_map(|(task, life)| Act::Filed { task, life }),
        1 => task.clone().prop_map(|task| Act::Removed { task }),
        3 => (0u8..2, 0i64..4, 0u8..8).prop_map(|(worker, slot, what)| Act::Chore { worker, slot, what }),
        2 => (task, 0u8..2, 0i64..60).prop_map(|(task, worker, before)| Act::Look { task, worker, before }),
    ]
}

fn times() -> impl Strategy<Value = (Option<i64>, Option<i64>)> {
    let time = || prop_oneof![2 => Just(None), 1 => (0i64..40).prop_map(Some)];
    (time(), time())
}
