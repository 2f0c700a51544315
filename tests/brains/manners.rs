//! The rest of the suite: brains that misbehave.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::cases::{code, finish, message, task};
use crate::common::Home;
use crate::peer::{Manner, Peer, Question, Reply};
use crate::way::Way;

pub async fn a_brain_that_hangs_up_in_an_answer_is_asked_again(way: Way) {
    let asked = AtomicUsize::new(0);
    let peer = Peer::start(way, move |_: Question| {
        let before = asked.fetch_add(1, Ordering::SeqCst);
        async move { if before == 0 { Reply::HangUp } else { finish("heard") } }
    })
    .await;
    let service = way.service(&peer, &[]).await;
    assert_eq!(service.finish(&task("cut")).await["summary"], "heard");
    let heard = peer.heard();
    assert_eq!((heard.len(), heard[0].connection, heard[1].connection), (2, 0, 1));
    assert_eq!((&heard[0].key, &heard[0].payload), (&heard[1].key, &heard[1].payload));
}

pub async fn a_brain_that_closes_its_half_is_asked_again(way: Way) {
    let manners = |connection| if connection < 2 { Manner::HalfClosed } else { Manner::Good };
    let peer = Peer::with_manners(way, manners, |_| async { finish("heard") }).await;
    let service = way.service(&peer, &[]).await;
    assert_eq!(service.finish(&task("half")).await["summary"], "heard");
    assert_eq!(peer.heard().iter().map(|question| question.connection).collect::<Vec<_>>(), [2]);
}

pub async fn garbage_on_the_wire_ends_the_task_and_not_the_service(way: Way) {
    let manners = |connection| if connection < 2 { Manner::Garbage } else { Manner::Good };
    let peer = Peer::with_manners(way, manners, |_| async { finish("heard") }).await;
    let service = way.service(&peer, &[("MCP_RETRIES", "1")]).await;
    let lost = service.finish(&task("garbage")).await;
    assert!(["brain_unreachable", "brain_protocol"].contains(&code(&lost)), "{lost}");
    assert_eq!(service.get("/healthz").await.status, 200);
    assert_eq!(service.finish(&task("after")).await["summary"], "heard");

    let silent = Peer::with_manners(way, |_| Manner::Silent, |_| async { finish("heard") }).await;
    let service = way.service(&silent, &[("MCP_RETRIES", "0"), ("MCP_TIMEOUT", "1")]).await;
    assert_eq!(code(&service.finish(&task("silent")).await), "brain_unreachable");
}

pub async fn a_reply_that_is_none_is_quoted(way: Way) {
    let peer = Peer::start(way, |_| async { Reply::Text("<html>not what you want</html>".to_owned()) }).await;
    let service = way.service(&peer, &[]).await;
    let task = service.finish(&task("page")).await;
    assert_eq!(code(&task), "brain_protocol", "{task}");
    assert!(message(&task).contains("<html>not what you want"), "{}", message(&task));
    assert_eq!(peer.heard().len(), 1, "it is not asked again");
    assert_eq!(service.record("page").await[0]["mcp_reply"], json!(null));
}

pub async fn a_reply_over_the_limit_is_refused(way: Way) {
    let peer = Peer::start(way, |question: Question| async move {
        let long = if question.task_id == "long" { 4000 } else { 10 };
        finish(&"x".repeat(long))
    })
    .await;
    let service = way.service(&peer, &[("MAX_REPLY_BYTES", "1000")]).await;
    let lost = service.finish(&task("long")).await;
    assert_eq!(code(&lost), "brain_protocol", "{lost}");
    assert!(message(&lost).contains("over 1000 bytes"), "{}", message(&lost));
    assert_eq!(service.finish(&task("short")).await["status"], "succeeded");
}

pub async fn nobody_at_the_address_is_told(way: Way) {
    let peer = Peer::start(way, |_| async { finish("heard") }).await;
    let address = peer.address();
    let authority = peer.authority().to_owned();
    drop(peer);
    let service = way.service_at(Home::new(), address, &[("MCP_RETRIES", "0")], Some(&authority)).await;
    let task = service.finish(&task("nobody")).await;
    assert_eq!(code(&task), "brain_unreachable", "{task}");
    assert!(message(&task).contains("refused"), "{}", message(&task));
}

/// For the ways with TLS: whoever signed the certificate is not known to the service.
pub async fn a_certificate_that_nobody_signed_is_told_and_not_tried_again(way: Way) {
    let (peer, other) =
        tokio::join!(Peer::start(way, |_| async { finish("heard") }), Peer::start(way, |_| async { finish("heard") }));
    let service = way.service_at(Home::new(), peer.address(), &[], Some(other.authority())).await;
    let task = service.finish(&task("stranger")).await;
    assert_eq!(code(&task), "brain_unreachable", "{task}");
    let told = message(&task);
    assert!(told.contains("certificate") && told.contains("SSL_CERT_FILE") && !told.contains("tries"), "{told}");
    assert!(peer.heard().is_empty());
}

/// For the WebSocket, where nothing below tells that a brain has come to a stop on a connection: it still answers pings.
pub async fn a_connection_on_which_nothing_is_answered_is_left(way: Way) {
    let peer = Peer::start(way, |question: Question| async move {
        if question.connection == 0 { Reply::Never } else { finish("heard") }
    })
    .await;
    let service = way.service(&peer, &[("MCP_TIMEOUT", "1"), ("MCP_RETRIES", "1")]).await;
    assert_eq!(service.finish(&task("stuck")).await["summary"], "heard");
    assert_eq!(service.finish(&task("after")).await["summary"], "heard");
    assert_eq!(peer.heard().iter().map(|question| question.connection).collect::<Vec<_>>(), [0, 1, 1]);
}
