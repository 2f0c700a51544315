//! Every named point of the loop: the service dies there, and nobody can tell afterwards.

#[cfg(not(feature = "kill-points"))]
#[test]
fn nothing_is_lost_at_any_named_point() {
    crate::common::skip("the service has no points to die at without --features kill-points");
}

#[cfg(feature = "kill-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_at_any_named_point() {
    use codex_agent::kill_point::POINTS;

    let storm = crate::storm::Storm::begin(10).await;
    for point in POINTS {
        // A start passes this one once, and only the first pass is certain to come.
        let pass = if *point == "recovered" { 1 } else { fastrand::u32(1..=2) };
        let at = format!("{point}:{pass}");
        let service = storm.start(&[("CODEX_AGENT_KILL_AT", &at)]).await;
        let said = service.said();
        if point.starts_with("hand") {
            // Nothing is handed back but by a service that stops.
            storm.busy(8).await;
            service.signal(rustix::process::Signal::TERM);
        }
        let (_, code) = service.ended_by_itself().await;
        // The last line may reach the reader a moment after the end.
        let told = async || said.lock().unwrap().contains(&format!("killed at {point}"));
        assert_eq!(code, None, "{at}: not killed, seed {}", storm.seed);
        crate::common::eventually(&format!("{at}: it died at this point"), told).await;
    }
    println!("points: {}", POINTS.len());
    let service = storm.start(&[]).await;
    storm.settle(&service).await;
}
