//! Three workers on one PostgreSQL: killed, stopped and cut off at random moments while clients submit, cancel, delete and
//! read whichever of them they meet. A call that a dead worker began is dealt with by another, on the same workspace.

use std::time::Duration;

use crate::common::{Home, Service};
use crate::judge::Askers;
use crate::plan::Mix;
use crate::postgres::{Database, Postgres};
use crate::proxy::{Proxy, What};
use crate::storm::Storm;

/// What happens, without `CODEX_AGENT_KILLS`.
const FAULTS: u32 = 30;

/// Between two of them, in milliseconds: often less than a lease, so that what one has left is still another's when it
/// happens again.
const LIFE: u64 = 600;

/// Commands in a fifth of all calls, a brain that takes its time, so that many are under way, and somebody who reads.
const MIX: Mix = Mix { commands: 200, slowness: 150, reads: 20 };

/// Where a worker lives.
struct Place {
    home: Home,
    proxy: Proxy,
    service: Option<Service>,
}

impl Place {
    async fn of(database: &Database) -> Self {
        Self { home: Home::new(), proxy: Proxy::before(database.cluster.socket()).await, service: None }
    }

    async fn start(&mut self, storm: &Storm, database: &Database) {
        let url = database.url_at(self.proxy.port);
        let variables = [("DATABASE_URL", url.as_str()), ("LEASE", "1")];
        self.service = Some(storm.start_beside(self.home.clone(), &variables).await);
    }
}

fn tell(storm: &Storm, places: &[Place]) {
    let services = places.iter().filter_map(|place| place.service.as_ref());
    storm.book.are_at(services.map(|service| service.url.clone()).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_however_often_workers_on_one_database_are_killed() {
    let Some(database) = Postgres::database().await else { return };
    let faults = std::env::var("CODEX_AGENT_KILLS").map_or(FAULTS, |kills| kills.parse().unwrap());
    let storm = Storm::begin_for(MIX, Askers::SideBySide).await;
    println!("seed: {}", storm.seed);
    let mut places = [Place::of(&database).await, Place::of(&database).await, Place::of(&database).await];
    for place in &mut places {
        place.start(&storm, &database).await;
    }
    tell(&storm, &places);
    let (mut kills, mut stops, mut cuts) = (0, 0, 0);
    for _ in 0..faults {
        // The moment is what is tried here, so there is nothing to wait for but the time.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..LIFE))).await;
        let place = &mut places[fastrand::usize(0..3)];
        match fastrand::u32(0..10) {
            0..5 => {
                kills += 1;
                place.service.take().unwrap().kill().await;
                place.start(&storm, &database).await;
            }
            5 => {
                stops += 1;
                let (_, code) = place.service.take().unwrap().stop().await;
                assert_eq!(code, Some(0), "seed {}", storm.seed);
                place.start(&storm, &database).await;
            }
            6..8 => {
                cuts += 1;
                place.proxy.cut();
            }
            _ => {
                cuts += 1;
                let what = if fastrand::bool() { What::Request } else { What::Answer };
                // Until it happens, or the next one dies.
                tokio::spawn(place.proxy.lose("tasks", what));
            }
        }
        tell(&storm, &places);
    }
    println!("kills: {kills}\nstops: {stops}\nconnections or answers lost: {cuts}");
    for place in &places {
        place.proxy.lose_nothing();
    }
    storm.settle(places[0].service.as_ref().unwrap()).await;
}
