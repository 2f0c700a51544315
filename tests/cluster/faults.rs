//! What goes wrong in a storm, one thing after the other and some of it for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::watch;

use crate::node::{Cluster, LEASE, Node};
use crate::postgres::Stop;
use crate::proxy::What;

/// A frozen node comes back when its tasks have long been another's, and so does one that nobody hears.
const FROZEN: Duration = Duration::from_secs(3 * LEASE);

/// Or when another one has just taken them up and not come far.
const JUST: Duration = Duration::from_millis(1300 * LEASE);

/// A dead one stays away for up to so many milliseconds: often longer than its lease runs.
const DEAD: u64 = 2000 * LEASE;

/// Between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 20..400;

/// A node and when it gets over what has happened to it.
struct Place {
    node: Node,
    over: Option<(Instant, Trouble)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Dead,
    Frozen,
    Unheard,
    Refused,
}

/// Where the nodes can be asked that are not dead.
pub type Urls = watch::Sender<Vec<String>>;

/// All of them, and what has happened.
pub struct Faults<'a> {
    cluster: &'a Cluster,
    places: Vec<Place>,
    urls: Urls,
    dice: Rng,
    pub counts: BTreeMap<&'static str, u64>,
}

impl<'a> Faults<'a> {
    pub async fn on(cluster: &'a Cluster, nodes: Vec<Node>, seed: u64) -> Self {
        let places = nodes.into_iter().map(|node| Place { node, over: None }).collect();
        let mut faults =
            Self { cluster, places, urls: Urls::default(), dice: Rng::with_seed(seed), counts: BTreeMap::new() };
        for at in 0..faults.places.len() {
            faults.places[at].node.start().await;
        }
        faults.tell_urls();
        faults
    }

    pub fn urls(&self) -> watch::Receiver<Vec<String>> {
        self.urls.subscribe()
    }

    /// One fault after the other until then.
    pub async fn rage_until(&mut self, end: Instant) {
        while Instant::now() < end {
            let kind = self.dice.u32(0..100);
            let name = match kind {
                0..3 => self.restart(Stop::Fast).await,
                3..6 => self.restart(Stop::Immediate).await,
                6..12 => self.terminate().await,
                _ => self.happens_to_one(kind).await,
            };
            if let Some(name) = name {
                *self.counts.entry(name).or_default() += 1;
            }
            // Moments are what is tried here, so there is nothing to wait for but the time.
            tokio::time::sleep(Duration::from_millis(self.dice.u64(PAUSE))).await;
            self.get_over(Instant::now()).await;
            self.places.iter().for_each(|place| place.node.assert_lives());
        }
    }

    /// Everything is well again.
    pub async fn end(&mut self) {
        let long = Instant::now() + FROZEN + Duration::from_millis(DEAD);
        self.get_over(long).await;
        self.places.iter().for_each(|place| place.node.proxy.lose_nothing());
    }

    /// The nodes when everything is over.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.places.iter().map(|place| &place.node)
    }

    async fn restart(&mut self, how: Stop) -> Option<&'static str> {
        self.cluster.database.cluster.restart(how).await;
        Some(match how {
            Stop::Fast => "PostgreSQL restarted, fast",
            Stop::Immediate => "PostgreSQL restarted, immediate",
        })
    }

    async fn terminate(&mut self) -> Option<&'static str> {
        self.cluster.database.terminate_all().await;
        Some("pg_terminate_backend on all connections")
    }

    async fn happens_to_one(&mut self, kind: u32) -> Option<&'static str> {
        let at = self.dice.usize(0..self.places.len());
        let place = &mut self.places[at];
        let now = Instant::now();
        if place.over.is_some() {
            return None;
        }
        let proxy = &place.node.proxy;
        Some(match kind {
            12..30 => {
                place.node.kill().await;
                place.over = Some((now + Duration::from_millis(self.dice.u64(0..DEAD)), Trouble::Dead));
                self.tell_urls();
                "killed with -9"
            }
            30..44 => {
                place.node.freeze();
                let (time, name) = if self.dice.bool() {
                    (FROZEN, "frozen for three leases")
                } else {
                    (JUST, "frozen for little more than a lease")
                };
                place.over = Some((now + time, Trouble::Frozen));
                name
            }
            44..50 => {
                proxy.stall(true);
                place.over = Some((now + FROZEN, Trouble::Unheard));
                "unheard for three leases"
            }
            50..55 => {
                proxy.refuse(true);
                proxy.cut();
                place.over = Some((now + Duration::from_millis(self.dice.u64(0..DEAD)), Trouble::Refused));
                "cut off and refused"
            }
            55..65 => {
                proxy.cut();
                "connections cut"
            }
            65..70 => {
                place.node.stop().await;
                place.over = Some((now, Trouble::Dead));
                self.tell_urls();
                "stopped with SIGTERM"
            }
            70..80 => self.lose(at, What::Request),
            _ => self.lose(at, What::Answer),
        })
    }

    /// Of the next write of this node.
    fn lose(&mut self, at: usize, what: What) -> &'static str {
        let words = ["INSERT INTO tasks", "claim + 1", "INSERT INTO iterations", "lease_until", ""];
        let word = *self.dice.choice(&words).unwrap();
        let told = self.places[at].node.proxy.lose(word, what);
        // It is kept until it has happened, or all is over.
        tokio::spawn(told);
        match what {
            What::Request => "requests lost",
            What::Answer => "answers of a commit lost",
        }
    }

    async fn get_over(&mut self, now: Instant) {
        for at in 0..self.places.len() {
            let place = &mut self.places[at];
            let Some((_, trouble)) = place.over.filter(|(when, _)| *when <= now) else { continue };
            place.over = None;
            match trouble {
                Trouble::Frozen => place.node.thaw(),
                Trouble::Unheard => place.node.proxy.stall(false),
                Trouble::Refused => place.node.proxy.refuse(false),
                Trouble::Dead => {
                    // A start that loses its connection ends, and whoever has started it tries again.
                    place.node.proxy.lose_nothing();
                    place.node.start().await;
                    self.tell_urls();
                }
            }
        }
    }

    fn tell_urls(&self) {
        let running = self.places.iter().filter(|place| place.node.is_running());
        self.urls.send_replace(running.map(|place| place.node.service().url.clone()).collect());
    }
}
