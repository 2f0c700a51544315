//! Kill -9 and SIGTERM at random moments, again and again.

use std::time::Duration;

use crate::storm::{Storm, VARIABLES};

/// Kills without `CODEX_AGENT_KILLS`.
const KILLS: u32 = 30;

/// Stops by SIGTERM.
const STOPS: u32 = 8;

/// Standstills by SIGSTOP, and the longest in milliseconds: some are beyond the lease, but nobody is there to take over.
const STANDSTILLS: u32 = 6;
const STANDSTILL: u64 = 1200;

/// The longest life, in milliseconds: the first tasks have ended by then, and others are at every stage.
const LIFE: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_however_often_the_service_is_killed() {
    let kills = std::env::var("CODEX_AGENT_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let storm = Storm::begin(4).await;
    println!("seed: {}", storm.seed);
    for kill in 0..kills {
        // The moment is what is tried here, so there is nothing to wait for but the time.
        if kill % 8 == 7 {
            let mut child = storm.home.command(&["serve"]);
            let child = child
                .env("MCP_SERVER_URL", &storm.brain_url)
                .env("LISTEN", "127.0.0.1:0")
                .envs(VARIABLES)
                .env("OPENAI_API_KEY", storm.key_of_a_new_life());
            let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..80))).await;
            child.kill().await.unwrap();
        } else {
            let service = storm.start(&[]).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..LIFE))).await;
            service.kill().await;
        }
    }
    println!("kills: {kills}");
    let service = storm.start(&[]).await;
    storm.settle(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_asked_to_stop_under_load_ends_well_each_time_and_no_attempt_is_counted() {
    let storm = Storm::begin(30).await;
    for _ in 0..STOPS {
        let service = storm.start(&[]).await;
        storm.busy(3).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..LIFE / 2))).await;
        let (_, code) = service.stop().await;
        assert_eq!(code, Some(0), "seed {}", storm.seed);
    }
    let service = storm.start(&[]).await;
    storm.settle_with(&service, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stands_still_for_a_while_goes_on_as_if_nothing_had_been() {
    let storm = Storm::begin(30).await;
    let service = storm.start(&[("LEASE", "1")]).await;
    for _ in 0..STANDSTILLS {
        storm.busy(3).await;
        storm.stands_still(&service, Duration::from_millis(fastrand::u64(0..STANDSTILL))).await;
    }
    storm.busy(3).await;
    storm.settle_with(&service, 1).await;
}
