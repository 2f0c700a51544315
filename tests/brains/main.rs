//! One suite for every way to a brain: the same cases over HTTP, WebSocket and gRPC, with and without TLS, and with a model
//! behind `openai:`. `way` says how each is spoken, `peer` is the brain at the other end, `cases` is the suite.
#![expect(clippy::unwrap_used, reason = "a test fails aloud")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the harness is shared, and has more than one suite needs")]
mod common;

mod cases;
mod certificates;
mod inside;
mod manners;
mod peer;
mod proxied;
mod served;
mod way;

/// The suite for one way.
macro_rules! suite {
    ($($module:ident: $way:ident),* $(,)?) => {
        $(mod $module {
            use crate::way::Way;
            use crate::{cases, manners};

            const WAY: Way = Way::$way;

            suite!(@cases cases:
                a_task_is_done_and_recorded, a_reply_is_kept_as_it_was_sent, two_hundred_tasks_at_once_get_their_own_replies,
                replies_come_in_any_order, a_brain_that_is_killed_and_comes_back_loses_no_task,
                a_slow_brain_is_waited_for, a_silent_brain_is_unreachable_after_the_tries, the_key_is_shown_and_a_wrong_one_is_told_and_neither_is_logged,
                what_may_pass_is_asked_again_after_the_pause_that_was_asked_for, a_cancelled_task_is_let_go,
            );
            suite!(@cases manners:
                a_brain_that_hangs_up_in_an_answer_is_asked_again, a_brain_that_closes_its_half_is_asked_again,
                garbage_on_the_wire_ends_the_task_and_not_the_service, a_reply_that_is_none_is_quoted, a_reply_over_the_limit_is_refused,
                nobody_at_the_address_is_told,
            );
        })*
    };
    (@cases $from:ident: $($case:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $from::$case(WAY).await;
        })*
    };
}

/// What only the ways with TLS have.
macro_rules! secure {
    ($($case:ident: $way:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            manners::a_certificate_that_nobody_signed_is_told_and_not_tried_again(way::Way::$way).await;
        })*
    };
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_answered_is_left_over_ws() {
    manners::a_connection_on_which_nothing_is_answered_is_left(way::Way::Ws).await;
}

secure! {
    a_certificate_that_nobody_signed_is_told_over_https: Https,
    a_certificate_that_nobody_signed_is_told_over_wss: Wss,
    a_certificate_that_nobody_signed_is_told_over_grpcs: Grpcs,
}

suite! {
    http: Http,
    https: Https,
    ws: Ws,
    wss: Wss,
    grpc: Grpc,
    grpcs: Grpcs,
    openai: OpenAi,
}
